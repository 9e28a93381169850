// The program's demo, and what a person does in its portal.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { openBrowser } from "./chromium.js";
import { demo } from "./program.js";

const browser = await openBrowser();
after(() => browser.close());

/** Starts a demo of its own. */
export async function startDemo() {
  const running = await demo();

  /** A call of the simulated tenant's control interface. */
  async function control(method, path, body) {
    const headers = { "content-type": "application/json" };
    const url = `${running.tenant}/_simulator/${path}`;
    const response = await fetch(url, { method, headers, body: JSON.stringify(body) });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text && JSON.parse(text);
  }

  return {
    ...running,
    control,
    /** What the tenant answered each time that a token was asked for. */
    async mints() {
      const requests = await control("GET", "requests");
      return requests.filter(({ call }) => call === "token_impersonation").map(({ status }) => status);
    },
  };
}

/** A new page, once it shows that all is well. */
export async function logIn(context, { portal }, name = "Ann") {
  const page = await context.newPage();
  await page.goto(portal);
  await press(page, name);
  await says(page, "fine");
  return page;
}

/** Clicks the button with this text. */
export const press = (page, name) => page.getByRole("button", { name }).click();

/** Waits until the page is in this mood, and says this; its words. */
export async function says(page, mood, words = "") {
  const state = page.locator(`#state[data-mood=${mood}]`, { hasText: words });
  await state.waitFor();
  return state.innerText();
}

/** A test in which pages complain of nothing but answers with these statuses, which Chromium calls errors. */
export function story(name, statuses, tell) {
  test(name, async () => {
    const [demo, context] = await Promise.all([startDemo(), browser.newContext()]);
    try {
      const complaints = new Set();
      context.on("weberror", (thrown) => complaints.add(`${thrown.error()}`));
      context.on("console", (said) => {
        if (!["error", "warning"].includes(said.type())) return;
        const status = /^Failed to load resource: the server responded with a status of (\d+)/.exec(said.text())?.[1];
        complaints.add(Number(status) || said.text());
      });
      await context.addInitScript(rememberMoods);
      await tell(demo, context);
      assert.deepEqual(complaints, new Set(statuses));
    } finally {
      await Promise.all([context.close(), demo.stop()]);
    }
  });
}

/** Has a page write down every state that it shows, however shortly. */
function rememberMoods() {
  window.moods = [];
  const look = () => {
    const mood = document.getElementById("state")?.dataset.mood;
    if (mood && mood !== window.moods.at(-1)) window.moods.push(mood);
  };
  new MutationObserver(look).observe(document, { subtree: true, childList: true, attributeFilter: ["data-mood"] });
}
