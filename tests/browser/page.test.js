// What docs/clients.md tells people to write into their pages, in Chromium and from the text of the page.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { build } from "esbuild";
import { blocks } from "../clients/page.js";
import { portalSession, start } from "./site.js";

const own = blocks.filter(({ runBy }) => runBy === "tests/browser/page.test.js");

let site;

before(async () => {
  site = await start();
});
after(() => site.stop());

/** The block with the addresses that are here. */
const here = ({ code }) =>
  code.replaceAll("https://broker.example.com", site.broker).replaceAll("https://acme.eu.qlikcloud.com", site.tenant);

/** As HTML; a script is bundled first, as its imports ask for. */
async function asPage(block) {
  if (block.language === "html") return here(block);
  const { outputFiles } = await build({
    stdin: { contents: here(block), resolveDir: import.meta.dirname },
    alias: { "qlik-token-broker-client": "../../web/client.js" },
    bundle: true,
    format: "esm",
    write: false,
    logLevel: "error",
  });
  const path = site.pages.page(outputFiles[0].text, `/${encodeURIComponent(block.heading)}.js`);
  return `<script type="module" src="${path}"></script>`;
}

test("the page has blocks for pages", () => {
  assert.deepEqual(own.map(({ heading }) => heading), ["In a page", "Fetch in a page"]);
});

for (const block of own) {
  test(`${block.heading}: it shows who the tenant says it is, for one mint`, async () => {
    const user = await site.addUser("ann");
    const before = (await site.upstream()).mints;
    const context = await site.browser.newContext();
    const page = await context.newPage();
    await page.addInitScript((session) => (window.portalJwt = () => session), portalSession(user));
    await page.goto(site.origins.portal + site.pages.page(await asPage(block)));
    await page.getByText(user.subject).waitFor({ timeout: 15_000 });
    assert.equal((await site.upstream()).mints, before + 1);
    await context.close();
  });
}
