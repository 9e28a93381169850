// What docs/clients.md tells people to write, run from the text of the page.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { before, test } from "node:test";
import { blocks, unmarked } from "./page.js";
import { mints } from "./tenant.js";

const HERE = "tests/clients/page.test.js";
const PROGRAMS = {
  sh: ["bash", "-euo", "pipefail"],
  js: ["node", "--input-type=module", "-"],
  python: [".venv/bin/python", "-"],
};
const BOT = /^qlikbot\\demo-management$/m;
const ANN = /^auth0\|ann$/m;

/** What the block under this heading prints. */
const prints = {
  "In Node, as a user": ANN,
  "In Node, as the service client": /^\[/,
  "Fetch in Node": ANN,
  "A user's token": ANN,
  "A service token": BOT,
  "curl, as a user": /"subject":"auth0\|ann"/,
  "curl, as the service client": /"hostnames":\[/,
};

function run({ language, code }) {
  const [program, ...options] = PROGRAMS[language];
  return new Promise((resolve, reject) => {
    const child = execFile(program, options, { timeout: 20_000 }, (error, stdout, stderr) =>
      error ? reject(new Error(`${error.message}\n${stderr}`)) : resolve(stdout),
    );
    child.stdin.end(code);
  });
}

let minted;
before(async () => {
  minted = await mints();
});

test("every block of the page is run by somebody, or says what it needs", () => {
  assert.equal(unmarked, 0, "a block has no mark before it");
  const runners = new Set(blocks.map(({ runBy }) => runBy).filter(Boolean));
  for (const runner of runners) assert.ok(existsSync(`../../${runner}`), runner);
  assert.deepEqual(blocks.filter(({ needs }) => needs).map(({ heading }) => heading), ["Qlik-CLI"]);
  const own = blocks.filter(({ runBy }) => runBy === HERE).map(({ heading }) => heading);
  assert.deepEqual(own.toSorted(), Object.keys(prints).toSorted());
});

for (const block of blocks.filter(({ runBy }) => runBy === HERE)) {
  test(`${block.heading}: ${block.language}`, async () => {
    assert.match(await run(block), prints[block.heading]);
  });
}

test("all blocks together cost one mint of each grant", async () => {
  const { impersonation, clientCredentials } = await mints();
  assert.deepEqual([impersonation - minted.impersonation, clientCredentials - minted.clientCredentials], [1, 1]);
});
