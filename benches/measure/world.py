"""Who asks and whom: the broker's configuration, the credentials of its callers, their requests."""

import base64
import hashlib
import hmac
import json
import subprocess
import time
from dataclasses import dataclass, field

from lab import ask, ask_json

PAGE = "https://portal.example.com"
HANDLE, OPAQUE, COOKIE = "handle", "introspection", "portal_check"
ALGORITHMS = ("RS256", "ES256", "HS256")


def lookup(user):
    return json.dumps({"user_lookup": {"field": "subject", "value": f"auth0|{user}"}})


@dataclass
class Request:
    """A request for a token, as wrk and as our own loader send it."""

    headers: dict = field(default_factory=dict)
    body: str = ""
    path: str = "/session-token"

    def lua(self):
        lines = ['wrk.method = "POST"', f"wrk.body = {json.dumps(self.body)}"]
        lines += [f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in self.headers.items()]
        return "\n".join(lines) + "\n"

    def raw(self):
        """With `{user}` and `{session}` for the loader, which puts seven digits for the former."""
        length = len(self.body.replace("{user}", "0000000"))
        headers = {"Host": "broker", **self.headers, "Content-Length": length}
        lines = [f"POST {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join(lines) + "\r\n\r\n" + self.body


class Portal:
    """Holds the keys of the back end and of the issuers."""

    def __init__(self, lab):
        self.lab = lab
        self.secret = lab.write("hmac", base64.b64encode(hashlib.sha256(b"bench").digest()).decode())
        made = subprocess.run([lab.programs.broker, "api-key", "new", "bench"], capture_output=True, text=True, check=True)
        self.key = next(line for line in made.stdout.splitlines() if line.startswith("qtb_"))
        self.issued = int(time.time())
        for name, how in (("RS256", ["-algorithm", "RSA"]), ("ES256", ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"])):
            pem = lab.folder / f"{name}.pem"
            openssl("genpkey", *how, "-out", pem)
            openssl("pkey", "-in", pem, "-pubout", "-out", lab.folder / f"{name}.pub")

    def session(self, algorithm, **claims):
        """A JWT of ann."""
        claims = {"iss": issuer(algorithm), "aud": "broker", "sub": "ann", **claims, "iat": self.issued, "exp": self.issued + 36000}
        signed = f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part(claims)}"
        if algorithm == "HS256":
            tag = hmac.digest(self.secret.read_bytes(), signed.encode(), "sha256")
        else:
            tag = openssl("dgst", "-sha256", "-sign", self.lab.folder / f"{algorithm}.pem", stdin=signed.encode())
        return f"{signed}.{base64url(fixed(tag) if algorithm == 'ES256' else tag)}"

    def by_key(self, user):
        return Request({"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}, lookup(user))

    def by_bearer(self, token):
        return Request({"Authorization": f"Bearer {token}", "Origin": PAGE})

    def by_cookie(self):
        return Request({"Cookie": "theme=dark; sid=8f14e45fceea167a5a36dedd4bea2543", "X-Broker-Request": "1", "Origin": PAGE})

    def by_handle(self, broker):
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        return self.by_bearer(ask_json(broker, "POST", "/sessions", headers, lookup("ann"))["session"])

    # ---- The broker's tables ---------------------------------------------------------------------

    def key_table(self, allow=("token",)):
        digest = hashlib.sha256(self.key.encode()).hexdigest()
        return f"""
[[session]]
type = "api_key"
keys = [{{ id = "bench", sha256 = "{digest}", allow = {json.dumps(allow)}, requests_per_minute = 10000000 }}]
"""

    def jwt_table(self, algorithm, tenant=None):
        key = f'hmac_secret = {{ file = "{self.secret}" }}'
        if algorithm != "HS256":
            key = f'public_key = {{ file = "{self.lab.folder}/{algorithm}.pub" }}'
        return f"""
[[session]]
type = "jwt"
name = "{algorithm}"
issuer = "{issuer(algorithm)}"
audience = "broker"
algorithms = ["{algorithm}"]
{key}
{f'tenant = "{tenant}"' if tenant else ""}
user = [{{ field = "subject", value = "auth0|{{sub}}" }}]
"""

    def other_tables(self, keeper):
        user = 'user = [{ field = "subject", value = "auth0|{sub}" }]'
        return f"""
[[session]]
type = "handle"
[[session]]
type = "introspection"
url = "http://127.0.0.1:{keeper}/introspect"
client_id = "broker"
client_secret = "bench"
audience = "broker"
{user}
[[session]]
type = "portal_check"
url = "http://127.0.0.1:{keeper}/whoami"
cookies = ["sid"]
{user}
"""


def listeners(public, ops, max_users=200000, more=""):
    """The process's own tables. Everything is counted and limited as ever, but never too much."""
    return f"""
[server]
listen = "127.0.0.1:{public}"
[ops]
listen = "127.0.0.1:{ops}"
[cache]
max_users = {max_users}
[limits]
session_per_minute = 10000000
{more}
"""


def tenant(name, url, page=PAGE, more=""):
    return f"""
[tenants.{name}]
url = "{url}"
client_id = "{name}"
client_secret = "bench"
scopes = "user_default"
allowed_origins = ["{page}"]
{more}
"""


def issuer(algorithm):
    return PAGE if algorithm == "HS256" else f"https://{algorithm.lower()}.example.com"


# ---- The tenant, the portal and the collector ------------------------------------------------------


class Upstream:
    def __init__(self, lab, host="127.0.0.1"):
        self.port = lab.port()
        env = {"UPSTREAM_LISTEN": f"{host}:{self.port}", "UPSTREAM_KEYS": str(lab.folder / "keys.json")}
        self.process = lab.start("upstream", lab.programs.upstream, port=self.port, path="/calls", env=env)
        self.url = f"http://127.0.0.1:{self.port}"

    def set(self, what, value):
        ask(self.port, "POST", f"/set/{what}/{value}")

    def calls(self, what="tokens"):
        return ask_json(self.port, "GET", "/calls")[what]


# ---- JOSE ----------------------------------------------------------------------------------------


def part(value):
    return base64url(json.dumps(value, separators=(",", ":")).encode())


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def openssl(*args, stdin=None):
    return subprocess.run(["openssl", *map(str, args)], input=stdin, capture_output=True, check=True).stdout


def fixed(der):
    """An ECDSA signature as JWS wants it (RFC 7518, 3.4): two numbers of 32 bytes."""
    numbers, rest = [], der[2:]
    while rest:
        length = rest[1]
        numbers.append(rest[2 : 2 + length].lstrip(b"\0").rjust(32, b"\0"))
        rest = rest[2 + length :]
    return b"".join(numbers)
