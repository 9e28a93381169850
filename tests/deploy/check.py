"""Whether deploy/ and docs/deploy.md agree with the program, and with each other."""

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import textwrap
import time
import tomllib
import urllib.request
from pathlib import Path

import yaml

# Where the images, the compose file and the manifests put files.
CONFIG, SECRETS = "/etc/qlik-token-broker", "/run/secrets"
CREDENTIALS = "/run/credentials/qlik-token-broker.service"

faults = []


def check(what, holds, seen=""):
    if not holds:
        faults.append(f"{what} {seen}".rstrip())


def manifests():
    """Every document of deploy/kubernetes, by kind and name."""
    found = {}
    for path in sorted(Path("deploy/kubernetes").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            found[document["kind"], document.get("metadata", {}).get("name", "")] = document
    return found


class Dockerfile:
    """What its last target promises."""

    def __init__(self):
        text = Path("Dockerfile").read_text()
        self.user = re.search(r"^USER (\d+):\1$", text, re.M)[1]
        self.environment = dict(re.findall(r"(QTB__\w+)=(\S+)", text))
        self.ports = set(map(int, re.search(r"^EXPOSE (\d+ \d+)$", text, re.M)[1].split()))
        self.command = json.loads(re.findall(r"^CMD (.*)$", text, re.M)[-1])


def kustomization():
    folder = Path("deploy/kubernetes")
    listed = set(yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"])
    there = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml", "secret.example.yaml"}
    check("deploy/kubernetes: listed, but not there:", listed <= there, listed - there)
    check("deploy/kubernetes: there, but not listed:", there <= listed, there - listed)
    if shutil.which("kubectl"):
        built = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True)
        check("kubectl kustomize:", built.returncode == 0, built.stderr)


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", text).groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


def patience(config):
    """What SIGTERM may take."""
    server = config.get("server", {})
    return seconds(server.get("shutdown_delay", "0s")) + seconds(server.get("shutdown_grace", "25s"))


def accepted(program, state, name, text, secrets):
    """The program takes this configuration, with secrets at the place where they will be."""
    folder = Path(state, name)
    folder.mkdir()
    for secret in secrets:
        (folder / secret).write_text("dGVzdHMvZGVwbG95IG9ubHk6IG5vYm9keSdzIGtleSE=")
    for place in (SECRETS, CREDENTIALS):
        text = text.replace(f'"{place}/', f'"{folder}/')
    (folder / "broker.toml").write_text(text)
    checked = subprocess.run([program, "check", "--config", folder], capture_output=True, text=True)
    check(f"{name}: check:", checked.returncode == 0, checked.stdout + checked.stderr)


def kubernetes(program, state, image):
    found = manifests()
    name = "qlik-token-broker"
    deployment, scaler = found["Deployment", name]["spec"], found["HorizontalPodAutoscaler", name]["spec"]
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    text = found["ConfigMap", name]["data"]["broker.toml"]
    config = tomllib.loads(text)
    accepted(program, state, "ConfigMap", text, found["Secret", name]["stringData"])
    named = set(re.findall(rf'"{SECRETS}/(\w+)"', text))
    check("ConfigMap: secrets that nobody makes:", named == set(found["Secret", name]["stringData"]), named)
    check("ConfigMap: server.replicas is not the most of the autoscaler", config["server"]["replicas"] == scaler["maxReplicas"])
    check("Deployment: terminationGracePeriodSeconds is too short", pod["terminationGracePeriodSeconds"] > patience(config))
    check("Deployment: not the image's user", str(pod["securityContext"]["runAsUser"]) == image.user)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    check("Deployment: not the image's ports", set(ports.values()) == image.ports, ports)
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    check("Deployment: not where the image looks", mounted == {"config": CONFIG, "secrets": SECRETS}, mounted)
    labels = deployment["template"]["metadata"]["labels"].items()
    for selector in (
        deployment["selector"]["matchLabels"],
        found["Service", name]["spec"]["selector"],
        found["Service", f"{name}-ops"]["spec"]["selector"],
        found["PodDisruptionBudget", name]["spec"]["selector"]["matchLabels"],
        found["NetworkPolicy", name]["spec"]["podSelector"]["matchLabels"],
    ):
        check("a selector finds no pod:", selector.items() <= labels, selector)
    for service in (name, f"{name}-ops"):
        targets = {port["targetPort"] for port in found["Service", service]["spec"]["ports"]}
        check(f"Service {service}: no such port:", targets <= ports.keys(), targets)
    monitor, ops = found["ServiceMonitor", name], found["Service", f"{name}-ops"]
    check("ServiceMonitor: apiVersion", monitor["apiVersion"] == "monitoring.coreos.com/v1")
    check("ServiceMonitor: finds no service", monitor["spec"]["selector"]["matchLabels"].items() <= ops["metadata"]["labels"].items())
    (endpoint,) = monitor["spec"]["endpoints"]
    check("ServiceMonitor: no such port", endpoint["port"] in {port["name"] for port in ops["spec"]["ports"]})
    check("ServiceMonitor: the job's name is another than the rules'", ops["metadata"]["labels"][monitor["spec"]["jobLabel"]] == name)
    probes = {container[f"{which}Probe"]["httpGet"]["path"] for which in ("startup", "readiness", "liveness")}
    return probes | {endpoint["path"]}


def systemd(program, state):
    unit = Path("deploy/systemd/qlik-token-broker.service").read_text()
    text = Path("deploy/systemd/broker.toml").read_text()
    credentials = re.findall(r"^LoadCredential=(\w+):/etc/qlik-token-broker/secrets/\1$", unit, re.M)
    accepted(program, state, "systemd", text, credentials)
    check("systemd: credentials", set(re.findall(rf'"{CREDENTIALS}/(\w+)"', text)) == set(credentials), credentials)
    stop = int(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.M)[1])
    check("systemd: TimeoutStopSec is too short", stop > patience(tomllib.loads(text)))


def compose_file(path, image):
    whole = yaml.safe_load(Path(path).read_text())
    config = tomllib.loads(Path("deploy/compose/demo/config/broker.toml").read_text())
    broker = whole["services"]["broker"]
    check("compose: stop_grace_period is too short", seconds(broker["stop_grace_period"]) > patience(config))
    for name, service in whole["services"].items():
        hard = service.get("read_only") and service.get("cap_drop") == ["ALL"]
        check(f"compose: {name} is not hardened", hard and service.get("security_opt") == ["no-new-privileges:true"])
        for port in service.get("ports", []):
            host = port["host_ip"] if isinstance(port, dict) else port.split(":")[0]
            check(f"compose: {name} is open to others than this machine", host == "127.0.0.1", port)
        for mount in service.get("volumes", []):
            source = mount["source"] if isinstance(mount, dict) else mount.split(":")[0]
            check(f"compose: {name} mounts what is not there:", "/" not in source or Path(source).exists(), source)
    for name, secret in whole["secrets"].items():
        check(f"compose: no file for {name}", Path(secret["file"]).is_file())
    mounted = json.dumps(broker["volumes"])
    check("compose: not where the image looks", CONFIG in mounted and SECRETS in mounted and image.command[-1] == CONFIG)
    here = {path.name for path in Path("deploy/compose/demo/secrets").iterdir()}
    named = set(re.findall(rf'"{SECRETS}/(\w+)"', Path("deploy/compose/demo/config/broker.toml").read_text()))
    check("compose: secrets", named == here, named ^ here)
    targets = yaml.safe_load(Path("deploy/prometheus/prometheus.yml").read_text())["scrape_configs"][0]["dns_sd_configs"][0]
    check("Prometheus: asks another port or service", targets["port"] in image.ports and set(targets["names"]) <= whole["services"].keys())


def dashboard(state):
    """Prometheus can read what the panels ask."""
    board = json.loads(Path("deploy/grafana/dashboards/qlik-token-broker.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    asked = [each.replace("$__rate_interval", "5m").replace("$tenant", ".*") for each in asked]
    rules = [{"record": f"panel:{number}", "expr": each} for number, each in enumerate(asked)]
    file = Path(state, "panels.yml")
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    read = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True)
    check("dashboard:", read.returncode == 0, read.stderr)
    ids = [panel["id"] for panel in board["panels"]]
    check("dashboard: two panels have one id", len(ids) == len(set(ids)))


def metrics():
    """Each one that the dashboard and the alerts name is one that the broker has."""
    there = set(re.findall(r'"(qtb_\w+)"', Path("src/telemetry/metrics.rs").read_text()))
    board = Path("deploy/grafana/dashboards/qlik-token-broker.json").read_text()
    for place, text in (("dashboard", board), ("alerts", Path("deploy/prometheus/alerts.yml").read_text())):
        named = {re.sub(r"_(bucket|count|sum)$", "", name) for name in re.findall(r"\bqtb_\w+", text)}
        check(f"{place}: no such metric:", named <= there, named - there)
        check(f"{place}: names no metric", len(named) > 5)
    rules = yaml.safe_load(Path("deploy/prometheus/alerts.yml").read_text())["groups"][0]["rules"]
    tested = Path("deploy/prometheus/alerts.test.yml").read_text()
    told = Path("docs/operations.md").read_text()
    for rule in rules:
        check(f"alerts: {rule['alert']} has no test", f"alertname: {rule['alert']}\n" in tested)
        check(f"alerts: {rule['alert']} is not in docs/operations.md", f"`{rule['alert']}`" in told)


def image_context():
    """What the compiler includes passes .dockerignore."""
    let_in = [line[1:] for line in Path(".dockerignore").read_text().splitlines() if line.startswith("!")]
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "--", *let_in], capture_output=True, text=True, check=True)
    context = {os.path.normpath(path) for path in listed.stdout.splitlines()}
    for source in Path("src").rglob("*.rs"):
        code = source.read_text().split("#[cfg(test)]\nmod tests")[0]
        for named in re.findall(r'include_(?:str|bytes)!\(\s*"([^"]+)"', code):
            path = os.path.normpath(source.parent / named)
            check(".dockerignore keeps out what the program includes:", path in context, path)


def free_ports(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


def answers(url, patience=10.0):
    end = time.monotonic() + patience
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return answer.status
        except OSError as error:
            if time.monotonic() > end:
                return error
            time.sleep(0.05)


def stack(program, state, image, paths):
    """The compose stack's demo without containers: its files, Redis with its list of users, and the page's commands."""
    redis, tenant, public, ops = free_ports(4)
    demo = Path("deploy/compose/demo")
    text = (demo / "config/broker.toml").read_text()
    for inside, here in ((f"{SECRETS}/", f"{demo.resolve()}/secrets/"), ("redis:6379", f"127.0.0.1:{redis}"), ("simulator:9400", f"127.0.0.1:{tenant}")):
        check(f"compose: the configuration lacks {inside}", inside in text)
        text = text.replace(inside, here)
    config = Path(state, "demo.toml")
    config.write_text(text)
    addresses = {"QTB__SERVER__LISTEN": public, "QTB__OPS__LISTEN": ops}
    check("Dockerfile: other variables than the program knows", image.environment.keys() == addresses.keys())
    environment = os.environ | {name: f"127.0.0.1:{port}" for name, port in addresses.items()}
    acl = shutil.copy(demo / "redis/users.acl", state)
    started = [
        subprocess.Popen(["redis-server", "--port", str(redis), "--save", "", "--dir", state, "--aclfile", acl], stdout=subprocess.DEVNULL),
        subprocess.Popen([program, "simulate", "--listen", f"127.0.0.1:{tenant}", "--url", f"http://127.0.0.1:{tenant}"], stdout=subprocess.DEVNULL),
        subprocess.Popen([program, "serve", "--config", config], stdout=subprocess.DEVNULL, env=environment),
    ]
    try:
        for path in sorted(paths):
            seen = answers(f"http://127.0.0.1:{ops}{path}")
            check(f"the ops listener has no {path}:", seen == 200, seen)
        here = {"8080": public, "9090": ops, "9400": tenant}
        documented(program, state, here)
        with urllib.request.urlopen(f"http://127.0.0.1:{ops}/metrics") as page:
            lines = [line for line in page.read().decode().splitlines() if line.startswith("qtb_shared")]
        allowed = "qtb_shared_up 1" in lines and not [line for line in lines if '"failed"' in line]
        check("compose: Redis' list of users keeps the broker from its work:", allowed, lines)
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(20)


def documented(program, state, ports):
    """The commands of docs/deploy.md: those that need nothing are run in a copy of this folder, one after the other;
    those for the running stack with the ports of this one; the others are read by the shell, and not run."""
    blocks = re.findall(r"^( *)```sh\n(.*?)^\1```", Path("docs/deploy.md").read_text(), re.M | re.S)
    blocks = [textwrap.dedent(block) for _, block in blocks]
    files = subprocess.run(["git", "ls-files", "-coz", "--exclude-standard", "deploy", "config"], capture_output=True, check=True)
    copy = Path(state, "copy")
    copy.mkdir()
    for name in filter(None, files.stdout.decode().split("\0")):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(name, copy / name)
    programs = Path(state, "bin")
    programs.mkdir()
    (programs / "qlik-token-broker").symlink_to(program)
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}
    ran = 0
    for block in blocks:
        needs = re.match(r"# needs (.*)", block)
        if needs and needs[1] != "the running stack":
            command = ["bash", "-n", "-c", block]
        else:
            command, ran = ["bash", "-euo", "pipefail", "-c", block], ran + 1
        if needs:
            command[-1] = re.sub(r"(127\.0\.0\.1:)(8080|9090|9400)\b", lambda found: found[1] + str(ports[found[2]]), block)
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=60)
        check(f"docs/deploy.md: {block}", done.returncode == 0, done.stdout + done.stderr)
        for expected in re.findall(r"^# prints (.*)$", block, re.M):
            check(f"docs/deploy.md: {block}", command[1] == "-n" or expected in done.stdout, done.stdout)
    check("docs/deploy.md: few of its commands are run:", ran >= 5, ran)
    nothing_of_the_demo(copy / "deploy/compose")


def nothing_of_the_demo(folder):
    """The copy for one's own tenant keeps no secret that everybody knows, and hides those that it has."""
    demo, mine = folder / "demo", folder / "mine"
    for name in ("secrets/shared_key", "secrets/audit_key", "secrets/redis_password", "redis/users.acl", "grafana/admin_password"):
        check(f"docs/deploy.md leaves the demo's {name}", (mine / name).read_text() != (demo / name).read_text())
    key = re.search(r'sha256 = "(\w+)"', (mine / "config/broker.toml").read_text())[1]
    check("docs/deploy.md leaves the demo's API key", key == "0" * 64, key)
    modes = {name: oct((mine / name).stat().st_mode & 0o777) for name in (".", "secrets", "secrets/shared_key", "redis/users.acl")}
    wanted = {".": "0o700", "secrets": "0o755", "secrets/shared_key": "0o644", "redis/users.acl": "0o644"}
    check("docs/deploy.md: modes", modes == wanted, modes)


def main():
    parser = argparse.ArgumentParser()
    for option in ("--program", "--compose", "--state"):
        parser.add_argument(option, required=True)
    given = parser.parse_args()
    image = Dockerfile()
    kustomization()
    paths = kubernetes(given.program, given.state, image)
    systemd(given.program, given.state)
    compose_file(given.compose, image)
    dashboard(given.state)
    metrics()
    image_context()
    stack(given.program, given.state, image, paths)
    if faults:
        sys.exit("tests/deploy: " + "\ntests/deploy: ".join(faults))


main()
