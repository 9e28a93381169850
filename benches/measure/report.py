"""Tables in the documentation, between markers that name the part that fills them."""

import datetime
import os
import platform
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "docs/performance.md", ROOT / "docs/scaling.md"]


def count(value):
    """12 345"""
    return f"{value:,.0f}".replace(",", " ")


def with_spread(rounds, what="per_second", show=count):
    low, high = rounds.spread(what)
    return f"{show(rounds.median(what))} ({show(low)} to {show(high)})"


def millis(micros):
    return f"{micros / 1000:.2f} ms" if micros < 100_000 else f"{micros / 1000:.0f} ms"


def micros(value):
    return f"{value:.1f} µs"


def megabytes(value):
    return f"{value / 1e6:.0f} MB"


def times(value):
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def machine():
    """What it was measured on, in a line."""
    cpu = next((line.split(": ")[1] for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), platform.machine())
    total = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())[1]) / 1024 / 1024
    tools = [said("rustc", "--version").split(" (")[0], f"Node {said('node', '--version')}", said("wrk", "-v").split(" [")[0]]
    return (
        f"{cpu.strip()}, {os.cpu_count()} cores, {total:.0f} GiB, {platform.system()} {platform.release()}, "
        f"{', '.join(tools)}; {datetime.date.today()}"
    )


def said(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return f"no {command[0]}"
    return (done.stdout or done.stderr).splitlines()[0]


def publish(part, text, write):
    """Prints what a part found, and puts it between its markers."""
    text = f"{text.strip()}\n\nMeasured on {machine()}."
    print(f"\n== {part}\n\n{text}", flush=True)
    if not write:
        return
    begin, end = f"<!-- scripts/bench {part} -->\n", "\n<!-- end -->"
    for page in PAGES:
        before, marker, rest = page.read_text().partition(begin)
        if marker:
            _, _, after = rest.partition(end)
            page.write_text(f"{before}{begin}\n{text}\n{end}{after}")
            return
    raise SystemExit(f"no page has a place for {part}")
