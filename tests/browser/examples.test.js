// The examples in Chromium: who Qlik says the user is, how many tokens that costs, and what becomes of
// a page whose token is revoked, whose broker is away, or whose person has logged out.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { build } from "esbuild";
import { ordinaryBrowser } from "./chromium.js";
import { startExamples } from "./examples.js";

const PAUSE_MS = 1000;
const CDN = "https://cdn.jsdelivr.net/npm/@qlik/embed-web-components@1.6.0/dist/index.js";
const DEMO_KEY = "qtb_demo_ZGVtby1vbmx5LWtleS1uZXZlci11c2UtaXQtZWxzZXd";

let site, browser, ownCode;
const refused = [];

before(async () => {
  site = await startExamples();
  const { outputFiles } = await build({ entryPoints: ["runtime.js"], bundle: true, write: false, logLevel: "error" });
  ownCode = outputFiles[0].text;
});
after(() => site.stop());
beforeEach(async () => {
  await control("POST", "reset");
  browser = await ordinaryBrowser();
  browser.setDefaultTimeout(15_000);
  await browser.route(/^https:/, (route) => {
    if (route.request().url() !== CDN) {
      refused.push(route.request().url());
      return route.abort();
    }
    const body = readFileSync("node_modules/@qlik/embed-web-components/dist/index.js");
    const headers = { "access-control-allow-origin": "*", "content-type": "text/javascript" };
    return route.fulfill({ body, headers });
  });
  browser.on("console", (message) => {
    if (/content security policy|integrity/i.test(message.text())) refused.push(message.text());
  });
});
afterEach(async () => {
  await browser.close();
  assert.deepEqual(refused.splice(0), [], "pages load nothing else from elsewhere, and what they load is let in");
});

async function control(method, path, body) {
  const headers = { "content-type": "application/json" };
  const response = await fetch(`${site.tenant}/_simulator/${path}`, { method, headers, body: body && JSON.stringify(body) });
  const text = await response.text();
  assert.ok(response.ok, text);
  return text && JSON.parse(text);
}

const called = async (call) => (await control("GET", "calls"))[call];
const mints = () => called("token_impersonation");

/** Somebody whom no other test knows; `name` is who that is at the portal. */
async function addUser() {
  const name = `ann-${randomUUID()}`;
  await control("POST", "users", { subject: `auth0|${name}` });
  return { name, subject: `auth0|${name}` };
}

/** A page of the example in which this person has logged in. */
async function logIn(example, { name }) {
  const page = await browser.newPage();
  await page.goto(site.url(example));
  await page.fill("input[name=user]", name);
  await page.click("text=Log in");
  return page;
}

/** Another page of the same browser. */
async function openTab(example) {
  const page = await browser.newPage();
  await page.goto(site.url(example));
  return page;
}

const shows = (page, example, text) => page.locator(site.shown(example), { hasText: text }).first().waitFor();

/** Shows something else, for which Qlik is asked once more. */
async function showOther(page, example, { subject }) {
  const answered = page.waitForResponse((answer) => answer.url().includes("/api/v1/users/") && answer.status() === 200);
  await page.click("#other");
  await answered;
  await shows(page, example, subject);
}

const pages = {
  express: "express",
  nextjs: "nextjs",
  "plain-html": "plain-html",
  react: "react",
  "react, with Qlik's own code from its package": "react",
};

for (const [title, example] of Object.entries(pages)) {
  const useItsRuntime = async () => {
    if (title === example) return;
    const answer = { body: ownCode, contentType: "text/javascript" };
    await browser.route(`${site.tenant}/qlik-embed/main.js`, (route) => route.fulfill(answer));
  };

  test(`${title}: Qlik knows who it is, and one token does`, async () => {
    await useItsRuntime();
    const user = await addUser();
    const page = await logIn(example, user);
    await shows(page, example, user.subject);
    await showOther(page, example, user);
    await shows(await openTab(example), example, user.subject);
    assert.equal(await mints(), 1);
    assert.deepEqual(await page.evaluate(() => [localStorage.length, sessionStorage.length]), [0, 0]);
  });

  test(`${title}: a revoked token is replaced by one new one`, async () => {
    await useItsRuntime();
    const user = await addUser();
    const page = await logIn(example, user);
    await shows(page, example, user.subject);
    await sleep(PAUSE_MS);
    assert.deepEqual(await control("POST", "revoke-user", { subject: user.subject }), { revoked: 1 });
    await showOther(page, example, user);
    await showOther(page, example, user);
    assert.equal(await mints(), 2);
  });

  test(`${title}: who logs out in one tab is out in the other, too`, async () => {
    await useItsRuntime();
    const user = await addUser();
    const page = await logIn(example, user);
    await shows(page, example, user.subject);
    const tab = await openTab(example);
    await shows(tab, example, user.subject);

    await tab.click("#logout");
    await tab.waitForSelector("input[name=user]");
    for (let tries = 0; (await called("revoke")) === 0; tries++) {
      assert.ok(tries < 100, "the token is not revoked");
      await sleep(50);
    }
    await page.click("#other");
    await page.waitForSelector("input[name=user]");
    assert.equal(await mints(), 1);
  });
}

for (const [example, code] of Object.entries({ express: "broker_unavailable", nextjs: "broker_unavailable", react: "network" })) {
  test(`${example}: a page that opens while there is no broker says so, and heals`, async () => {
    const user = await addUser();
    await site.stopBroker();
    const page = await logIn(example, user);
    const notice = page.locator("[role=status]", { hasText: code });
    await notice.waitFor().finally(() => site.startBroker());
    await shows(page, example, user.subject);
    await notice.waitFor({ state: "detached" });
    assert.equal(await mints(), 1);
  });
}

for (const example of ["express", "nextjs"]) {
  test(`${example}: another site gets no token by the portal's cookie, and the key stays in the back end`, async () => {
    const user = await addUser();
    const page = await logIn(example, user);
    await shows(page, example, user.subject);
    const forged = (headers) => browser.request.post(`${site.url(example)}/qlik/session-token`, { headers });
    assert.equal((await forged({})).status(), 403);
    assert.equal((await forged({ "x-broker-request": "1" })).status(), 200);
    await browser.clearCookies();
    assert.equal((await forged({ "x-broker-request": "1" })).status(), 401);

    const loaded = await page.evaluate(() => performance.getEntriesByType("resource").map(({ name }) => name));
    const own = [site.url(example), ...loaded.filter((url) => url.startsWith(site.url(example)) && !url.includes("/qlik/"))];
    for (const url of own) {
      const text = await (await browser.request.get(url)).text();
      assert.ok(!text.includes(DEMO_KEY), url);
    }
    assert.ok(own.length > 1);
  });
}
