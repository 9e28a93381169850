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
