"""One round of load, and what several of them come to."""

import json
import re
import statistics
import subprocess
from dataclasses import dataclass

from lab import Failed

MICROS = {"us": 1, "ms": 1e3, "s": 1e6, "m": 6e7}


@dataclass
class Round:
    """Latencies and CPU time in microseconds, memory in bytes."""

    requests: int
    per_second: float
    p50: float
    p99: float
    max: float
    cpu: float = 0
    rss: int = 0


class Rounds(list):
    """Rounds of the same."""

    def median(self, what):
        return statistics.median(getattr(one, what) for one in self)

    def spread(self, what):
        values = [getattr(one, what) for one in self]
        return min(values), max(values)


def wrk(lab, name, request, port, seconds, of, connections=64, refused=False):
    """The same request again and again; `of` is the process whose CPU time counts."""
    script = lab.write(f"{name}.lua", request.lua())
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", script, f"http://127.0.0.1:{port}{request.path}"]
    return measured(of, lambda: from_wrk(name, output(command), refused))


def load(lab, name, request, port, of, secret=None, issued=0, **options):
    """Requests that differ; the options are those of benches/load.rs."""
    file = lab.write(f"{name}.request", request.raw())
    options = {"request": file, "secret": secret or "", "issued": issued, **options}
    command = [lab.programs.load, f"127.0.0.1:{port}", *(f"{key}={value}" for key, value in options.items())]
    return measured(of, lambda: from_load(name, output(command)))


def output(command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def measured(process, run):
    before = process.cpu_seconds()
    done = run()
    done.cpu = (process.cpu_seconds() - before) * 1e6 / max(done.requests, 1)
    done.rss = process.rss()
    return done


def from_wrk(name, said, refused):
    if ("Non-2xx" in said) != refused or "Socket errors" in said:
        raise Failed(f"{name}: the answers are not those that were expected:\n{said}")
    number, unit = r"([\d.]+)", r"(us|ms|s|m)\b"
    micros = lambda pattern: (lambda found: float(found[1]) * MICROS[found[2]])(re.search(pattern, said))
    return Round(
        requests=int(re.search(r"(\d+) requests in", said)[1]),
        per_second=float(re.search(rf"Requests/sec:\s+{number}", said)[1]),
        p50=micros(rf"50%\s+{number}{unit}"),
        p99=micros(rf"99%\s+{number}{unit}"),
        max=micros(rf"Latency\s+\S+\s+\S+\s+{number}{unit}"),
    )


def from_load(name, said):
    said = json.loads(said)
    statuses = said.pop("statuses")
    if set(statuses) != {"200"}:
        raise Failed(f"{name}: not every answer was 200: {statuses}")
    del said["seconds"]
    return Round(**said)
