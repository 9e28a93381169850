"""The running half of scripts/image-smoke: the image's root, and around it what a container would meet.

It runs in a network and mounts of its own. The tenant speaks https with a certificate of a private authority, and is
found in /etc/hosts; Redis is found by asking the name server of /etc/resolv.conf.
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

TENANT, REDIS = "tenant.smoke.test", "redis.smoke.test"
# Of the loopback network, and used by nobody else in it.
NAME_SERVER = "127.0.0.53"
STARTS = 21
# What the image promises.
MOST_MB, MOST_START_MS, MOST_IDLE_MB = 20.0, 50.0, 20.0

KEY = "qtb_demo_ZGVtby1vbmx5LWtleS1uZXZlci11c2UtaXQtZWxzZXd"
ALONE = f"""
[server]
shutdown_delay = "500ms"
shutdown_grace = "5s"

[[session]]
type = "api_key"
keys = [{{ id = "demo", sha256 = "{hashlib.sha256(KEY.encode()).hexdigest()}", tenants = TENANTS }}]

[tenants.smoke]
url = "https://{TENANT}:8443"
ca_file = "/etc/qlik-token-broker/ca.pem"
client_id = "demo-broker"
client_secret = {{ file = "/run/secrets/client_secret" }}
scopes = "user_default"
"""
# The stranger is the same tenant, whose authority is not named: nobody may speak to it.
MORE = f"""
[tenants.stranger]
url = "https://{TENANT}:8443"
client_id = "demo-broker"
client_secret = {{ file = "/run/secrets/client_secret" }}
scopes = "user_default"

[shared]
url = "redis://{REDIS}:6379"
encryption_keys = [{{ id = "k1", key = {{ file = "/run/secrets/shared_key" }} }}]
"""
NGINX = """
daemon off;
pid {state}/nginx.pid;
error_log {state}/nginx.log;
events {{}}
http {{
  access_log off;
  server {{
    listen 127.0.0.1:8443 ssl;
    ssl_certificate {state}/tenant.pem;
    ssl_certificate_key {state}/tenant.key;
    location / {{ proxy_pass http://127.0.0.1:9400; proxy_set_header Host $http_host; }}
  }}
}}
"""


def run(*command, **options):
    return subprocess.run(command, check=True, capture_output=True, text=True, **options)


def start(*command, log, **options):
    with open(log, "w") as out:
        return subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, **options)


def call(url, body=None, key=None):
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=15) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


def token(user, tenant="smoke"):
    lookup = {"user_lookup": {"field": "subject", "value": user}, "tenant": tenant}
    status, headers, body = call("http://127.0.0.1:8080/session-token", lookup, KEY)
    return status, headers.get("Server-Timing"), json.loads(body)


def until(what, ready, seconds=10.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if ready():
                return
        except OSError:
            pass
        time.sleep(0.02)
    sys.exit(f"image-smoke: {what} did not happen")


def check(what, holds, seen=""):
    if not holds:
        sys.exit(f"image-smoke: FAILED: {what} {seen}")
    print(f"image-smoke: ok: {what}")


def name_server():
    """Knows one name, and its IPv4 address."""
    door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    door.bind((NAME_SERVER, 53))
    wanted = b"".join(bytes([len(part)]) + part.encode() for part in REDIS.split(".")) + b"\0"
    while True:
        question, who = door.recvfrom(512)
        end = question.index(0, 12) + 5
        name, kind = question[12 : end - 4], question[end - 4 : end - 2]
        is_known = name == wanted
        record = b"\xc0\x0c\0\x01\0\x01\0\0\0\x05\0\x04\x7f\0\0\x01" if is_known and kind == b"\0\x01" else b""
        flags = b"\x81\x80" if is_known else b"\x81\x83"
        counts = b"\0\x01" + (b"\0\x01" if record else b"\0\0") + b"\0\0\0\0"
        door.sendto(question[:2] + flags + counts + question[12:end] + record, who)


def certificates(state):
    """A private authority, and the tenant's certificate."""
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", "/CN=smoke authority", "-keyout", f"{state}/ca.key", "-out", f"{state}/ca.pem")
    run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-subj", f"/CN={TENANT}", "-keyout", f"{state}/tenant.key", "-out", f"{state}/tenant.csr")
    with open(f"{state}/tenant.ext", "w") as extensions:
        extensions.write(f"subjectAltName=DNS:{TENANT}\nbasicConstraints=CA:FALSE\n")
    run("openssl", "x509", "-req", "-in", f"{state}/tenant.csr", "-CA", f"{state}/ca.pem", "-CAkey",
        f"{state}/ca.key", "-days", "2", "-extfile", f"{state}/tenant.ext", "-out", f"{state}/tenant.pem")


def fill(root, state, user):
    """What a container engine adds to the image: names, devices, and the files that are mounted."""
    files = {
        "etc/hosts": f"127.0.0.1 localhost\n127.0.0.1 {TENANT}\n",
        "etc/resolv.conf": f"nameserver {NAME_SERVER}\n",
        "etc/qlik-token-broker/broker.toml": ALONE.replace("TENANTS", '["smoke", "stranger"]') + MORE,
        "etc/alone/broker.toml": ALONE.replace("TENANTS", '["smoke"]'),
        "run/secrets/client_secret": "demo-broker-secret",
        "run/secrets/shared_key": "c21va2Ugb25seTogdGhpcyBrZXkgaXMgcHVibGljLi4=",
    }
    for name, text in files.items():
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
    shutil.copy(f"{state}/ca.pem", f"{root}/etc/qlik-token-broker/ca.pem")
    for secret in os.listdir(f"{root}/run/secrets"):
        os.chown(f"{root}/run/secrets/{secret}", *map(int, user.split(":")))
        os.chmod(f"{root}/run/secrets/{secret}", 0o400)
    os.makedirs(f"{root}/dev")
    open(f"{root}/dev/urandom", "w").close()
    run("mount", "--bind", root, root)
    run("mount", "--bind", "/dev/urandom", f"{root}/dev/urandom")
    run("mount", "-o", "remount,bind,ro", root)


def first_answer(begun):
    """Milliseconds until /healthz says 200."""
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    while time.monotonic() - begun < 10:
        try:
            with socket.create_connection(("127.0.0.1", 8080), 1) as connection:
                connection.sendall(request)
                if connection.recv(12).endswith(b"200"):
                    return (time.monotonic() - begun) * 1000
        except OSError:
            time.sleep(0.0005)
    sys.exit("image-smoke: the broker does not answer")


def resident_mb(process):
    with open(f"/proc/{process.pid}/status") as status:
        line = next(line for line in status if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def worked_ms(process):
    """What it cost the processor so far."""
    threads = f"/proc/{process.pid}/task"
    return sum(int(open(f"{threads}/{each}/schedstat").read().split()[0]) for each in os.listdir(threads)) / 1e6


def surroundings(given):
    """The tenant, the proxy that speaks https for it, Redis and the name server."""
    state = given.state
    run("ip", "link", "set", "lo", "up")
    threading.Thread(target=name_server, daemon=True).start()
    certificates(state)
    with open(f"{state}/nginx.conf", "w") as config:
        config.write(NGINX.format(state=state))
    start("nginx", "-c", f"{state}/nginx.conf", log=f"{state}/nginx.out")
    start("redis-server", "--save", "", "--bind", "127.0.0.1", log=f"{state}/redis.log")
    start(given.tenant, "simulate", "--url", f"https://{TENANT}:8443", log=f"{state}/tenant.log")
    for what, port in (("nginx", 8443), ("Redis", 6379), ("the tenant", 9400)):
        until(f"the start of {what}", lambda: socket.create_connection(("127.0.0.1", port), 1).close() or True)


def main():
    parser = argparse.ArgumentParser()
    for option in ("--root", "--user", "--tenant", "--state"):
        parser.add_argument(option, required=True)
    parser.add_argument("--env", action="append", default=[])
    parser.add_argument("command", nargs="+")
    given = parser.parse_args()
    surroundings(given)
    fill(given.root, given.state, given.user)
    environment = dict(each.split("=", 1) for each in given.env)
    chroot = (shutil.which("chroot"), f"--userspec={given.user}", given.root, "/qlik-token-broker")

    def broker(command):
        begun = time.monotonic()
        process = start(*chroot, *command, log=f"{given.state}/broker.log", env=environment)
        return process, first_answer(begun)

    # One tenant, and no Redis, which the start waits for. On a busy machine it takes longer than the work that it is.
    times, work = [], []
    for turn in range(STARTS):
        process, took = broker([*given.command[:-1], "/etc/alone"])
        times.append(took)
        work.append(worked_ms(process))
        if turn == 0:
            time.sleep(1)
            idle = resident_mb(process)
        process.terminate()
        if process.wait(20) != 0:
            sys.exit(f"image-smoke: FAILED: it ended with {process.returncode}")
    process, with_redis = broker(given.command)
    try:
        prove(process, chroot, environment)
        at_work = resident_mb(process)
        prove_drain(process)
    except SystemExit:
        print(open(f"{given.state}/broker.log").read(), file=sys.stderr)
        raise
    size = os.path.getsize(f"{given.root}/qlik-token-broker") / 1e6
    start_ms = statistics.median(work)
    print(f"image-smoke: {size:.1f} MB; the first 200 after {start_ms:.0f} ms of work (waited {min(times):.0f} to "
          f"{max(times):.0f} ms, {STARTS} starts; with Redis {with_redis:.0f} ms); memory {idle:.1f} MB when idle, {at_work:.1f} MB with two tenants and Redis")
    check(f"at most {MOST_MB:.0f} MB", size <= MOST_MB)
    check(f"at most {MOST_START_MS:.0f} ms of work to the first 200", start_ms <= MOST_START_MS)
    check(f"at most {MOST_IDLE_MB:.0f} MB when idle", idle <= MOST_IDLE_MB)


def prove(process, chroot, environment):
    with open(f"/proc/{process.pid}/status") as status:
        uids = next(line for line in status if line.startswith("Uid")).split()[1:]
    check("it runs as the numeric user", set(uids) == {"65532"}, uids)
    for arguments in (["healthcheck"], ["healthcheck", "--ready"]):
        asked = subprocess.run([*chroot, *arguments], env=environment, capture_output=True, text=True)
        check(" ".join(arguments), asked.returncode == 0, asked.stderr)
    status, source, body = token("auth0|ann")
    check("a mint over TLS, the tenant found in /etc/hosts", (status, source) == (200, 'token;desc="minted"'), body)
    status, source, _ = token("auth0|ann")
    check("the next one comes from the cache", (status, source) == (200, 'token;desc="local"'), source)
    status, _, body = token("auth0|ann", "stranger")
    check("an authority that nobody named is not believed", (status, body["code"]) == (503, "tenant_unavailable"), body)
    metrics = call("http://127.0.0.1:9090/metrics")[2]
    check("Redis is found by asking the name server", "\nqtb_shared_up 1\n" in metrics)
    calls = json.loads(call("http://127.0.0.1:9400/_simulator/calls")[2])
    check("the tenant was asked once", calls.get("token_impersonation") == 1, calls)


def prove_drain(process):
    """SIGTERM while a mint is under way: it is finished, readiness falls, the exit code is 0."""
    fault = {"call": "token_impersonation", "fault": {"type": "slow", "millis": 1500}, "times": 1}
    call("http://127.0.0.1:9400/_simulator/faults", fault)
    answers = []
    waiter = threading.Thread(target=lambda: answers.append(token("auth0|bob")))
    waiter.start()
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    until("readiness falls", lambda: call("http://127.0.0.1:9090/readyz")[0] == 503, 2)
    waiter.join()
    check("a request under way is finished after SIGTERM", answers[0][0] == 200, answers)
    check("it ends with 0", process.wait(10) == 0, process.returncode)


main()
