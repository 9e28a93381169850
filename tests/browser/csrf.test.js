// What other sites, and careless pages of a listed one, can do with the cookie of a person who is logged
// in: nothing. Each attack is shown to arrive with the cookie, so that it is the broker that refuses it.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { embeddings, navigations } from "./attacks.js";
import { ordinaryBrowser } from "./chromium.js";
import { ask, portalSession, start } from "./site.js";

const PATHS = ["/session-token", "/logout", "/sessions"];
const header = { "x-broker-request": "1" };

let site, context, target;

before(async () => {
  [site, context] = await Promise.all([start({ cookies: true }), ordinaryBrowser()]);
  target = `${site.broker}/session-token`;
});
after(async () => {
  await context.close();
  await site.stop();
});
beforeEach(async () => {
  await site.control("POST", "reset");
  site.wire.clear();
});
afterEach(async () => {
  await context.clearCookies();
  // Not at once: of two that are on their way somewhere, one may never close.
  for (const page of context.pages().slice(1)) await page.close();
});

/** The cookies by which somebody is known, one for each kind that is ambient. */
const kinds = {
  jwt: (user) => `portal_jwt=${portalSession(user)}`,
  handle: async ({ subject }) => {
    const made = await site.backEnd("/sessions", { user_lookup: { field: "subject", value: subject } });
    return `__Host-broker_handle=${made.session}`;
  },
  portal_check: ({ sub }) => {
    site.pages.loggedIn(`portal_sid=${sub}`, { sub });
    return `portal_sid=${sub}`;
  },
};

/** One cookie of each kind that browsers know, to show which come along. */
const SEEN = { None: "; SameSite=None", Lax: "; SameSite=Lax", Strict: "; SameSite=Strict", unset: "" };
const sent = ({ headers }) => Object.keys(SEEN).filter((each) => headers.cookie?.includes(`seen_${each}=`)).join(" ");

/** Sets the cookie as the broker's own host does, and those of `SEEN`. */
async function logIn(cookie, sameSite = "None") {
  const seen = Object.entries(SEEN).map(([name, rule]) => `seen_${name}=1; Path=/; Secure${rule}`);
  const cookies = [`${cookie}; Path=/; Secure; HttpOnly; SameSite=${sameSite}`, ...seen];
  const page = await context.newPage();
  const query = cookies.map((each) => `cookie=${encodeURIComponent(each)}`).join("&");
  await page.goto(`${site.at("broker.acme.localhost", "https")}/login?${query}`);
  assert.equal((await context.cookies()).length, cookies.length);
  await page.close();
}

/** A person's own page asks as it should; how that ended. */
async function ownPage(name = "portal", path = "/session-token") {
  const page = await context.newPage();
  await page.goto(site.origins[name]);
  const read = await ask(page, site.broker + path, { credentials: "include", headers: header });
  await page.close();
  return read;
}

const blocked = { blocked: "TypeError", code: undefined, token: undefined };
const carried = (attack, path) => `${site.broker}${path}?${new URLSearchParams({ attack })}`;

const is = (what, path) => ({ method, url: { pathname, searchParams } }) =>
  method !== "OPTIONS" && pathname === path && searchParams.get("attack") === what;

/** A page of `origin` attacks all `paths`; waits until all of it was answered, and returns the page. */
async function attackFrom(origin, paths) {
  const every = (attacks) =>
    Object.entries(attacks).flatMap(([what, attack]) => paths.map((path) => ({ what, path, ...attack })));
  const html = ({ what, path, html }) => html(carried(what, path));
  const leaving = every(navigations);
  const staying = every(embeddings);
  // What leaves its page has a window of its own.
  const windows = leaving.map((each) => `<script>open("${site.pages.page(html(each))}")</script>`);
  const page = await context.newPage();
  const here = site.pages.page([...windows, ...staying.map(html)].join("\n"));
  await page.goto(origin + here, { waitUntil: "commit" });
  const all = [...leaving, ...staying];
  const requests = await Promise.all(all.map(({ what, path }) => site.wire.saw(is(what, path), `${what} for ${path}`)));
  for (const [index, { what, ...attack }] of all.entries()) assertRefused(requests[index], origin, what, attack);
  return page;
}

const listed = (origin) => [site.origins.portal, site.origins.partner].includes(origin);
const ofBrokersSite = (origin) => origin.includes(".acme.localhost");

/** Which cookies come along: they show that the names are of the sites that they are meant to be. A
 * cookie without a rule is Lax, and in its first two minutes comes along with a form, too. */
function expectedCookies(origin, { method, hidden, top }) {
  if (ofBrokersSite(origin) && (top || !hidden)) return "None Lax Strict unset";
  if (!top) return "None";
  return method === "GET" ? "None Lax unset" : "None unset";
}

/** It came as its page can send it, with the cookies that the browser sends from there, and got nothing. */
function assertRefused(request, origin, what, attack) {
  const { method, hidden, cors, socket } = attack;
  const showsOrigin = method === "POST" || cors || socket;
  const seenOrigin = hidden ? "null" : origin;
  assert.equal(request.method, method, what);
  assert.equal(request.headers.origin, showsOrigin ? seenOrigin : undefined, what);
  assert.equal(sent(request), expectedCookies(origin, attack), `${what} from ${origin}`);

  const { status, answer, text } = request;
  const refusals = { GET: [405, "method_not_allowed"], POST: [403, "origin_not_allowed"] };
  if (listed(seenOrigin)) refusals.POST = [403, "csrf_rejected"];
  assert.deepEqual([status, JSON.parse(text).code], refusals[method], what);
  assert.doesNotMatch(text, /access_token|eyJ|qtbs_/);
  assert.equal(answer["set-cookie"], undefined);
  const readable = listed(request.headers.origin);
  assert.equal(answer["access-control-allow-origin"], readable ? origin : undefined);
  assert.equal(answer["access-control-allow-credentials"], readable ? "true" : undefined);
}

/** The person is still logged in, and the cookie was good all the time. */
async function assertUnharmed() {
  assert.deepEqual(await site.upstream(), { calls: 0, mints: 0 });
  const read = await ownPage();
  assert.equal(read.status, 200, read.text);
  assert.match(read.token, /^eyJ/);
  assert.deepEqual(await site.upstream(), { calls: 1, mints: 1 });
}

const matrix = [
  ...["evil", "forum", "portal", "partner"].map((from) => ["jwt", from]),
  ...["handle", "portal_check"].flatMap((kind) => ["evil", "partner"].map((from) => [kind, from])),
];
for (const [kind, from] of matrix) {
  test(`c19 c35 with the cookie of ${kind}, nothing that ${from} sends unasked gets a token or logs out`, async () => {
    await logIn(await kinds[kind](await site.addUser("ann")));
    const asked = site.pages.asked();
    const page = await attackFrom(site.origins[from], PATHS);
    assert.equal(await page.evaluate(() => window.leaked), undefined);
    if (from === "evil") assert.equal(site.pages.asked(), asked, "nor is the portal asked");
    await assertUnharmed();
  });
}

for (const sameSite of ["Lax", "Strict"]) {
  test(`c19 a session that is ${sameSite} is as safe, and comes along from the broker's own site`, async () => {
    await logIn(kinds.jwt(await site.addUser("ann")), sameSite);
    await attackFrom(site.origins.forum, ["/session-token", "/logout"]);
    const carrying = site.wire.requests().filter(({ headers }) => headers.cookie?.includes("portal_jwt="));
    assert.ok(carrying.length > 20, `${carrying.length} carried it`);
    const partner = await ownPage("partner");
    assert.deepEqual([partner.status, partner.code], [401, "session_missing"], "another site's page has no cookie");
    await assertUnharmed();
  });
}

for (const from of ["evil", "forum"]) {
  test(`c19 c20 a page of ${from} may not even ask with the header`, async () => {
    await logIn(kinds.jwt(await site.addUser("ann")));
    const page = await context.newPage();
    await page.goto(site.origins[from]);
    for (const path of PATHS) {
      const init = { credentials: "include", headers: header };
      assert.deepEqual(await ask(page, site.broker + path, init), blocked);
      // Of this media type, a beacon asks as well.
      await page.evaluate((url) => {
        navigator.sendBeacon(url, new Blob(["{}"], { type: "application/json" }));
      }, carried("beacon", path));
      await site.wire.saw(({ url }) => url.pathname === path && url.search !== "", "a beacon's preflight");
    }
    assert.deepEqual(site.wire.requests(), [], "there are preflights only");
    for (const { status, headers, answer } of site.wire.preflights()) {
      assert.deepEqual([status, headers.cookie], [403, undefined]);
      assert.ok(!Object.keys(answer).some((name) => name.startsWith("access-control-")));
    }
    await assertUnharmed();
  });
}

test("c19 c22 a listed page needs the header, credentials and no simple body, and reads why", async () => {
  await logIn(kinds.jwt(await site.addUser("ann")));
  const json = { "content-type": "application/json" };
  for (const name of ["portal", "partner"]) {
    const page = await context.newPage();
    await page.goto(site.origins[name]);
    for (const [init, status, code] of [
      [{ credentials: "include" }, 403, "csrf_rejected"],
      [{ credentials: "include", body: "{}" }, 403, "csrf_rejected"],
      [{ credentials: "include", headers: json, body: "{}" }, 403, "csrf_rejected"],
      [{ credentials: "include", headers: header, body: "{}" }, 415, "media_type"],
      [{ credentials: "omit", headers: header }, 401, "session_missing"],
      [{ headers: header }, 401, "session_missing"],
    ]) {
      const read = await ask(page, target, init);
      assert.deepEqual([read.status, read.code], [status, code], JSON.stringify(init));
    }
  }
  await assertUnharmed();
});

for (const [kind, cookieOf] of Object.entries(kinds)) {
  test(`c18 c19 with the cookie of ${kind}, a listed page gets the token and logs out; no cookie is set`, async () => {
    await logIn(await cookieOf(await site.addUser("ann")));
    const cookies = await context.cookies();
    for (const name of ["portal", "partner"]) {
      assert.match((await ownPage(name)).token, /^eyJ/);
    }
    assert.deepEqual(await site.upstream(), { calls: 1, mints: 1 });
    assert.equal((await ownPage("portal", "/logout")).status, 204);
    const { status, code } = await ownPage();
    assert.deepEqual([status, code], [401, "session_expired"]);
    assert.deepEqual(await context.cookies(), cookies);
    for (const { answer } of site.wire.exchanges) assert.equal(answer["set-cookie"], undefined);
    assert.equal((await site.upstream()).mints, 1);
  });
}

test("a sibling site that plants a session of its own makes nobody that person", async () => {
  const [ann, mallory] = [await site.addUser("ann"), await site.addUser("mallory")];
  await logIn(kinds.jwt(ann));
  const page = await context.newPage();
  await page.goto(site.origins.forum);
  await page.evaluate((cookie) => {
    document.cookie = `${cookie}; Domain=acme.localhost; Path=/session-token`;
  }, kinds.jwt(mallory));
  const { status, code } = await ownPage();
  assert.deepEqual([status, code], [401, "session_invalid"], "there are two");
  assert.equal(site.wire.requests()[0].headers.cookie.match(/portal_jwt=/g).length, 2);
  assert.deepEqual(await site.upstream(), { calls: 0, mints: 0 });
});

test("a sibling site cannot plant a cookie whose name begins with __Host-", async () => {
  const page = await context.newPage();
  await page.goto(site.at("forum.acme.localhost", "https"));
  for (const rest of ["Domain=acme.localhost; Path=/", "Domain=broker.acme.localhost; Path=/", "Path=/session-token"]) {
    await page.evaluate((rest) => {
      document.cookie = `__Host-broker_handle=planted; Secure; ${rest}`;
    }, rest);
  }
  assert.deepEqual(await context.cookies(), []);
  await logIn(await kinds.handle(await site.addUser("ann")));
  await assertUnharmed();
});
