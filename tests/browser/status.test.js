// The status page in Chromium: for people with small screens, in the dark, without a mouse, or who hear it read; under
// its own policy, without a script.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe } from "node:test";
import { busy, look } from "./status.js";

const AXE = readFileSync("node_modules/axe-core/axe.min.js", "utf8");

/** What axe finds in the page. It is put in from outside: the page's policy allows no script. */
async function findings(page) {
  const client = await page.context().newCDPSession(page);
  const run = async (expression) => {
    const { result, exceptionDetails } = await client.send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    assert.equal(exceptionDetails, undefined);
    return result.value;
  };
  await run(`${AXE}; undefined`);
  const violations = await run("axe.run().then(({ violations }) => violations)");
  return violations.map(({ impact, id, nodes }) => `${impact}: ${id}: ${nodes.map(({ target }) => target)}`);
}

/** Whether a chart's plot has something drawn in it, and says what it is. */
const charts = (page) =>
  page.$$eval("svg[role=img]", (all) =>
    all.map((svg) => {
      const named = svg.getAttribute("aria-labelledby")?.split(" ") ?? [];
      const words = named.map((id) => document.getElementById(id).textContent).join(" ") || svg.getAttribute("aria-label");
      return { words, paths: [...svg.querySelectorAll("path:not(.grid)")].filter((path) => path.getBBox().width > 0).length };
    }),
  );

async function everybodyCanRead(page) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    for (const width of [1280, 360]) {
      await page.setViewportSize({ width, height: 800 });
      await page.reload();
      const where = `${colorScheme}, ${width} px wide`;
      assert.deepEqual(await findings(page), [], where);
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), width, where);
    }
  }
}

describe("the status page", { concurrency: 2 }, () => {
  look("everybody can read that of a broker that just started", { every: 3_600_000 }, async (site, page) => {
    assert.equal(await page.locator("h1").innerText(), "All is well: 4 tenants are ready, 0 users have a token at hand.");
    await everybodyCanRead(page);
    assert.equal(await page.locator(".empty", { hasText: "nothing yet" }).count(), 4);
  });

  look("everybody can read that of a broker in trouble", { every: 20 }, async (site, page) => {
    await busy(site, 3000);
    await page.reload();
    const found = await page.locator(".findings").innerText();
    for (const words of ["initech: throttles the broker", "umbrella: refuses the broker's OAuth client"]) {
      assert.ok(found.includes(words), found);
    }
    const drawn = await charts(page);
    assert.equal(drawn.length, 8);
    for (const { words, paths } of drawn) assert.ok(paths > 0 && words.length > 30, `${words}: ${paths}`);
    await everybodyCanRead(page);
    assert.equal(await page.locator("script").count(), 0);
  });

  look("a page whose name was made to resolve to the broker reads nothing there, whatever it says of itself", { every: 3_600_000, complains: true }, async (site, page) => {
    const rebound = site.page.replace("127.0.0.1", "rebound.test");
    const read = (path, init) =>
      page.evaluate(async ([path, init]) => {
        const answer = await fetch(path, init);
        return [answer.status, await answer.text()];
      }, [path, init]);
    const disguises = [
      {},
      { credentials: "omit", referrerPolicy: "no-referrer", cache: "no-store" },
      { headers: { "accept-language": "" }, referrerPolicy: "no-referrer" },
      { headers: { "accept-language": "x", "user-agent": "Prometheus/2.42.0", accept: "*/*" }, referrerPolicy: "no-referrer" },
    ];
    const paths = ["/", "/readyz", "/metrics", "/openapi.json"];
    // What anybody may see, in the place of the page that was there before.
    assert.equal((await page.goto(`${rebound}healthz`)).status(), 200);
    for (const path of paths) {
      for (const disguise of disguises) {
        const [status, text] = await read(path, disguise);
        assert.equal(status, 403, `${path} ${JSON.stringify(disguise)}`);
        assert.match(text, /^Call it by an IP address/);
      }
    }
    for (const path of paths) assert.equal((await page.goto(new URL(path, site.page).href)).status(), 200, path);
  });

  look("its tables are moved by keyboard, and it prints in light", { every: 20 }, async (site, page) => {
    await busy(site, 1500);
    await page.setViewportSize({ width: 360, height: 800 });
    await page.reload();
    const table = page.getByRole("region", { name: "Tenants" });
    await table.focus();
    await page.keyboard.press("ArrowRight");
    await page.waitForFunction(() => document.querySelector("[aria-labelledby=tenants]").scrollLeft > 0);
    await page.emulateMedia({ media: "print", colorScheme: "dark" });
    const background = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    assert.equal(background, "rgb(245, 246, 250)");
  });
});
