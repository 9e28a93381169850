import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { runInNewContext } from "node:vm";
import { gzipSync } from "node:zlib";

const web = fileURLToPath(new URL("..", import.meta.url));
const dist = (name) => readFileSync(join(web, "dist", name), "utf8");
const names = ["client.global.js", "client.js"];

const fresh = mkdtempSync(join(tmpdir(), "qtb-web-"));
after(() => rmSync(fresh, { recursive: true }));

test("dist is what the build makes of client.js", () => {
  execFileSync(process.execPath, [join(web, "build.js"), fresh]);
  assert.deepEqual(readdirSync(fresh).sort(), names);
  assert.deepEqual(readdirSync(join(web, "dist")).sort(), names);
  for (const name of names) assert.equal(dist(name), readFileSync(join(fresh, name), "utf8"), "run: npm run build");
});

for (const name of names) {
  test(`${name} is small`, (t) => {
    const size = Buffer.byteLength(dist(name));
    const zipped = gzipSync(dist(name), { level: 9 }).length;
    t.diagnostic(`${name}: ${size} bytes, ${zipped} gzipped`);
    assert.ok(size <= 4096);
    assert.ok(zipped <= 2048);
  });

  test(`${name} says what it is, and no version`, () => {
    const [banner] = dist(name).split("\n");
    assert.equal(banner, "/* qlik-token-broker, from web/client.js */");
    assert.doesNotMatch(dist(name), /\d+\.\d+\.\d+/);
  });
}

test("client.global.js sets window.qlikTokenBroker, and no other name", async () => {
  const window = { URL, AbortController, fetch: async () => Response.json({ code: "user_disabled" }, { status: 403 }), setTimeout, clearTimeout };
  window.window = window;
  const before = Object.keys(window);
  runInNewContext(dist("client.global.js"), window);
  assert.deepEqual(Object.keys(window).filter((name) => !before.includes(name)), ["qlikTokenBroker"]);
  const { createTokenSource, TokenError } = window.qlikTokenBroker;
  const { getAccessToken } = createTokenSource({ broker: "https://broker.example.com", session: "s" });
  await assert.rejects(getAccessToken(), (error) => error instanceof TokenError && error.code === "user_disabled");
});

test("the package holds what its users need, and depends on nothing", () => {
  const { dependencies, exports, version, files } = JSON.parse(readFileSync(join(web, "package.json"), "utf8"));
  const cargo = readFileSync(join(web, "../Cargo.toml"), "utf8");
  assert.equal(dependencies, undefined);
  assert.deepEqual(exports["."], { types: "./client.d.ts", default: "./client.js" });
  assert.deepEqual(files, ["client.js", "client.d.ts", "dist", "LICENSE-*"]);
  assert.equal(version, /^version = "(.+)"/m.exec(cargo)[1], "the broker and its client are released together");
});
