"""How long it takes from the start of the process to the first 200, and how large the program is."""

import contextlib
import socket
import statistics
import time

from lab import Failed
from report import count, megabytes, publish, table
from world import Portal, Upstream, listeners, tenant

STARTS = 20


def measure(lab, options):
    starts = 3 if options.quick else STARTS
    portal, upstream = Portal(lab), Upstream(lab)
    public, limit = lab.port(), lab.port()
    config = lab.write("start.toml", listeners(public, lab.port()) + portal.key_table() + tenant("bench", upstream.url))
    token = portal.by_key("ann").raw()
    health = "GET /healthz HTTP/1.1\r\nHost: broker\r\n\r\n"
    env = {"BARE_LISTEN": f"127.0.0.1:{limit}", "BARE_ANSWER": str(lab.write("answer", "{}"))}
    serve = [lab.programs.broker, "serve", "--config", config]
    ways = {
        "the bare handler": (limit, token, [lab.programs.bare], env),
        "`GET /healthz`": (public, health, serve, None),
        "a token, minted": (public, token, serve, None),
    }
    taken = {name: [] for name in ways}
    for _ in range(starts):
        for name, (port, request, command, env) in ways.items():
            started = time.perf_counter()
            process = lab.launch("started", *command, env=env)
            first_200(name, port, request, started + 30)
            taken[name].append(time.perf_counter() - started)
            lab.stop(process)
    rows = [[name, *(f"{value * 1000:.1f} ms" for value in (statistics.median(all), min(all), max(all)))] for name, all in taken.items()]
    size = lab.programs.broker.stat().st_size
    publish("start", f"""
From the start of the process to the first 200, {starts} starts each, in turn.

{table(["first answer", "median", "least", "most"], rows)}

The program has {megabytes(size)} ({count(size)} bytes).
""", options.write)


def first_200(name, port, request, until):
    while time.perf_counter() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as one:
            one.sendall(request.encode())
            if one.recv(64).startswith(b"HTTP/1.1 200"):
                return
    raise Failed(f"{name}: no 200 in time")
