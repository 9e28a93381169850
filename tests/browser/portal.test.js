// The demo as people meet it: its portal in Chromium, through all that README.md tells to try. Each test
// has a demo of its own.

import assert from "node:assert/strict";
import { describe } from "node:test";
import { logIn, press, says, story } from "./portal.js";
import { bearer } from "./site.js";

/** Every state that the page has shown. */
const moods = (page) => page.evaluate(() => window.moods);
const tokenId = (page) => page.locator("#token-id").innerText();

/** What the tenant says to this token. */
const atTenant = async ({ tenant }, token) =>
  (await fetch(`${tenant}/api/v1/users/me`, { headers: bearer(token) })).status;

/** The tokens that the page shows to the tenant from now on. */
function tokensOf(page, { tenant }) {
  const seen = new Set();
  page.on("request", (request) => {
    const { authorization } = request.headers();
    if (request.url().startsWith(tenant) && authorization) seen.add(authorization.replace("Bearer ", ""));
  });
  return seen;
}

/** Waits until the page says for what and until when it waits, and then until all is well; it asked when it said. */
async function waitsAsItSays(page, { broker }, reason) {
  const asked = [];
  page.on("request", (request) => {
    if (request.url() === `${broker}/session-token`) asked.push(Date.now());
  });
  const words = await says(page, "wait", reason);
  const [, said] = /The page asks again at (\d\d:\d\d:\d\d), and goes on by itself\.$/.exec(words);
  await says(page, "fine");
  const clock = (time) => new Date(time).toLocaleTimeString("en-GB");
  // Timers are never early, and late on a busy machine.
  const isIt = (time) => [0, 1000, 2000].some((late) => clock(time - late) === said);
  assert.ok(asked.some(isIt), `it said ${said}, and asked at ${asked.map(clock)}`);
}

// They mostly wait.
describe("the portal of the demo", { concurrency: 4 }, () => {
  story("Ann logs in by keyboard, and the page shows who the tenant says she is", [], async (demo, context) => {
    const page = await context.newPage();
    await page.goto(demo.portal);
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    assert.equal(await says(page, "fine"), "All is well: Qlik answers.");
    assert.equal(page.url(), `${demo.portal}/ann/`);
    assert.equal(await page.title(), "Ann – Demo portal");
    assert.equal(await page.locator("#user-name").innerText(), "Ann Archer");
    assert.equal(await page.locator("#user-subject").innerText(), "auth0|ann");
    assert.match(await page.locator("#token-source").innerText(), /^new from the tenant, /);
    assert.match(await page.locator("#token-life").innerText(), /^5:59:\d\d$/);
    assert.deepEqual(await demo.mints(), [200]);
    assert.deepEqual(await moods(page), ["busy", "fine"]);
  });

  story("after a reload and in a second tab, the token comes from the cache", [], async (demo, context) => {
    const page = await logIn(context, demo);
    const id = await tokenId(page);
    await page.reload();
    await says(page, "fine");
    const second = await context.newPage();
    await second.goto(page.url());
    await says(second, "fine");
    for (const each of [page, second]) {
      assert.match(await each.locator("#token-source").innerText(), /^from the broker's cache, /);
      assert.equal(await tokenId(each), id);
    }
    assert.deepEqual(await demo.mints(), [200]);
  });

  story("a revoked token costs one mint, and the page goes on", [401], async (demo, context) => {
    const page = await logIn(context, demo);
    const shown = tokensOf(page, demo);
    const id = await tokenId(page);
    await press(page, "Revoke my token");
    await page.locator("#token-id", { hasNotText: id }).waitFor();
    await says(page, "fine");
    assert.equal(shown.size, 2);
    const [revoked, fresh] = shown;
    assert.deepEqual([await atTenant(demo, revoked), await atTenant(demo, fresh)], [401, 200]);
    assert.deepEqual(await demo.mints(), [200, 200]);
    assert.deepEqual(await moods(page), ["busy", "fine"], "nobody noticed");
  });

  story("while the tenant is down, nobody notices", [], async (demo, context) => {
    const page = await logIn(context, demo);
    await press(page, "Tenant down");
    await says(page, "fine", "The tenant gives no new tokens, but the one at hand still serves.");
    await page.reload();
    await says(page, "fine");
    assert.deepEqual(await demo.mints(), [200]);
    assert.deepEqual(await moods(page), ["busy", "fine"]);
  });

  story("a page without a token waits for the tenant, and heals by itself", [401, 503], async (demo, context) => {
    const page = await logIn(context, demo);
    await press(page, "Tenant down");
    await press(page, "Revoke my token");
    await waitsAsItSays(page, demo, "Waiting, as the tenant gives no tokens (tenant_unavailable).");
    const answers = await demo.mints();
    assert.ok(answers.slice(1, -1).every((status) => status === 503), `${answers}`);
    assert.deepEqual([answers.at(0), answers.at(-1)], [200, 200]);
    assert.deepEqual(await moods(page), ["busy", "fine", "wait", "fine"]);
  });

  story("a tenant that throttles is asked once, and again when it said so", [401, 503], async (demo, context) => {
    const page = await logIn(context, demo);
    await press(page, "Throttle");
    await press(page, "Revoke my token");
    await waitsAsItSays(page, demo, "Waiting, as the tenant gives no more tokens for now (tenant_throttled).");
    assert.deepEqual(await demo.mints(), [200, 429, 200]);
    assert.deepEqual(await moods(page), ["busy", "fine", "wait", "fine"]);
  });

  story("Ann and Bob in two tabs of one browser see nothing of each other", [401], async (demo, context) => {
    const ann = await logIn(context, demo);
    const [bob] = await Promise.all([context.waitForEvent("page"), press(ann, "Open as Bob in a new tab")]);
    await says(bob, "fine");
    const shown = [ann, bob].map((page) => tokensOf(page, demo));
    const bobsId = await tokenId(bob);
    const annsId = await tokenId(ann);

    await press(ann, "Revoke my token");
    await ann.locator("#token-id", { hasNotText: annsId }).waitFor();
    await bob.waitForResponse(`${demo.tenant}/api/v1/users/me`);
    assert.equal(await tokenId(bob), bobsId, "hers was revoked");
    assert.deepEqual(await demo.mints(), [200, 200, 200]);
    const [anns, bobs] = shown;
    assert.deepEqual([anns.size, bobs.size, new Set([...anns, ...bobs]).size], [2, 1, 3]);

    const [hers, his] = await Promise.all([ann, bob].map((page) => page.locator("body").innerText()));
    const own = /Ann Archer|ann@example.com|Bob Baker|bob@example.com/g;
    assert.deepEqual(hers.match(own), ["Ann Archer", "ann@example.com"]);
    assert.deepEqual(his.match(own), ["Bob Baker", "bob@example.com"]);
  });

  story("after the logout all three proofs are refused, and the token is dead", [401], async (demo, context) => {
    const page = await logIn(context, demo);
    const shown = tokensOf(page, demo);
    await page.waitForResponse(`${demo.tenant}/api/v1/users/me`);
    const [token] = shown;
    assert.equal(await atTenant(demo, token), 200);

    await page.getByRole("button", { name: "Log out" }).press("Enter");
    assert.equal(await says(page, "fine", "logged out"), "You are logged out.");
    const refused = page.locator("#proofs li", { hasText: "401 refused" });
    for (const what of ["The token", "The session", "The cookie"]) await refused.filter({ hasText: what }).waitFor();
    assert.equal(await refused.count(), 3);
  await page.getByRole("heading", { name: "Access has ended" }).waitFor();
    assert.equal(await page.evaluate(() => document.activeElement.id), "ended-title");
    assert.equal(await atTenant(demo, token), 401);
    assert.deepEqual(await demo.mints(), [200]);
    assert.deepEqual(await context.storageState({ indexedDB: true }), { cookies: [], origins: [] });

    await page.goto(`${demo.portal}/ann/`);
    assert.equal(page.url(), `${demo.portal}/`);
  });

  story("when somebody logs out, the other tab ends, too", [401], async (demo, context) => {
    const [first, second] = [await logIn(context, demo), await logIn(context, demo)];
    await press(first, "Log out");
    await says(second, "bad", "The session has ended.");
    await second.getByRole("link", { name: "Log in again" }).click();
    await second.getByRole("heading", { name: "Who are you today?" }).waitFor();
    assert.deepEqual(await demo.mints(), [200]);
  });
});
