"""Hits: the same request again and again, of a user whose token is cached. Every kind of session
beside a bare handler that answers the same bytes, and beside what users run today."""

from express import Express
from lab import Failed, ask
from report import count, megabytes, micros, millis, publish, table, times, with_spread
from rounds import Rounds, wrk
from world import ALGORITHMS, COOKIE, HANDLE, OPAQUE, PAGE, Portal, Upstream, listeners, tenant

KEY = "API key"
KINDS = [KEY, *ALGORITHMS, HANDLE, OPAQUE, COOKIE]
TRACED = [KEY, "RS256"]


def measure(lab, options):
    portal, upstream = Portal(lab), Upstream(lab)
    tables = portal.key_table(["token", "sessions"]) + "".join(map(portal.jwt_table, ALGORITHMS)) + portal.other_tables(upstream.port)
    tables += tenant("bench", upstream.url)
    broker = Broker(lab, "broker", tables)
    requests = {
        KEY: portal.by_key("ann"),
        **{algorithm: portal.by_bearer(portal.session(algorithm)) for algorithm in ALGORITHMS},
        HANDLE: portal.by_handle(broker.port),
        OPAQUE: portal.by_bearer("opaque-8f14e45fceea167a5a36dedd4bea2543"),
        COOKIE: portal.by_cookie(),
    }
    answer = broker.answer(requests[KEY])
    bare_port = lab.port()
    env = {"BARE_LISTEN": f"127.0.0.1:{bare_port}", "BARE_ANSWER": str(lab.write("answer", answer.decode()))}
    bare = lab.start("bare", lab.programs.bare, port=bare_port, path="/", env=env)
    collector = f'[telemetry]\notlp_endpoint = "{upstream.url}"\nsample = 0.1\n'
    try:
        traced = Broker(lab, "traced", tables, collector)
    except Failed as failed:
        if "telemetry" not in str(failed):
            raise
        traced = None
    backends = [Express(lab, upstream, name) for name in ("guide", "cached")]

    # Targets in the order in which every round visits them.
    targets = []
    for kind in KINDS:
        targets.append((f"bare {kind}", requests[kind], bare_port, bare))
        targets.append((kind, requests[kind], broker.port, broker.process))
        if traced and kind in TRACED:
            targets.append((f"traced {kind}", requests[kind], traced.port, traced.process))
    for backend in backends:
        targets.append((backend.name, requests[KEY], backend.port, backend.process))
    done = {name: Rounds() for name, *_ in targets}
    for name, request, port, process in targets:
        wrk(lab, "warm", request, port, 1, process)
    for _ in range(options.rounds):
        for name, request, port, process in targets:
            done[name].append(wrk(lab, "hit", request, port, options.seconds, process))

    publish("hits", f"""
{options.rounds} rounds of {options.seconds} s each, 64 connections, answers of {count(len(answer))} bytes; median (least to most).

{against_the_limit(done)}

{with_traces(done, upstream) if traced else "Tracing was not measured: this broker refuses `[telemetry]`."}

{against_backends(done, backends)}
""", options.write)


class Broker:
    """The program, with everything on that production has."""

    def __init__(self, lab, name, tables, more="", **kept):
        self.port, self.ops = lab.port(), lab.port()
        config = lab.write(f"{name}.toml", listeners(self.port, self.ops, more=more, **kept) + tables)
        serve = [lab.programs.broker, "serve", "--config", config]
        self.process = lab.start(name, *serve, port=self.port, patience=600)

    def answer(self, request):
        status, body = ask(self.port, "POST", request.path, request.headers, request.body)
        if status != 200:
            raise Failed(f"{status} {body!r}")
        return body


def against_the_limit(done):
    rows = []
    for kind in KINDS:
        ours, bare = done[kind], done[f"bare {kind}"]
        rows.append([
            kind, with_spread(bare), with_spread(ours),
            times(ours.median("per_second") / bare.median("per_second")),
            f"{millis(bare.median('p50'))}, {millis(ours.median('p50'))}",
            f"{millis(bare.median('p99'))}, {millis(ours.median('p99'))}",
            times(ours.median("p99") / bare.median("p99")),
            f"{micros(bare.median('cpu'))}, {micros(ours.median('cpu'))}",
        ])
    head = ["hit by", "bare, requests/s", "broker, requests/s", "of bare", "p50: bare, broker", "p99: bare, broker", "p99 of bare", "CPU per request"]
    return f"{table(head, rows)}\n\nMemory at the end: {megabytes(done[KEY][-1].rss)}, of the bare handler {megabytes(done[f'bare {KEY}'][-1].rss)}."


def with_traces(done, upstream):
    rows = []
    for kind in TRACED:
        ours, traced = done[kind], done[f"traced {kind}"]
        share = traced.median("per_second") / ours.median("per_second")
        rows.append([kind, with_spread(ours), with_spread(traced), times(share), millis(traced.median("p99")), micros(traced.median("cpu"))])
    head = ["hit by", "without traces, requests/s", "a tenth traced, requests/s", "of without", "p99", "CPU per request"]
    return f"{table(head, rows)}\n\nThe collector took {count(upstream.calls('traces'))} batches."


def against_backends(done, backends):
    ours = done[KEY].median("per_second")
    rows = [["broker, by API key", with_spread(done[KEY]), "", *costs(done[KEY])]]
    for backend in backends:
        theirs = done[backend.name]
        rows.append([backend.title, with_spread(theirs), f"{times(ours / theirs.median('per_second'))} ×", *costs(theirs)])
    return table(["", "requests/s", "broker", "p50", "p99", "CPU per request", "memory"], rows)


def costs(rounds):
    return millis(rounds.median("p50")), millis(rounds.median("p99")), micros(rounds.median("cpu")), megabytes(rounds[-1].rss)
