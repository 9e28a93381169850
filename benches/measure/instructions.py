"""The instructions of a hit, as callgrind counts them in user space: noise hides nothing from it. They
are compared with those in benches/instructions.txt, which `--accept` replaces."""

import re
import socket
import subprocess
from pathlib import Path

from lab import Failed
from report import count, said, table
from world import ALGORITHMS, Portal, Upstream, listeners, tenant

KNOWN = Path(__file__).resolve().parents[1] / "instructions.txt"
#: Requests, one after the other on one connection.
REQUESTS = 1000
#: What another machine, and what happens between requests, may change.
TOLERANCE = 0.03


def measure(lab, options):
    portal, upstream = Portal(lab), Upstream(lab)
    port = lab.port()
    tables = portal.key_table(["token", "sessions"]) + "".join(map(portal.jwt_table, ALGORITHMS)) + portal.other_tables(upstream.port)
    config = lab.write("broker.toml", listeners(port, lab.port()) + tables + tenant("bench", upstream.url))
    counting = Counting(lab, config, port)
    requests = {"key": portal.by_key("ann")}
    requests |= {algorithm: portal.by_bearer(portal.session(algorithm)) for algorithm in ALGORITHMS}
    requests["handle"] = portal.by_handle(port)
    counted = {kind: counting.of(request) for kind, request in requests.items()}
    if options.accept:
        write(counted)
    compare(counted, known())


class Counting:
    """The broker under callgrind, which counts when it is told to."""

    def __init__(self, lab, config, port):
        self.port, self.out, self.dumps = port, lab.folder / "callgrind", 0
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={self.out}"]
        command += [lab.programs.broker, "serve", "--config", config]
        # One worker: who wakes whom is then the same every time.
        env = {"TOKIO_WORKER_THREADS": "1"}
        self.process = lab.start("callgrind", *command, port=port, patience=300, env=env)

    def of(self, request):
        """Instructions per request."""
        with socket.create_connection(("127.0.0.1", self.port)) as one:
            send(one, request, REQUESTS // 5)
            self.control("-i", "on")
            send(one, request, REQUESTS)
            # Also sets the counters back, but for the sum in its `summary`.
            self.control("-d")
            self.control("-i", "off")
        self.dumps += 1
        dump = Path(f"{self.out}.{self.dumps}").read_text()
        return int(re.search(r"^totals: (\d+)", dump, re.M)[1]) / REQUESTS

    def control(self, *what):
        command = ["callgrind_control", *what, str(self.process.child.pid)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0 or "Error" in done.stdout:
            raise Failed(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")


def send(one, request, times):
    whole = request.raw().encode()
    for _ in range(times):
        one.sendall(whole)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += one.recv(65536)
        head, _, body = answer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise Failed(f"{head!r} {body!r}")
        length = int(re.search(rb"content-length: (\d+)", head, re.I)[1])
        while len(body) < length:
            body += one.recv(65536)


def known():
    if not KNOWN.is_file():
        return {}
    lines = [line.split() for line in KNOWN.read_text().splitlines() if not line.startswith("#")]
    return {kind: int(number) for kind, number in lines}


def write(counted):
    lines = ["# Instructions of a hit in user space; `scripts/bench instructions --accept` writes this.", f"# {said('rustc', '--version')}, {said('valgrind', '--version')}"]
    KNOWN.write_text("\n".join(lines + [f"{kind} {number:.0f}" for kind, number in counted.items()]) + "\n")


def compare(counted, known):
    rows, off = [], []
    for kind, number in counted.items():
        change = number / known[kind] - 1 if kind in known else None
        rows.append([kind, count(number), "new" if change is None else f"{change:+.1%}"])
        if change is None or abs(change) > TOLERANCE:
            off.append(kind)
    print(table(["hit by", "instructions", "change"], rows), flush=True)
    if off:
        raise SystemExit(f"{', '.join(off)}: beyond {TOLERANCE:.0%} of benches/instructions.txt; `--accept` takes the new numbers")
