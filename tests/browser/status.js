// A broker with four tenants, two of which are in trouble, and its status page.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { openBrowser } from "./chromium.js";
import { newKey, serve, simulate } from "./program.js";

const PEOPLE = 60;

const browser = await openBrowser();
after(() => browser.close());

const configuration = (key, tenants) => `
  [server]
  listen = "127.0.0.1:0"
  [ops]
  listen = "127.0.0.1:0"
  [[session]]
  type = "api_key"
  [[session.keys]]
  id = "portal"
  sha256 = "${key.sha256}"
  tenants = ${JSON.stringify(Object.keys(tenants))}
  ${Object.entries(tenants).map(([name, url]) => tenantTable(name, url)).join("")}
`;

const tenantTable = (name, url) => `
  [tenants.${name}]
  url = "${url}"
  client_id = "demo-broker"
  client_secret = "demo-broker-secret"
  scopes = "user_default"
  allowed_origins = ["${name === "acme" ? "http://localhost:3000" : `https://portal.${name}.example`}"]
  management = { client_id = "demo-management", client_secret = "demo-management-secret" }
  origins_from_client = ${name === "acme"}
`;

/** Starts tenants and a broker, which takes a sample `every` so many milliseconds. */
async function start({ every }) {
  const [well, throttled, refusing, key] = await Promise.all([simulate(), simulate(), simulate(), newKey("portal")]);
  const at = ({ port }) => `http://127.0.0.1:${port}`;
  const tenants = { acme: at(well), globex: at(well), initech: at(throttled), umbrella: at(refusing) };
  const broker = await serve(configuration(key, tenants), "--sample-every", `${every}`);

  async function control(tenant, path, body) {
    const init = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
    const response = await fetch(`${tenants[tenant]}/_simulator/${path}`, init);
    assert.ok(response.ok, `${path}: ${response.status} ${await response.text()}`);
  }

  return {
    page: `http://127.0.0.1:${broker.ops}/`,
    control,
    /** Asks for somebody's token; the status of the answer. */
    async ask(tenant, user, { rightful = true } = {}) {
      const headers = { authorization: `Bearer ${rightful ? key.key : "qtb_portal_wrong"}` };
      const body = JSON.stringify({ tenant, user_lookup: { field: "subject", value: `auth0|${user}` } });
      const init = { method: "POST", headers: { ...headers, "content-type": "application/json" }, body };
      const response = await fetch(`http://127.0.0.1:${broker.port}/session-token`, init);
      await response.text();
      return response.status;
    },
    stop: () => Promise.all([broker, well, throttled, refusing].map((each) => each.stop())),
  };
}

/** So many milliseconds of a working day: people come and go, some are unknown, and two tenants fail in the end. */
export async function busy(site, millis) {
  const people = Array.from({ length: PEOPLE }, (_, index) => `person-${index}`);
  for (const tenant of ["acme", "initech", "umbrella"]) {
    for (const person of [...people, "latecomer"]) await site.control(tenant, "users", { subject: `auth0|${person}` });
  }
  const tenants = ["acme", "acme", "globex", "initech", "umbrella"];
  const started = Date.now();
  let [asked, due, broken] = [0, 0, false];
  for (let last = started; last - started < millis; ) {
    await setTimeout(20);
    const now = Date.now();
    const passed = Math.min(1, (now - started) / millis);
    if (passed > 0.75 && !broken) {
      broken = true;
      await site.control("initech", "faults", { call: "token", fault: { type: "throttle", retry_after: 90 } });
      await site.control("umbrella", "faults", { call: "token", fault: { type: "wrong_secret" } });
    }
    due += (now - last) * (0.05 + 0.35 * Math.sin(Math.PI * passed) ** 2);
    last = now;
    // The last tenth comes when nobody gets tokens any more.
    const here = Math.ceil(PEOPLE * (broken ? 0.7 + passed * 0.3 : Math.min(0.9, 0.1 + passed * 1.2)));
    const asking = [];
    for (; asked < due; asked++) {
      asking.push(site.ask(tenants[asked % tenants.length], people[(asked * 7) % here]));
      if (asked % 60 === 0) asking.push(site.ask("acme", "nobody"));
      if (asked % 90 === 0) asking.push(site.ask("acme", "ann", { rightful: false }));
    }
    await Promise.all(asking);
  }
  // However few they were: somebody without a token asks both that fail.
  for (const tenant of ["initech", "umbrella"]) assert.ok((await site.ask(tenant, "latecomer")) >= 500, tenant);
}

/** A test of the page, in which Chromium complains of nothing, unless there shall be something to complain of. */
export function look(name, options, tell) {
  test(name, async () => {
    const [site, context] = await Promise.all([start(options), browser.newContext()]);
    try {
      const complaints = [];
      context.on("weberror", (thrown) => complaints.push(`${thrown.error()}`));
      context.on("console", (said) => complaints.push(said.text()));
      context.on("requestfailed", (request) => complaints.push(request.url()));
      await context.addInitScript(() => {
        document.addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) =>
          console.error(`the policy forbids ${violatedDirective} ${blockedURI}`),
        );
      });
      const page = await context.newPage();
      await page.goto(site.page);
      await tell(site, page, context);
      if (!options.complains) assert.deepEqual(complaints, []);
    } finally {
      await Promise.all([context.close(), site.stop()]);
    }
  });
}
