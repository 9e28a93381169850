#!/usr/bin/env python3
"""Stands in for docker, kubectl and systemctl, whichever name it is called by, while check.py types the commands of
docs/deploy.md. What they would start is run here: the program, with the folders that a container would have mounted.
Everything else that they can do is taken as done.
"""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

# Written by check.py: the program, free ports, and where to put things.
given = json.loads(Path(os.environ["QTB_STAND_IN"]).read_text())
# Options that take no value. All others of docker and kubectl do.
FLAGS = {"--rm", "-it", "--build", "--wait", "--detach", "--volumes", "--no-deps", "--no-build"}
CREDENTIALS = "/run/credentials/qlik-token-broker.service"


def fail(why):
    sys.exit(f"{Path(sys.argv[0]).name}, as it stands in: {why}")


def split(words):
    """The options before the first other word, and the rest."""
    options, words = [], list(words)
    while words and words[0].startswith("-"):
        word = words.pop(0)
        name, has_value, value = word.partition("=")
        options.append((name, value if has_value or name in FLAGS else words.pop(0)))
    return options, words


def values(options, name):
    return [value for each, value in options if each == name]


def run(arguments, mounts):
    """The program in a container with these folders: (here, there, whether it may write). It sees the paths of the
    container; here they are other ones, in both directions."""
    with tempfile.TemporaryDirectory() as scratch:
        places = [(there, str(here)) for here, there, _ in mounts]

        def translated(text, pairs=places):
            for there, here in pairs:
                text = text.replace(there, here)
            return text

        words = []
        for word in arguments:
            if words and words[-1] == "--config":
                for file in Path(translated(word)).glob("*.toml"):
                    text = translated(file.read_text()).replace("redis:6379", f"127.0.0.1:{given['redis']}")
                    Path(scratch, file.name).write_text(text)
                word = scratch
            words.append(translated(word) if word.startswith("/") else word)
        done = subprocess.run([given["program"], *words])
    for here, there, writable in mounts:
        for file in Path(here).glob("*.toml") if writable else []:
            file.write_text(file.read_text().replace(str(Path(here).resolve()), there))
    if done.returncode:
        sys.exit(done.returncode)


def mount(text):
    here, there, *mode = text.split(":")
    if not Path(here).is_dir():
        fail(f"{here} is not there: Docker would make it, as root's")
    return str(Path(here).resolve()), there, mode != ["ro"]


def own(user):
    if user != f"{os.getuid()}:{os.getgid()}":
        fail(f"{user} may not read what is written here")


def image(version, is_built=False):
    """What was not built cannot be run."""
    marker = Path(given["state"], f"image-{version}")
    if is_built:
        marker.touch()
    elif not marker.exists():
        fail(f"no image qlik-token-broker:{version}")


def docker(words):
    command, *words = words
    if command == "compose":
        return compose(words)
    options, words = split(words)
    if command == "build":
        named = set(re.findall(r"^ARG (\w+)", Path("Dockerfile").read_text(), re.M))
        for argument in values(options, "--build-arg"):
            name, _, value = argument.partition("=")
            if name not in named or not value or "\n" in value:
                fail(f"--build-arg {argument}")
        image(values(options, "-t")[0].split(":")[1], is_built=True)
    elif command == "run":
        (user,) = values(options, "--user") or fail("no --user")
        own(user)
        image(words[0].split(":")[1])
        run(words[1:], [mount(each) for each in values(options, "--volume")])


def compose(words):
    options, words = split(words)
    command, *words = words
    settings = dict(line.split("=", 1) for line in Path(".env").read_text().splitlines()) if Path(".env").exists() else {}
    if not settings:
        return  # The demo, which runs already.
    image(settings["BROKER_VERSION"], is_built=command == "build")
    if command not in ("run", "up"):
        return
    text = re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: settings.get(found[1], found[2]), Path("docker-compose.yml").read_text())
    services = yaml.safe_load(text)["services"]
    files = Path(settings["BROKER_FILES"]).resolve()
    if command == "up":
        redis(files)
        return serve(files, services["broker"])
    _, (name, *arguments) = split(words)
    own(services[name]["user"])
    if "depends_on" in services[name]:
        redis(files)
    run(arguments, [mount(each) for each in services[name]["volumes"]])


def start(name, *command, **options):
    """Once, until check.py ends it."""
    pid = Path(given["state"], f"{name}.pid")
    if not pid.exists():
        quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        pid.write_text(str(subprocess.Popen(command, start_new_session=True, **quiet, **options).pid))


def redis(files):
    """With the list of users, of which the broker is one."""
    acl = shutil.copy(files / "redis/users.acl", given["state"])
    port = str(given["redis"])
    start("redis", "redis-server", "--port", port, "--save", "", "--dir", given["state"], "--aclfile", acl)
    for _ in range(100):
        if subprocess.run(["redis-cli", "-p", port, "ping"], capture_output=True).returncode == 0:
            return
        time.sleep(0.05)
    fail("Redis does not answer")


def serve(files, broker):
    state = Path(given["state"], "own-tenant")
    state.mkdir(exist_ok=True)
    for file in (files / "config").glob("*.toml"):
        text = file.read_text().replace("redis:6379", f"127.0.0.1:{given['redis']}")
        for each in broker["volumes"]:
            here, there, _ = mount(each)
            text = text.replace(f'"{there}/', f'"{here}/')
        (state / file.name).write_text(text)
    addresses = {f"QTB__{name}__LISTEN": f"127.0.0.1:{port}" for name, port in (("SERVER", given["public"]), ("OPS", given["ops"]))}
    start("broker", given["program"], "serve", "--config", state, env=os.environ | addresses)
    subprocess.run([given["program"], "healthcheck", "--ready", "--address", addresses["QTB__OPS__LISTEN"]], check=True)


def kubectl(words):
    """Has one Secret."""
    _, words = split(words)
    command, *words = words
    secret = Path(given["state"], "secret.yaml")
    if command == "create":
        options, _ = split(words[3:])
        files = {Path(name).name: Path(name).read_bytes() for name in values(options, "--from-file")}
        data = {name: base64.b64encode(content).decode() for name, content in files.items()}
        metadata = {"name": "qlik-token-broker"}
        print(yaml.safe_dump({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data}))
    elif command == "apply":
        ((name, file),) = split(words)[0]
        if file == "-":
            secret.write_text(sys.stdin.read())
        elif not Path(file).exists():
            fail(f"there is no {file}")
    elif command == "get":
        template = values(split(words[2:])[0], "--output")[0]
        key = re.fullmatch(r'go-template=\{\{index \.data "(.*)" \| base64decode\}\}', template)[1]
        sys.stdout.write(base64.b64decode(yaml.safe_load(secret.read_text())["data"][key]).decode())


def systemctl(words):
    """Starts the unit: its credentials are copied, and the program finds all well."""
    if words[0] not in ("enable", "restart"):
        return
    etc = Path(given["root"], "etc")
    credentials = Path(given["state"], "credentials")
    credentials.mkdir(exist_ok=True)
    unit = (etc / "systemd/system/qlik-token-broker.service").read_text()
    for name, source in re.findall(r"^LoadCredential=(\S+):/etc/(\S+)$", unit, re.M):
        shutil.copy(etc / source, credentials / name)
    with tempfile.TemporaryDirectory() as config:
        for file in (etc / "qlik-token-broker").glob("*.toml"):
            Path(config, file.name).write_text(file.read_text().replace(CREDENTIALS, str(credentials)))
        subprocess.run([given["program"], "check", "--config", config, "--live", "--subject", "auth0|ann"], check=True)


{"docker": docker, "kubectl": kubectl, "systemctl": systemctl}[Path(sys.argv[0]).name](sys.argv[1:])
