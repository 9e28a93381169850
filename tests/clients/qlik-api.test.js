// The package @qlik/api in Node: with a token of the broker as its API key, as it has no callback
// there, and with the tenant alone, which shows that the simulator is one to a client of Qlik's own.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { beforeEach, mock, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import spaces from "@qlik/api/spaces";
import users from "@qlik/api/users";
import { addUser, control, mints, url as host } from "./tenant.js";

const { BROKER_URL, BROKER_KEY, PORTAL_SECRET } = process.env;

// What the package throws, it also writes there.
mock.method(console, "error", () => {});

beforeEach(() => control("POST", "reset"));

/** A session of the portal. */
function portalSession(sub) {
  const part = (json) => Buffer.from(JSON.stringify(json)).toString("base64url");
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: "https://portal.example.com", aud: "qlik-token-broker", sub, iat: now, exp: now + 60 };
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  return `${signed}.${createHmac("sha256", PORTAL_SECRET).update(signed).digest("base64url")}`;
}

async function ask(bearer, body) {
  const response = await fetch(`${BROKER_URL}/session-token`, {
    method: "POST",
    headers: { authorization: `Bearer ${bearer}`, ...(body && { "content-type": "application/json" }) },
    body: body && JSON.stringify(body),
  });
  return { status: response.status, headers: response.headers, ...(await response.json()) };
}

async function sessionToken(bearer, body) {
  const answer = await ask(bearer, body);
  assert.equal(answer.status, 200, answer.detail);
  return { ...answer, timing: answer.headers.get("server-timing") };
}

/** Who the package says it is. It keeps answers of its own for ten minutes: the tenant is to be asked. */
async function me(hostConfig) {
  const { data } = await users.getMyUser({ hostConfig: { host, ...hostConfig }, noCache: true });
  return data;
}

const meWith = (token) => me({ authType: "apikey", apiKey: token.access_token });

const callers = {
  "a back end's key": ({ subject }) =>
    sessionToken(BROKER_KEY, { user_lookup: { field: "subject", value: subject } }),
  "a portal's JWT": ({ sub }) => sessionToken(portalSession(sub)),
};

for (const [credential, tokenOf] of Object.entries(callers)) {
  test(`${credential} leads to its user, with one mint per user`, async () => {
    const [ann, bob] = [await addUser("ann"), await addUser("bob")];

    const first = await tokenOf(ann);
    assert.equal(first.timing, 'token;desc="minted"');
    assert.equal(first.tenant_url, host);
    assert.equal((await meWith(first)).subject, ann.subject);

    const again = await tokenOf(ann);
    assert.equal(again.timing, 'token;desc="local"');
    assert.equal(again.access_token, first.access_token);
    assert.deepEqual(await mints(), { impersonation: 1, clientCredentials: 0 });

    const other = await tokenOf(bob);
    assert.equal(other.timing, 'token;desc="minted"');
    assert.notEqual(other.access_token, first.access_token);
    assert.equal((await meWith(other)).subject, bob.subject);
    assert.equal((await meWith(await tokenOf(ann))).id, ann.id);
    assert.deepEqual(await mints(), { impersonation: 2, clientCredentials: 0 });
  });
}

test("users who ask at the same time get each their own token", async () => {
  const people = await Promise.all(Array.from({ length: 10 }, () => addUser("crowd")));
  const twice = [...people, ...people];
  const seen = await Promise.all(
    twice.map(async (user) => (await meWith(await sessionToken(portalSession(user.sub)))).subject),
  );
  assert.deepEqual(seen, twice.map((user) => user.subject));
  assert.deepEqual(await mints(), { impersonation: people.length, clientCredentials: 0 });
});

test("a token that the tenant ended is replaced by one new one", async () => {
  const { sub, subject } = await addUser("ann");
  const session = portalSession(sub);
  const old = await sessionToken(session);
  assert.equal((await meWith(old)).subject, subject);

  assert.deepEqual(await control("POST", "revoke-user", { subject }), { revoked: 1 });
  await assert.rejects(meWith(old), { status: 401 });

  // The broker does not look at a token younger than the renewal pause, and says for how long.
  const rejected = { rejected: old.token_id };
  let renewed = await ask(session, rejected);
  for (let tries = 0; renewed.code === "renewal_too_soon" && tries < 5; tries++) {
    await sleep(Number(renewed.headers.get("retry-after")) * 1000);
    renewed = await ask(session, rejected);
  }
  assert.equal(renewed.status, 200, renewed.detail);
  assert.notEqual(renewed.token_id, old.token_id);
  assert.equal((await meWith(renewed)).subject, subject);

  // Whoever still holds the old one, or asks anew, shares it.
  for (const body of [rejected, undefined]) {
    assert.equal((await sessionToken(session, body)).token_id, renewed.token_id);
  }
  assert.deepEqual(await mints(), { impersonation: 2, clientCredentials: 0 });
});

const issuing = { authType: "oauth2", clientId: "demo-broker", clientSecret: "demo-broker-secret" };
const management = { authType: "oauth2", clientId: "demo-management", clientSecret: "demo-management-secret" };

for (const [field, value] of [["userId", (user) => user.id], ["subject", (user) => user.subject]]) {
  test(`without the broker: impersonates by ${field}, and again when its token has ended`, async () => {
    const user = await addUser("ann");
    const config = { ...issuing, [field]: value(user) };
    assert.equal((await me(config)).subject, user.subject);
    assert.equal((await me(config)).id, user.id);
    assert.deepEqual(await mints(), { impersonation: 1, clientCredentials: 0 });

    assert.deepEqual(await control("POST", "revoke-user", { userId: user.id }), { revoked: 1 });
    assert.equal((await me(config)).id, user.id);
    assert.deepEqual(await mints(), { impersonation: 2, clientCredentials: 0 });
  });
}

test("without the broker: without a user it is the client's bot", async () => {
  const bot = await me(management);
  assert.equal(bot.subject, "qlikbot\\demo-management");
  assert.equal(bot.clientId, "demo-management");
  const { data } = await spaces.getSpaces({}, { hostConfig: { host, ...management } });
  assert.ok(Array.isArray(data.data));
  assert.deepEqual(await mints(), { impersonation: 0, clientCredentials: 1 });
});

test("without the broker: a wrong secret is refused", async () => {
  const user = await addUser("ann");
  await assert.rejects(me({ ...issuing, clientSecret: "guessed", userId: user.id }), (error) => {
    assert.equal(error.errors?.[0].status, "401");
    return true;
  });
});
