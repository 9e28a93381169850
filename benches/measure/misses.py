"""Misses: users who are all new, in a stream and in a crowd. The budget is lifted on our side, and the
tenant has none here: at a real one all of them could mint 100 times a minute."""

from express import Express
from report import count, micros, millis, publish, table, times, with_spread
from rounds import Rounds, load
from world import Portal, Request, Upstream, listeners, lookup, tenant

CONNECTIONS = 512
CROWD = 1000
DELAYS = (0, 80)


def measure(lab, options):
    portal, upstream = Portal(lab), Upstream(lab)
    broker = Unpaced(lab, portal.key_table() + tenant("bench", upstream.url))
    targets = [broker, Express(lab, upstream, "guide"), Express(lab, upstream, "cached")]
    request = portal.by_key("u{user}")
    users = Users()
    for target in targets:
        load(lab, "warm", request, target.port, target.process, first=users.take(1000), total=1000)

    streams = {(target.name, delay): Rounds() for target in targets for delay in DELAYS}
    for _ in range(options.rounds):
        for delay in DELAYS:
            upstream.set("delay", delay)
            for target in targets:
                done = load(lab, "stream", request, target.port, target.process, first=users.next, seconds=options.seconds, connections=CONNECTIONS)
                users.take(done.requests)
                streams[target.name, delay].append(done)

    alone = Alone(upstream)
    crowds = {(target.name, people): Rounds() for target in [*targets, alone] for people in (1, CROWD)}
    calls = {}
    for _ in range(options.rounds):
        for people in (1, CROWD):
            for target in [*targets, alone]:
                before = upstream.calls()
                asking = alone.request if target is alone else request
                done = load(lab, "crowd", asking, target.port, target.process, first=users.take(people), users=people, total=CROWD, connections=CROWD)
                crowds[target.name, people].append(done)
                calls[target.name, people] = upstream.calls() - before

    publish("misses", f"""
Streams: {CONNECTIONS} connections, every request of another user, {options.rounds} rounds of {options.seconds} s; the tenant answers after so long.

{stream_table(streams, targets)}

Crowds: {CROWD} connections that ask at the same moment, the tenant answers after {DELAYS[-1]} ms. Calls are those that the tenant saw.

{crowd_table(crowds, calls, targets, alone)}
""", options.write)


class Users:
    """Numbers of users that nobody has asked for yet."""

    def __init__(self):
        self.next = 0

    def take(self, many):
        first = self.next
        self.next += many
        return first


class Unpaced:
    """The broker without a budget: benches/unpaced.rs."""

    name, title = "broker", "broker"

    def __init__(self, lab, tables, max_users=2_000_000, more=""):
        self.port = lab.port()
        config = lab.write("unpaced.toml", listeners(self.port, lab.port(), max_users, more) + tables)
        self.process = lab.start("unpaced", lab.programs.unpaced, config, port=self.port)


class Alone:
    """The tenant without anybody before it: what a crowd has to wait for anyway."""

    name, title = "tenant", "the tenant itself"

    def __init__(self, upstream):
        self.port, self.process = upstream.port, upstream.process
        self.request = Request({"Content-Type": "application/json"}, lookup("u{user}"), "/oauth/token")


def stream_table(streams, targets):
    rows = []
    for delay in DELAYS:
        guide = streams["guide", delay].median("per_second")
        for target in targets:
            done = streams[target.name, delay]
            rows.append([
                target.title, f"{delay} ms", with_spread(done), f"{times(done.median('per_second') / guide)} ×",
                millis(done.median("p50")), millis(done.median("p99")), micros(done.median("cpu")),
            ])
    return table(["", "tenant", "requests/s", "of the guide's", "p50", "p99", "CPU per request"], rows)


def crowd_table(crowds, calls, targets, alone):
    rows = []
    for people, title in ((1, "of one user"), (CROWD, "of as many users")):
        waited = crowds[alone.name, people].median("p99")
        for target in [*targets, alone]:
            done = crowds[target.name, people]
            rows.append([
                target.title, title, count(calls[target.name, people]), *(millis(done.median(what)) for what in ("p50", "p99", "max")),
                f"{times(done.median('p99') / waited)} ×",
            ])
    return table(["", f"{CROWD} requests", "calls", "p50", "p99", "longest", "p99 of the tenant's"], rows)
