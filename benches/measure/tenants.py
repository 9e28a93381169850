"""Ten thousand tenants in one broker: start, reload, memory, what is asked of tenants on its own
account, and what a hit costs among so many. One process answers for all of them, each at an address
of its own in 127.0.0.0/8, as tenants are hosts of their own. The budgets are the usual ones."""

import concurrent.futures
import json
import statistics
import time

from hits import Broker
from lab import Failed, ask
from report import count, megabytes, micros, millis, publish, table, with_spread
from rounds import Rounds, load, wrk
from world import Portal, Request, Upstream, base64url, openssl, tenant

USERS_PER_TENANT = 100
RELOADS = 5
PATIENCE = 300
#: People who come by the issuer whose keys are fetched, each of another tenant.
SIGN_IN = 50
#: How often the broker reads origins and key sets, in seconds.
ORIGINS_EVERY, KEYS_EVERY = 300, 600


def measure(lab, options):
    many = options.tenants
    portal, upstream = Portal(lab), Upstream(lab, host="0.0.0.0")
    lab.write("keys.json", json.dumps({"keys": [jwk(lab)]}))
    sessions = portal.jwt_table("HS256", tenant="{org}") + fetched_keys(portal, upstream)
    states, hits = {}, {}
    for name, tenants, more in (("one", 1, ""), ("many", many, ""), ("origins", many, FOLLOWING)):
        with lab.alone():
            tables = sessions + "".join(tenant_of(upstream, number, more) for number in range(tenants))
            lists = many if more else 0
            states[name] = state = State(lab, portal, upstream, tables, many * USERS_PER_TENANT, tenants, lists)
            if name == "origins":
                continue
            hits[name] = by_origin(lab, options, portal, state.broker, tenants)
            state.reload(lab, portal)
            if name == "many":
                crowded = fill(lab, options, portal, state.broker, tenants)
    users = many * USERS_PER_TENANT
    publish("tenants", f"""
{count(many)} tenants in one broker, {count(users)} users in all.

{state_table(states, many)}

The calls are those of the start and of {SIGN_IN} people of as many tenants, whose issuer's key set is fetched. Of its own
accord the broker then reads the origins of each such tenant's OAuth client every {ORIGINS_EVERY} s, which is
{many / ORIGINS_EVERY:.0f} calls a second among {count(many)} tenants, and the key set of each issuer every {KEYS_EVERY} s, whatever the number of tenants.

Hits by a JWT, 64 connections, {options.rounds} rounds of {options.seconds} s:

{hits_table(hits, many)}

{crowded}
""", options.write)


FOLLOWING = """origins_from_client = true
management = { client_id = "management", client_secret = "bench", scopes = "admin_classic" }
"""


class State:
    """What a start costs, until as many lists of origins are read and a few people have signed in."""

    def __init__(self, lab, portal, upstream, tables, users, tenants, lists):
        calls = {what: upstream.calls(what) for what in ("tokens", "origins", "keys")}
        started = time.monotonic()
        self.broker = Broker(lab, "tenants", tables, max_users=2 * users)
        self.start = time.monotonic() - started
        while upstream.calls("origins") < calls["origins"] + lists and time.monotonic() < started + PATIENCE:
            time.sleep(0.2)
        self.lists_read = time.monotonic() - started
        time.sleep(1)
        self.rss = self.broker.process.rss()
        for number in range(min(tenants, SIGN_IN)):
            token = portal.session("RS256", org=f"t{number}")
            self.broker.answer(Request({"Authorization": f"Bearer {token}"}))
        self.calls = {what: upstream.calls(what) - before for what, before in calls.items()}
        self.reloads, self.meanwhile, self.rss_after = [], Rounds(), None

    def reload(self, lab, portal):
        """One after the other, while hits go on."""
        request = of_tenant(portal, 0)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for _ in range(RELOADS):
                reloading = pool.submit(self.reload_once)
                self.meanwhile.append(wrk(lab, "meanwhile", request, self.broker.port, 1, self.broker.process))
                self.reloads.append(reloading.result())
        time.sleep(1)
        self.rss_after = self.broker.process.rss()

    def reload_once(self):
        started = time.monotonic()
        status, body = ask(self.broker.ops, "POST", "/reload", {"X-Broker-Request": "1"})
        if status != 200:
            raise Failed(f"reload: {status} {body[:500]!r}")
        return time.monotonic() - started


def by_origin(lab, options, portal, broker, tenants):
    """Hits of a page of the first tenant and of the last, and of a page that no tenant lists."""
    ways = {
        "of the first tenant's page": of_tenant(portal, 0),
        "of the last tenant's page": of_tenant(portal, tenants - 1),
        "of a page that no tenant lists (403)": of_tenant(portal, 0, "https://nobody.example.com"),
    }
    done = {name: Rounds() for name in ways}
    for _ in range(options.rounds):
        for name, request in ways.items():
            of = broker.process
            done[name].append(wrk(lab, "origin", request, broker.port, options.seconds, of, refused="403" in name))
    return done


def fill(lab, options, portal, broker, tenants):
    """A session and a token for every user of every tenant, then hits at random."""
    users = tenants * USERS_PER_TENANT
    request = Request({"Authorization": "Bearer {session}"})
    common = {"secret": portal.secret, "issued": portal.issued, "tenants": tenants}
    before = broker.process.rss()
    filled = load(lab, "fill", request, broker.port, broker.process, total=users, **common)
    time.sleep(2)
    rss = broker.process.rss()
    draw = {"users": users, "random": "true", "seconds": options.seconds, **common}
    rounds = Rounds(load(lab, "draw", request, broker.port, broker.process, **draw) for _ in range(options.rounds))
    return f"""
With a token and a session of every user, filled at {count(filled.per_second)} users a second, the broker holds {megabytes(rss)}: {count((rss - before) / users)} bytes
for each user. Hits of users drawn at random among all: {with_spread(rounds)} requests/s, p99 {millis(rounds.median("p99"))},
{micros(rounds.median("cpu"))} of CPU time each.
"""


def state_table(states, many):
    titles = {"one": "1 tenant", "many": f"{count(many)} tenants", "origins": f"{count(many)} with `origins_from_client`"}
    rows = []
    for name, title in titles.items():
        state = states[name]
        reload = f"{statistics.median(state.reloads):.2f} s" if state.reloads else ""
        hits = millis(state.meanwhile.median("p99")) if state.reloads else ""
        after = megabytes(state.rss_after) if state.rss_after else ""
        lists = f"{state.lists_read:.1f} s" if state.calls["origins"] else ""
        rows.append([title, f"{state.start:.2f} s", lists, megabytes(state.rss), reload, hits, after, *(count(state.calls[what]) for what in ("tokens", "origins", "keys"))])
    return table(["", "start", "all origins read after", "memory", f"reload, median of {RELOADS}", "p99 of hits in its first second", "memory then", "tokens asked", "origins read", "key sets read"], rows)


def hits_table(hits, many):
    rows = []
    for name, title in (("one", "1 tenant"), ("many", f"{count(many)} tenants")):
        for way, rounds in hits[name].items():
            rows.append([title, way, with_spread(rounds), millis(rounds.median("p99")), micros(rounds.median("cpu"))])
    return table(["broker with", "hit", "requests/s", "p99", "CPU per request"], rows)


# ---- Who asks whom -------------------------------------------------------------------------------


def tenant_of(upstream, number, more):
    high, low = divmod(number, 250)
    url = f"http://127.1.{high}.{low + 1}:{upstream.port}"
    return tenant(f"t{number}", url, page(number), more)


def page(number):
    return f"https://t{number}.example.com"


def of_tenant(portal, number, origin=None):
    token = portal.session("HS256", org=f"t{number}")
    return Request({"Authorization": f"Bearer {token}", "Origin": origin or page(number)})


def fetched_keys(portal, upstream):
    """A second issuer, whose keys are fetched."""
    table = portal.jwt_table("RS256", tenant="{org}").splitlines()
    lines = [f'jwks_url = "{upstream.url}/jwks.json"' if line.startswith("public_key") else line for line in table]
    return "\n".join(lines)


def jwk(lab):
    modulus = openssl("rsa", "-pubin", "-in", lab.folder / "RS256.pub", "-noout", "-modulus").decode()
    number = bytes.fromhex(modulus.strip().partition("=")[2])
    return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "one", "e": "AQAB", "n": base64url(number)}
