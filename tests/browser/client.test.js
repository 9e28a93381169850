// The broker's helper for pages in the callback of @qlik/api, in Chromium: embeds live on through what
// ends them otherwise.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { build } from "esbuild";
import { bearer, portalSession, start } from "./site.js";

const PAUSE_MS = 1000;

let site, context, html;

before(async () => {
  site = await start({ cache: 'renewal_pause = "1s"\nmin_life = "1s"' });
  const bundle = async (entry, format) => {
    const options = { entryPoints: [entry], bundle: true, format, external: ["/client.js"], write: false };
    const { outputFiles } = await build({ ...options, logLevel: "error" });
    return outputFiles[0].text;
  };
  site.pages.page(await bundle("embed.js", "esm"), "/embed.js");
  site.pages.page(await bundle("runtime.js", "iife"), "/qlik-embed/main.js");
  // From the broker itself, as pages load it.
  const imports = { "/client.js": `${site.broker}/client.js` };
  html = site.pages.page(
    `<script type=importmap>${JSON.stringify({ imports })}</script><script type=module src="/embed.js"></script>`,
  );
});
after(() => site.stop());
beforeEach(async () => {
  await site.control("POST", "reset");
  await site.control("PATCH", "settings", { token_life_seconds: 21600 });
  site.wire.clear();
  context = await site.browser.newContext();
});
afterEach(() => context.close());

/** A page of this person with embeds. */
async function open(user, more = {}, prepare = () => {}) {
  const page = await context.newPage();
  await prepare(page);
  const facts = { broker: site.broker, host: site.tenant, session: portalSession(user), ...more };
  await page.goto(`${site.origins.portal}${html}#${encodeURIComponent(JSON.stringify(facts))}`);
  await page.waitForFunction(() => window.me);
  return page;
}

const me = (page, times = 1) =>
  page.evaluate((times) => Promise.all(Array.from({ length: times }, () => window.me())), times);
const mints = async () => (await site.upstream()).mints;
const asked = () => site.wire.requests().filter(({ url }) => url.pathname !== "/client.js").length;
const same = (value, times) => Array(times).fill(value);

test("the first load costs one mint, and the tenant sees the right user", async () => {
  const user = await site.addUser("ann");
  const page = await open(user);
  assert.deepEqual(await me(page), [user.subject]);
  assert.deepEqual(await me(page), [user.subject]);
  assert.deepEqual([await mints(), asked()], [1, 1]);
});

test("twenty embeds at once cost one call of the broker", async () => {
  const user = await site.addUser("ann");
  const page = await open(user);
  const [embeds, tokens] = await Promise.all([
    me(page, 20),
    page.evaluate(() => Promise.all(Array.from({ length: 20 }, () => window.source.getToken()))),
  ]);
  assert.deepEqual(embeds, same(user.subject, 20));
  assert.equal(new Set(tokens.map(({ accessToken }) => accessToken)).size, 1);
  assert.deepEqual([await mints(), asked()], [1, 1]);
});

test("a token that the tenant ended costs one mint and one call, however many embeds notice", async () => {
  const user = await site.addUser("ann");
  const page = await open(user);
  await me(page);
  await sleep(PAUSE_MS);
  assert.deepEqual(await site.control("POST", "revoke-user", { subject: user.subject }), { revoked: 1 });
  assert.deepEqual(await me(page, 20), same(user.subject, 20));
  assert.deepEqual(await me(page), [user.subject]);
  assert.deepEqual([await mints(), asked()], [2, 2]);
  assert.deepEqual(await page.evaluate(() => [window.ended, window.retried]), [[], []]);
});

test("while the tenant answers 503, a page waits and heals; one with a plain callback dies for good", async () => {
  const [ann, bob] = [await site.addUser("ann"), await site.addUser("bob")];
  const [page, naive] = [await open(ann), await open(bob, { naive: true })];
  await site.control("POST", "faults", { call: "token", fault: { type: "status", status: 503 } });
  const waiting = me(page, 3);
  const [died] = await me(naive);
  assert.match(died, /^refused: /);
  await sleep(3000);
  await site.control("DELETE", "faults");
  assert.deepEqual(await waiting, same(ann.subject, 3));
  const retried = await page.evaluate(() => window.retried);
  assert.ok(retried.length > 0 && retried.every((code) => code === "tenant_unavailable"), `${retried}`);
  assert.deepEqual(await me(page), [ann.subject]);

  // The broker would give a token by now: nobody asks it any more.
  site.wire.clear();
  assert.deepEqual(await me(naive, 3), same(died, 3));
  assert.equal(asked(), 0);
});

test("while there is no broker, a page waits and heals", async () => {
  const user = await site.addUser("ann");
  const page = await open(user);
  await site.stopBroker();
  const waiting = me(page, 3);
  await page.waitForFunction(() => window.retried.length > 0);
  await site.startBroker();
  assert.deepEqual(await waiting, same(user.subject, 3));
  assert.deepEqual(new Set(await page.evaluate(() => window.retried)), new Set(["network"]));
  assert.deepEqual([await mints(), asked()], [1, 1]);
});

test("when the session ends, the page is told once, and nothing waits in vain", async () => {
  const user = await site.addUser("ann");
  const page = await open(user);
  await me(page);
  const everywhere = { user_lookup: { field: "subject", value: user.subject } };
  assert.equal((await site.backEnd("/logout", everywhere)).status, 204);
  const refused = await me(page, 10);
  assert.ok(refused.every((answer) => answer.startsWith("refused: ")), `${refused}`);
  await me(page, 10);
  const [own] = await page.evaluate(() => Promise.allSettled([window.source.getToken()]));
  assert.equal(own.status, "rejected");
  assert.deepEqual(await page.evaluate(() => window.ended), ["session_expired"]);
  assert.deepEqual([await mints(), asked()], [1, 2]);
});

test("after logout() the tenant refuses the token, and later calls are rejected", async () => {
  const user = await site.addUser("ann");
  const page = await open(user);
  await me(page);
  const { accessToken } = await page.evaluate(() => window.source.getToken());
  assert.equal((await meAtTenant(accessToken)).status, 200);
  await page.evaluate(() => window.source.logout());
  // It is revoked beside the answer, which waits for no tenant.
  await until(async () => (await meAtTenant(accessToken)).status === 401);
  assert.match((await me(page))[0], /^refused: /);
  const code = await page.evaluate(() => window.source.getToken().catch(({ code }) => code));
  assert.equal(code, "logged_out");
  assert.deepEqual(await page.evaluate(() => window.ended), [], "who logs out need not be told");
  assert.deepEqual([await mints(), asked()], [1, 2]);
});

const meAtTenant = (token) => fetch(`${site.tenant}/api/v1/users/me`, { headers: bearer(token) });

test("two people in two tabs of one browser never see each other's token, and none is stored", async () => {
  const people = await Promise.all(["ann", "bob"].map((name) => site.addUser(name)));
  const tabs = await Promise.all(people.map((user) => open(user)));
  const shown = tabs.map((page) => {
    const seen = new Set();
    page.on("request", (request) => {
      if (request.url().startsWith(site.tenant)) seen.add(request.headers().authorization);
    });
    return seen;
  });
  for (let round = 0; round < 3; round++) {
    const answers = await Promise.all(tabs.map((page) => me(page, 3)));
    assert.deepEqual(answers, people.map((user) => same(user.subject, 3)));
  }
  const tokens = await Promise.all(tabs.map((page) => page.evaluate(() => window.source.getToken())));
  for (const [tab, { accessToken }] of tokens.entries()) {
    assert.deepEqual([...shown[tab]].filter(Boolean), [`Bearer ${accessToken}`]);
  }
  assert.notEqual(tokens[0].accessToken, tokens[1].accessToken);
  assert.deepEqual([await mints(), asked()], [2, 2]);
  for (const page of tabs) assert.deepEqual(await stored(page), [0, 0, [], [], ""]);
  assert.deepEqual(await context.storageState({ indexedDB: true }), { cookies: [], origins: [] });
});

const stored = (page) =>
  page.evaluate(async () => [
    localStorage.length,
    sessionStorage.length,
    await indexedDB.databases(),
    await caches.keys(),
    document.cookie,
  ]);

/** Somebody whose tokens live for three seconds only, with a page that has one. */
async function openShortLived(prepare = () => {}) {
  await site.control("PATCH", "settings", { token_life_seconds: 3 });
  const user = await site.addUser("ann");
  const page = await open(user, {}, prepare);
  assert.deepEqual(await me(page), [user.subject]);
  const { accessToken } = await page.evaluate(() => window.source.getToken());
  await site.control("PATCH", "settings", { token_life_seconds: 21600 });
  return { user, page, dead: async () => (await meAtTenant(accessToken)).status === 401 };
}

test("a page in the back/forward cache comes back with its embeds, also when its token has expired", async () => {
  const { user, page, dead } = await openShortLived();
  await page.evaluate(() => {
    window.addEventListener("pageshow", ({ persisted }) => (window.persisted = persisted));
  });
  for (const round of ["expired", "fresh"]) {
    await page.goto(`${site.origins.partner}/`);
    if (round === "expired") await until(dead);
    site.wire.clear();
    const back = page.waitForEvent("framenavigated");
    await page.evaluate(() => void setTimeout(() => history.back()));
    await back;
    assert.equal(await page.evaluate(() => window.persisted), true, "it was not loaded anew");
    assert.deepEqual(await me(page, 20), same(user.subject, 20));
    assert.deepEqual([await mints(), asked()], [2, round === "expired" ? 1 : 0]);
  }
});

const TWO_HOURS = 2 * 3600 * 1000;
for (const [how, wake] of [
  ["its timers are late", (page) => page.clock.fastForward(TWO_HOURS)],
  // No timer is due yet by the clock that stood still; that of the wall went on.
  ["the network is back", async (page) => {
    await page.clock.setSystemTime(Date.now() + TWO_HOURS);
    await page.evaluate(() => dispatchEvent(new Event("online")));
  }],
]) {
  test(`a token that expires while the laptop sleeps is renewed when it wakes and ${how}`, async () => {
    const { user, page, dead } = await openShortLived((page) => page.clock.install());
    await until(dead);
    assert.equal(asked(), 1);
    await wake(page);
    await until(() => asked() === 2);
    assert.deepEqual(await me(page, 20), same(user.subject, 20));
    assert.deepEqual([await mints(), asked()], [2, 2]);
  });
}

/** Asks until it is so. */
async function until(isSo) {
  for (let tries = 0; !(await isSo()); tries++) {
    assert.ok(tries < 100, `${isSo} is still not so`);
    await sleep(50);
  }
}
