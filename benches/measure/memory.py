"""What a cached user costs: memory, and what hits lose when there are many users."""

import time

from misses import Unpaced
from report import count, megabytes, micros, millis, publish, table, times, with_spread
from rounds import Rounds, load
from world import Portal, Upstream, tenant

SIZES = (1_000, 10_000, 100_000, 1_000_000)
TOKEN_BYTES = 1200


def measure(lab, options):
    sizes = [size for size in SIZES if size <= options.users]
    grown = {}
    for kind in ("key", "session"):
        with lab.alone():
            grown[kind] = grow(lab, options, kind, sizes)
    publish("memory", f"""
Users drawn at random among so many, 64 connections, {options.rounds} rounds of {options.seconds} s.

{hits_table(grown, sizes)}

Memory per user is the growth since {count(sizes[0])} users, for tokens of {count(TOKEN_BYTES)} bytes. With sessions, each user has shown a JWT, which is
remembered, and which counts in the session limits.

{memory_table(grown, sizes)}
""", options.write)


def grow(lab, options, kind, sizes):
    portal, upstream = Portal(lab), Upstream(lab)
    table = portal.key_table() if kind == "key" else portal.jwt_table("HS256")
    broker = Unpaced(lab, table + tenant("bench", upstream.url))
    request = portal.by_key("u{user}") if kind == "key" else portal.by_bearer("{session}")
    common = {"secret": portal.secret, "issued": portal.issued}
    grown, filled = {}, 0
    for size in sizes:
        load(lab, "fill", request, broker.port, broker.process, first=filled, total=size - filled, **common)
        filled = size
        # The log's buffers run empty, and caches put in order what came in.
        time.sleep(2)
        rss = broker.process.rss()
        draw = {"users": size, "random": "true", "seconds": options.seconds, **common}
        load(lab, "warm", request, broker.port, broker.process, **{**draw, "seconds": 1})
        before = upstream.calls()
        rounds = Rounds(load(lab, "draw", request, broker.port, broker.process, **draw) for _ in range(options.rounds))
        grown[size] = rss, rounds, upstream.calls() - before
    return grown


def hits_table(grown, sizes):
    rows = []
    for kind, title in (("key", "API key"), ("session", "JWT, a session each")):
        _, few, _ = grown[kind][sizes[0]]
        for size in sizes:
            _, rounds, missed = grown[kind][size]
            rows.append([
                title, count(size), with_spread(rounds), millis(rounds.median("p50")), f"{times(rounds.median('p50') / few.median('p50'))} ×",
                millis(rounds.median("p99")), f"{times(rounds.median('p99') / few.median('p99'))} ×", micros(rounds.median("cpu")), count(missed),
            ])
    head = ["hit by", "users", "requests/s", "p50", f"of that at {count(sizes[0])}", "p99", f"of that at {count(sizes[0])}", "CPU per request", "misses"]
    return table(head, rows)


def memory_table(grown, sizes):
    rows = []
    for kind, title in (("key", "tokens"), ("session", "tokens and sessions")):
        base, _, _ = grown[kind][sizes[0]]
        for size in sizes[2:] or sizes[1:]:
            rss, _, _ = grown[kind][size]
            each = (rss - base) / (size - sizes[0])
            rows.append([title, count(size), megabytes(rss), f"{count(each)} B", f"{count(each - TOKEN_BYTES)} B"])
    return table(["cached", "users", "memory", "per user", "beside the token"], rows)
