"""Ten minutes of tokens that end soon, users who come and users who leave: does anything drift?"""

from misses import Unpaced
from report import count, megabytes, micros, millis, publish, table
from rounds import load
from world import Portal, Upstream, tenant

MINUTES = 10
LIFE_SECONDS = 30
USERS = 10_000
SLIDE = 200
MAX_USERS = 20_000


def measure(lab, options):
    minute = options.seconds if options.quick else 60
    portal, upstream = Portal(lab), Upstream(lab)
    upstream.set("life", LIFE_SECONDS)
    tables = portal.jwt_table("HS256") + tenant("bench", upstream.url)
    broker = Unpaced(lab, tables, MAX_USERS)
    request = portal.by_bearer("{session}")
    rows, done = [], []
    for number in range(MINUTES):
        before = upstream.calls()
        draw = {"first": number * minute * SLIDE, "slide": SLIDE, "users": USERS, "random": "true", "seconds": minute}
        done.append(load(lab, "churn", request, broker.port, broker.process, secret=portal.secret, issued=portal.issued, **draw))
        last = done[-1]
        rows.append([number + 1, count(last.per_second), millis(last.p50), millis(last.p99), micros(last.cpu), count(upstream.calls() - before), megabytes(last.rss)])
        print(" | ".join(map(str, rows[-1])), flush=True)
    change = lambda what: f"{getattr(done[-1], what) / getattr(done[1], what) - 1:+.1%}"
    publish("churn", f"""
Tokens of {LIFE_SECONDS} s, {count(USERS)} users drawn at random, of whom {SLIDE} a second leave and as many come, a JWT each; at most {count(MAX_USERS)} are cached;
64 connections, the tenant without a delay.

{table(["minute", "requests/s", "p50", "p99", "CPU per request", "mints", "memory"], rows)}

From minute two to the end: memory {change("rss")}, requests a second {change("per_second")}, CPU per request {change("cpu")}.
""", options.write)
