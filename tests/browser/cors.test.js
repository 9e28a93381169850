// What a page may read, as Chromium judges it: sessions in `Authorization`, and no cookies.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { ask, bearer, portalSession, start } from "./site.js";

let site, context, page, target;

before(async () => {
  site = await start();
  target = `${site.broker}/session-token`;
});
after(() => site.stop());
beforeEach(async () => {
  await site.control("POST", "reset");
  site.wire.clear();
  context = await site.browser.newContext({ ignoreHTTPSErrors: true });
  page = await context.newPage();
});
afterEach(() => context.close());

const json = { "content-type": "application/json" };
const statuses = () => site.wire.exchanges.map(({ method, status }) => `${method} ${status}`);
const hasCors = ({ answer }) => Object.keys(answer).some((name) => name.startsWith("access-control-"));

/** Nothing of what went over the wire had a token, or could be read by the page. */
async function assertNothingGiven() {
  for (const exchange of site.wire.exchanges) {
    assert.equal(exchange.status, 403);
    assert.equal(hasCors(exchange), false);
    assert.equal(exchange.answer.vary, "Origin");
    assert.doesNotMatch(exchange.text, /access_token|eyJ/);
  }
  assert.deepEqual(await site.upstream(), { calls: 0, mints: 0 });
}

for (const name of ["portal", "partner", "secure"]) {
  test(`c21 c29 a page of a listed origin (${name}) reads its token and the exposed headers`, async () => {
    const user = await site.addUser("ann");
    await page.goto(site.origins[name]);
    const headers = { ...bearer(portalSession(user)), "x-request-id": "page-1" };
    const read = await ask(page, target, { headers });
    assert.equal(read.status, 200, read.text ?? read.blocked);
    assert.match(read.token, /^eyJ/);
    assert.equal(read.headers["server-timing"], 'token;desc="minted"');
    assert.equal(read.headers["x-request-id"], "page-1");
    assert.deepEqual(statuses(), ["OPTIONS 204", "POST 200"]);
    for (const { answer } of site.wire.exchanges) {
      assert.equal(answer["access-control-allow-origin"], site.origins[name]);
      assert.equal(answer["access-control-allow-credentials"], undefined);
    }
    assert.deepEqual(await site.upstream(), { calls: 1, mints: 1 });
  });
}

test("a preflight holds for the calls that follow", async () => {
  const headers = bearer(portalSession(await site.addUser("ann")));
  await page.goto(site.origins.portal);
  for (const timing of ["minted", "local", "local"]) {
    const read = await ask(page, target, { headers });
    assert.equal(read.headers["server-timing"], `token;desc="${timing}"`);
  }
  assert.deepEqual(statuses(), ["OPTIONS 204", "POST 200", "POST 200", "POST 200"]);
  assert.equal((await site.upstream()).mints, 1);
});

const blocked = { blocked: "TypeError", code: undefined, token: undefined };
const unlisted = {
  "another site": () => site.origins.evil,
  "a sibling below the broker's own site": () => site.origins.forum,
  "a subdomain of a listed one": () => site.at("sub.portal.acme.localhost"),
  "a listed one with something behind": () => site.at("portal.acme.localhost.evil.localhost"),
  "a listed one with something before": () => site.at("evil-portal.acme.localhost"),
  "a listed one with a trailing dot": () => site.at("portal.acme.localhost."),
  "a listed host on another port": () => site.at("ported.acme.localhost"),
  "a listed one by https": () => site.at("portal.acme.localhost", "https"),
  "a listed one by http": () => site.at("secure.acme.localhost"),
  "the broker's own host, another port": () => site.at("broker.acme.localhost"),
};

for (const [what, origin] of Object.entries(unlisted)) {
  test(`c20 c21 a page of ${what} reads nothing, and nothing is asked upstream`, async () => {
    const session = portalSession(await site.addUser("ann"));
    await page.goto(origin());
    assert.equal(await page.evaluate(() => origin), origin());
    assert.deepEqual(await ask(page, target, { headers: bearer(session) }), blocked);
    assert.deepEqual(statuses(), ["OPTIONS 403"], "the request itself was never sent");
    // A request that needs no preflight is sent, and refused.
    assert.deepEqual(await ask(page, target), blocked);
    assert.deepEqual(statuses(), ["OPTIONS 403", "POST 403"]);
    assert.equal(site.wire.exchanges[1].headers.origin, origin());
    const opaque = await ask(page, target, { mode: "no-cors", credentials: "include" });
    assert.deepEqual([opaque.type, opaque.status, opaque.text], ["opaque", 0, ""]);
    await assertNothingGiven();
  });
}

const nullOrigins = {
  "a sandboxed frame": `<iframe sandbox="allow-scripts" src="/"></iframe>`,
  "a sandboxed srcdoc": `<iframe sandbox="allow-scripts" srcdoc="x"></iframe>`,
  "a data: URL": `<iframe src="data:text/html,x"></iframe>`,
};

for (const [what, html] of Object.entries(nullOrigins)) {
  test(`c21 ${what} has the origin null and reads nothing, within a listed page, too`, async () => {
    const session = portalSession(await site.addUser("ann"));
    for (const name of ["portal", "evil"]) {
      await page.goto(site.origins[name] + site.pages.page(html));
      const [, frame] = page.frames();
      assert.equal(await frame.evaluate(() => origin), "null");
      assert.deepEqual(await ask(frame, target, { headers: bearer(session) }), blocked);
      assert.deepEqual(await ask(frame, target), blocked);
      assert.equal(site.wire.exchanges.at(-1).headers.origin, "null");
      assert.deepEqual(statuses(), ["OPTIONS 403", "POST 403"]);
      await assertNothingGiven();
      site.wire.clear();
    }
  });
}

test("c20 a page of another tenant passes the preflight and is refused by the request", async () => {
  const headers = bearer(portalSession(await site.addUser("ann"), "acme"));
  await page.goto(site.origins.globex);
  assert.deepEqual(await ask(page, target, { headers }), blocked);
  assert.deepEqual(statuses(), ["OPTIONS 204", "POST 403"]);
  const [, { answer, text }] = site.wire.exchanges;
  assert.equal(hasCors({ answer }), false);
  assert.equal(JSON.parse(text).code, "origin_not_allowed");
  assert.deepEqual(await site.upstream(), { calls: 0, mints: 0 });
  // Its own people get theirs there.
  const own = bearer(portalSession(await site.addUser("gus"), "globex"));
  assert.equal((await ask(page, target, { headers: own })).status, 200);
});

test("c23 a listed page reads the code of every refusal", async () => {
  await page.goto(site.origins.portal);
  const session = bearer(portalSession(await site.addUser("ann")));
  const stranger = bearer(portalSession({ sub: "nobody" }));
  const nowhere = bearer(portalSession({ sub: "ann" }, "umbrella"));
  const body = (value) => ({ headers: { ...session, ...json }, body: JSON.stringify(value) });
  for (const [init, status, code] of [
    [{}, 401, "session_missing"],
    [{ headers: bearer("guessed") }, 401, "session_invalid"],
    [{ headers: nowhere }, 403, "tenant_not_allowed"],
    [body({ user_lookup: { field: "subject", value: "auth0|bob" } }), 403, "user_not_allowed"],
    [body({ tenant: "globex" }), 403, "tenant_not_allowed"],
    [body({ scope: "admin_classic" }), 403, "scope_not_allowed"],
    [body({ anything: 1 }), 400, "request_invalid"],
    [{ headers: session, body: "{}" }, 415, "media_type"],
    [{ headers: session, method: "GET" }, 405, "method_not_allowed"],
  ]) {
    const read = await ask(page, target, init);
    assert.deepEqual([read.status, read.code], [status, code]);
    assert.equal(read.headers["x-request-id"], JSON.parse(read.text).request_id);
    assert.doesNotMatch(read.text, /auth0|nobody|umbrella/);
  }
  assert.equal((await ask(page, `${site.broker}/nothing`)).code, "not_found");
  assert.deepEqual(await site.upstream(), { calls: 0, mints: 0 });
  const unknown = await ask(page, target, { headers: stranger });
  assert.deepEqual([unknown.status, unknown.code], [403, "user_unknown"]);
});

test("c23 c29 a listed page reads how long to wait", async () => {
  await page.goto(site.origins.initech);
  await site.control("POST", "faults", { call: "token", fault: { type: "throttle", retry_after: 13 }, times: 1 });
  const headers = bearer(portalSession(await site.addUser("ida"), "initech"));
  const throttled = await ask(page, target, { headers });
  assert.deepEqual([throttled.status, throttled.code], [503, "tenant_throttled"]);
  const wait = Number(throttled.headers["retry-after"]);
  assert.ok(wait >= 13 && wait <= 20, `${wait} s`);
  assert.deepEqual(await site.upstream(), { calls: 1, mints: 1 });
});

test("c22 without cookies in the configuration, a page that includes credentials reads nothing", async () => {
  const headers = bearer(portalSession(await site.addUser("ann")));
  await page.goto(site.origins.portal);
  assert.deepEqual(await ask(page, target, { headers, credentials: "include" }), blocked);
  assert.deepEqual(statuses(), ["OPTIONS 204"]);
  assert.deepEqual(await site.upstream(), { calls: 0, mints: 0 });
  assert.equal((await ask(page, target, { headers, credentials: "omit" })).status, 200);
});

test("a request without a preflight is answered to a listed page, and is worth nothing", async () => {
  await page.goto(site.origins.portal);
  const read = await ask(page, target, { headers: { "content-type": "text/plain" }, body: "{}" });
  assert.deepEqual([read.status, read.code], [401, "session_missing"]);
  assert.deepEqual(statuses(), ["POST 401"]);
});

test("methods and headers beyond the API's do not pass the preflight", async () => {
  const headers = bearer(portalSession(await site.addUser("ann")));
  await page.goto(site.origins.portal);
  for (const init of [
    { method: "PUT", headers },
    { method: "DELETE", headers },
    { headers: { ...headers, "x-other": "1" } },
    { headers: { ...headers, "x-forwarded-for": "127.0.0.1" } },
  ]) {
    assert.deepEqual(await ask(page, target, init), blocked);
  }
  assert.deepEqual(site.wire.requests(), []);
  assert.deepEqual(await site.upstream(), { calls: 0, mints: 0 });
});

for (const name of ["portal", "evil"]) {
  test(`a back end's key is refused in a page, and nothing is done (${name})`, async () => {
    const { subject } = await site.addUser("ann");
    const user_lookup = { field: "subject", value: subject };
    await page.goto(site.origins[name]);
    const init = { headers: { ...bearer(site.key), ...json }, body: JSON.stringify({ user_lookup }) };
    for (const path of ["/session-token", "/sessions", "/logout", "/service-token"]) {
      assert.deepEqual(await ask(page, site.broker + path, init), blocked);
    }
    for (const request of site.wire.requests()) {
      assert.equal(JSON.parse(request.text).code, "origin_not_allowed");
      assert.equal(hasCors(request), false);
    }
    assert.equal(site.wire.requests().length, name === "portal" ? 4 : 0);
    assert.deepEqual(await site.upstream(), { calls: 0, mints: 0 });
    assert.equal((await site.backEnd("/session-token", { user_lookup })).status, 200, "the key is good");
  });
}

test("c21 the explanation of a problem is for every page, though not with credentials", async () => {
  await page.goto(site.origins.evil);
  const url = `${site.broker}/problems/session_missing`;
  const read = await ask(page, url, { method: "GET" });
  assert.equal(read.status, 200);
  assert.match(read.text, /^session_missing: /);
  assert.deepEqual(await ask(page, url, { method: "GET", credentials: "include" }), blocked);
});

test("c31 no page can frame an answer, nor run it as a script", async () => {
  const url = `${site.broker}/problems/session_missing`;
  const html = `<iframe src="${url}"></iframe><script src="${url}" onerror="window.refused = true"></script>`;
  await page.goto(site.origins.portal + site.pages.page(html), { waitUntil: "load" });
  assert.equal(page.frames()[1].url(), "chrome-error://chromewebdata/");
  assert.equal(await page.evaluate(() => window.refused), true);
});

test("c1 c26 the browser keeps no answer", async () => {
  const user = await site.addUser("ann");
  const init = { headers: bearer(portalSession(user)), cache: "force-cache" };
  await page.goto(site.origins.portal);
  const first = await ask(page, target, init);
  assert.equal((await site.control("POST", "revoke-user", { subject: user.subject })).revoked, 1);
  await ask(page, target, init);
  assert.equal(site.wire.requests().length, 2, "each was asked of the broker");
  assert.equal(first.headers["cache-control"], "no-store");
});
