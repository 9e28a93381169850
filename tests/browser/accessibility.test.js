// The demo's portal for people with small screens, in the dark, without a mouse, or who hear it read.

import assert from "node:assert/strict";
import { describe } from "node:test";
import { logIn, press, says, story } from "./portal.js";

/** What is looked at, and how to get there. */
const states = {
  "the login": async (demo, context) => {
    const page = await context.newPage();
    await page.goto(demo.portal);
    return page;
  },
  "the dashboard": (demo, context) => logIn(context, demo),
  "a page that waits": async (demo, context) => {
    const page = await logIn(context, demo);
    await demo.control("POST", "faults", { call: "token", fault: { type: "status", status: 503 } });
    await press(page, "Revoke my token");
    await says(page, "wait");
    return page;
  },
  "what follows a logout": async (demo, context) => {
    const page = await logIn(context, demo);
    await press(page, "Log out");
    await page.locator("#proofs li", { hasText: "refused" }).nth(2).waitFor();
    return page;
  },
  "a logout that failed": async (demo, context) => {
    const page = await logIn(context, demo);
    const body = "Your access has not ended. Try again.";
    await page.route("**/logout", (route) => route.fulfill({ status: 502, body }));
    await press(page, "Log out");
    await says(page, "bad", "Your access has not ended.");
    return page;
  },
};
const statuses = { "a page that waits": [401, 503], "what follows a logout": [401], "a logout that failed": [502] };

describe("the portal of the demo", { concurrency: 2 }, () => {
  for (const [name, open] of Object.entries(states)) {
    story(`everybody can read and use ${name}`, statuses[name], async (demo, context) => {
      await context.addInitScript({ path: "node_modules/axe-core/axe.min.js" });
      const page = await open(demo, context);
      for (const colorScheme of ["light", "dark"]) {
        await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
        for (const width of [1280, 360]) {
          await page.setViewportSize({ width, height: 800 });
          const where = `${colorScheme}, ${width} px wide`;
          assert.deepEqual(await page.evaluate(findings), [], where);
          assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), width, where);
          assert.deepEqual(await unreached(page), [], where);
        }
      }
    });
  }
});

/** What axe finds in the page. */
async function findings() {
  const { violations } = await window.axe.run();
  return violations.map(({ impact, id, nodes }) => `${impact}: ${id}: ${nodes.map(({ target }) => target)}`);
}

/** What Tab does not reach, or reaches without showing it. */
async function unreached(page) {
  const left = await page.evaluate(() => {
    document.activeElement.blur();
    const outline = (each) => [getComputedStyle(each).outline, getComputedStyle(each).boxShadow].join();
    const all = [...document.querySelectorAll("a, button, input, select, textarea, summary, [tabindex='0']")];
    const usable = all.filter((each) => each.checkVisibility());
    const without = new Map(usable.map((each) => [each, outline(each)]));
    document.addEventListener("focusin", ({ target }) => {
      if (outline(target) !== without.get(target)) without.delete(target);
    });
    window.left = () => [...without.keys()].map((each) => each.textContent.trim());
    return window.left();
  });
  // Two more: behind the last one comes the page itself.
  for (let tabs = 0; tabs < left.length + 2; tabs++) await page.keyboard.press("Tab");
  return page.evaluate(() => window.left());
}
