"""Whether deploy/ and docs/deploy.md agree with the program, and with each other."""

import argparse
import base64
import json
import os
import re
import shutil
import signal
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
        stage = text.split("FROM scratch AS runtime")[1].split("\nFROM ")[0]
        for label, argument in (("version", "VERSION"), ("source", "SOURCE"), ("created", "CREATED"), ("revision", "QTB_BUILD_COMMIT")):
            says = f'org.opencontainers.image.{label}="${{{argument}}}"' in stage
            check(f"Dockerfile: the label {label} does not say {argument}", says and f"\nARG {argument}=" in stage)
        self.command = json.loads(re.findall(r"^CMD (.*)$", text, re.M)[-1])


def configuration(folder):
    """The files that the program reads of it, as one."""
    return "\n".join(path.read_text() for path in sorted(Path(folder).glob("*.toml")))


def kustomization():
    folder = Path("deploy/kubernetes")
    whole = yaml.safe_load((folder / "kustomization.yaml").read_text())
    listed = set(whole["resources"])
    there = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml", "secret.example.yaml"}
    check("deploy/kubernetes: listed, but not there:", listed <= there, listed - there)
    check("deploy/kubernetes: there, but not listed:", there <= listed, there - listed)
    (generated,) = whole["configMapGenerator"]
    files, here = set(generated["files"]), {f"config/{path.name}" for path in (folder / "config").iterdir()}
    check("deploy/kubernetes: generated from other files than there are:", files == here, files ^ here)
    check("deploy/kubernetes: a ConfigMap with another name each time", generated["options"]["disableNameSuffixHash"])
    names = {document["metadata"]["name"] for (kind, _), document in manifests().items() if kind == "Deployment"}
    check("deploy/kubernetes: an image that no pod has", {each["name"] for each in whole["images"]} == names)
    check("deploy/kubernetes: a namespace that is not made", ("Namespace", whole["namespace"]) in manifests())
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
    text = configuration("deploy/kubernetes/config")
    config = tomllib.loads(text)
    accepted(program, state, "ConfigMap", text, found["Secret", name]["stringData"])
    named = set(re.findall(rf'"{SECRETS}/([^"]+)"', text))
    check("ConfigMap: secrets that nobody makes:", named == set(found["Secret", name]["stringData"]), named)
    check("ConfigMap: server.replicas is not the most of the autoscaler", config["server"]["replicas"] == scaler["maxReplicas"])
    check("Deployment: terminationGracePeriodSeconds is too short", pod["terminationGracePeriodSeconds"] > patience(config))
    check("Deployment: not the image's user", str(pod["securityContext"]["runAsUser"]) == image.user)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    check("Deployment: not the image's ports", set(ports.values()) == image.ports, ports)
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    sources = {volume["name"]: volume.get("configMap", {}).get("name") or volume["secret"]["secretName"] for volume in pod["volumes"]}
    made = {"config": found["Kustomization", ""]["configMapGenerator"][0]["name"], "secrets": found["Secret", name]["metadata"]["name"]}
    check("Deployment: mounts what nobody makes", sources == made, sources)
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
    policy = found["NetworkPolicy", name]["spec"]
    for rule in policy["egress"] + policy["ingress"]:
        check("NetworkPolicy: a rule for everybody, or for every port:", rule.get("ports") and rule.get("to", rule.get("from")), rule)
    spaces = set(re.findall(r"kubernetes\.io/metadata\.name: ([\w-]+)", Path("deploy/kubernetes/networkpolicy.yaml").read_text()))
    told = Path("docs/deploy.md").read_text()
    check("NetworkPolicy: docs/deploy.md does not name", all(f"`{each}`" in told for each in spaces), spaces)
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
    text = configuration("deploy/systemd")
    credentials = re.findall(r"^LoadCredential=(\S+):/etc/qlik-token-broker/secrets/\1$", unit, re.M)
    accepted(program, state, "systemd", text, credentials)
    check("systemd: credentials", set(re.findall(rf'"{CREDENTIALS}/([^"]+)"', text)) == set(credentials), credentials)
    stop = int(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.M)[1])
    check("systemd: TimeoutStopSec is too short", stop > patience(tomllib.loads(text)))


def compose_file(path, image):
    whole = yaml.safe_load(Path(path).read_text())
    text = configuration("deploy/compose/demo/config")
    config = tomllib.loads(text)
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
    named = set(re.findall(rf'"{SECRETS}/([^"]+)"', text))
    check("compose: secrets", named == here, named ^ here)
    (job,) = yaml.safe_load(Path("deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    # Discovery by DNS loses a broker that is gone, and nobody is told.
    (target,) = job["static_configs"][0]["targets"]
    service, port = target.split(":")
    check("Prometheus: asks another port or service", service in whole["services"] and int(port) in image.ports, target)


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
    text = configuration(demo / "config")
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


# The tenant of the page, and where its commands would write on this machine.
URL = "https://acme.eu.qlikcloud.com"
ROOTS = re.compile(r"(?<![\w.$])(?=/(?:etc|usr/local/bin)/)")
WRAPPER = """#!/usr/bin/env bash
case $1 in
    provision) set -- "$@" --yes ;;
    rotate-secret) set -- "$@" --yes --wait 1s ;;
    healthcheck) [[ $* == *--address* ]] || set -- "$@" --address {ops} ;;
esac
exec {program} "$@"
"""


def desk(program, state, ports):
    """A copy of this folder as a clone would be, programs that stand in for what is not here, and a root to write to."""
    copy, root, programs = (Path(state, name) for name in ("copy", "root", "bin"))
    for folder in (copy, root / "etc/systemd/system", root / "usr/local/bin", programs):
        folder.mkdir(parents=True)
    wanted = ["deploy", "config", "docker-compose.yml", "Dockerfile", "Cargo.toml"]
    files = subprocess.run(["git", "ls-files", "-coz", "--exclude-standard", *wanted], capture_output=True, check=True)
    for name in filter(None, files.stdout.decode().split("\0")):
        if Path(name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(name, copy / name)
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com")
    for arguments in (["init", "--quiet"], ["remote", "add", "origin", "https://example.com/broker"], [*identity, "commit", "--quiet", "--allow-empty", "-m", "a"]):
        subprocess.run(["git", *arguments], cwd=copy, check=True)
    wrapper = WRAPPER.format(ops=f"127.0.0.1:{ports['9090']}", program=program)
    for place in (programs / "qlik-token-broker", copy / "target/release/qlik-token-broker", copy / "qlik-token-broker.new"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(wrapper)
        place.chmod(0o755)
    for name in ("docker", "kubectl", "systemctl"):
        (programs / name).symlink_to(Path("tests/deploy/stand_in.py").resolve())
    public, ops, redis = free_ports(3)
    told = {"program": str(programs / "qlik-token-broker"), "state": str(state), "root": str(root)}
    Path(state, "stand-in.json").write_text(json.dumps(told | {"public": public, "ops": ops, "redis": redis}))
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "QTB_STAND_IN": f"{state}/stand-in.json", "EDITOR": "true"}
    return copy, root, environment, {"8080": public, "9090": ops}


def administrator(tenant):
    """A token as an administrator of the simulated tenant has it."""
    client = {"client_id": "demo-management", "client_secret": "demo-management-secret"}
    body = json.dumps(client | {"grant_type": "client_credentials", "scope": "admin_classic"}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{tenant}/oauth/token", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.loads(answer.read())["access_token"]


def documented(program, state, ports):
    """All commands of docs/deploy.md, one block after the other, in a copy of this folder. Within a part the folder and the
    umask stay, as in one shell. Those for the running stack have the ports of the stack that runs then."""
    parts = enumerate(re.split(r"^## ", Path("docs/deploy.md").read_text(), flags=re.M))
    blocks = [(part, block) for part, text in parts for _, block in re.findall(r"^( *)```sh\n(.*?)^\1```", text, re.M | re.S)]
    copy, root, environment, mine = desk(program, state, ports)
    token = administrator(ports["9400"])
    needs, known = set(), {"Docker", "kubectl and a cluster", "Docker, kubectl and a cluster", "systemd and root", "promtool", "the running stack"}
    try:
        for part, block in blocks:
            block, shell = textwrap.dedent(block), Path(state, f"shell-{part}")
            needs.update(re.findall(r"\A# needs (.*)", block))
            stack = ports | (mine if Path(state, "broker.pid").exists() else {})
            typed = re.sub(r"(127\.0\.0\.1:)(8080|9090|9400)\b", lambda found: found[1] + str(stack[found[2]]), block)
            typed = typed.replace(URL, f"http://127.0.0.1:{ports['9400']}")
            typed = ROOTS.sub(str(root), typed) if "systemd and root" in typed.split("\n")[0] else typed
            typed = f"{shell.read_text() if shell.exists() else ''}\n{typed}\nprintf 'cd %q; umask %s' \"$PWD\" \"$(umask)\" > {shell}"
            done = subprocess.run(["bash", "-euo", "pipefail", "-c", typed], cwd=copy, env=environment, input=f"{token}\n", capture_output=True, text=True, timeout=60)
            check(f"docs/deploy.md: {block}", done.returncode == 0, done.stdout + done.stderr)
            for expected in re.findall(r"^# prints (.*)$", block, re.M):
                check(f"docs/deploy.md: {block}", expected in done.stdout, done.stdout)
            if "cp -r deploy/compose/demo" in block:
                nothing_of_the_demo(copy / "deploy/compose")
            if faults:
                return
    finally:
        for started in Path(state).glob("*.pid"):
            os.kill(int(started.read_text()), signal.SIGTERM)
    check("docs/deploy.md: needs", needs == known, needs ^ known)
    check("docs/deploy.md: the stack of one's own was not started", Path(state, "broker.pid").exists())
    in_the_end(copy, root)
    rotated(program, state, ports["9400"])


def in_the_end(copy, root):
    """What the commands left: secrets for their owner alone, and none that is not needed."""
    mine = copy / "deploy/compose/mine"
    kept = {"acme-issuing.secret", "acme-management.secret", "audit_key", "redis_password", "shared_key"}
    for folder, wanted in ((mine / "secrets", kept), (root / "etc/qlik-token-broker/secrets", {*kept, "portal.key"} - {"redis_password", "shared_key"})):
        there = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
        check(f"docs/deploy.md leaves in {folder}:", there == dict.fromkeys(wanted, 0o600), there)
        check(f"docs/deploy.md: {folder} is open to others", folder.stat().st_mode & 0o777 == 0o700)
    secrets = copy / "broker-secrets"
    check(f"docs/deploy.md: {secrets} is open to others", secrets.stat().st_mode & 0o777 == 0o700)
    check("docs/deploy.md leaves the folder of the rotation", not (copy / "rotation").exists())


def rotated(program, state, tenant):
    """Each of the three rotated its client's secret, and what each has is the only one of it that is left."""
    held = [Path(state, "copy/deploy/compose/mine/secrets/acme-issuing.secret"), Path(state, "credentials/acme-issuing.secret")]
    held = {path.read_text().strip() for path in held}
    secret = yaml.safe_load(Path(state, "secret.yaml").read_text())["data"]["acme-issuing.secret"]
    held.add(base64.b64decode(secret).decode().strip())
    listing = [program, "clients", "show", "qlik-token-broker issuing", "--url", f"http://127.0.0.1:{tenant}", "--json", "--token-env", "TOKEN"]
    shown = subprocess.run(listing, env=os.environ | {"TOKEN": administrator(tenant)}, capture_output=True, text=True)
    known = json.loads(shown.stdout)["secrets"] if shown.returncode == 0 else []
    check("docs/deploy.md: secrets that are in use, and the tenant's", len(held) == 3 and len(known) == 3, (len(held), shown.stdout + shown.stderr))


def nothing_of_the_demo(folder):
    """The copy for one's own tenant keeps no secret that everybody knows, and hides those that it has."""
    demo, mine = folder / "demo", folder / "mine"
    for name in ("secrets/shared_key", "secrets/audit_key", "secrets/redis_password", "redis/users.acl", "grafana/admin_password"):
        check(f"docs/deploy.md leaves the demo's {name}", (mine / name).read_text() != (demo / name).read_text())
    gone = [name for name in ("config/demo.toml", "secrets/qlik_client_secret") if (mine / name).exists()]
    check("docs/deploy.md leaves the demo's tenant", not gone, gone)
    modes = {name: oct((mine / name).stat().st_mode & 0o777) for name in (".", "secrets", "secrets/shared_key", "redis/users.acl")}
    wanted = {".": "0o700", "secrets": "0o700", "secrets/shared_key": "0o600", "redis/users.acl": "0o644"}
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
