// The program under test, and what ends with the tests.

import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const { BINARY } = process.env;

const running = new Set();
export const scratch = mkdtempSync(join(tmpdir(), "browser-"));

process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
  rmSync(scratch, { recursive: true, force: true });
});
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));

/** Starts the program; resolves with what `ready` makes of the first line that it knows. */
async function run(args, ready) {
  const child = spawn(BINARY, args, { stdio: ["ignore", "pipe", "pipe"] });
  running.add(child);
  child.once("exit", () => running.delete(child));
  const said = [];
  child.stderr.on("data", (text) => said.push(text));
  const stop = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill();
    await once(child, "exit");
  };
  return new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).on("line", (line) => {
      said.push(line);
      const made = ready(line);
      if (made) resolve({ ...made, stop });
    });
    child.once("error", reject);
    child.once("exit", () => reject(new Error(`${args[0]} ended: ${said.join("\n")}`)));
  });
}

/** A simulated tenant on a free port. */
export function simulate() {
  return run(["simulate", "--listen", "127.0.0.1:0"], (line) => {
    const port = /^A simulated tenant listens on .*:(\d+)/.exec(line)?.[1];
    return port && { port: Number(port) };
  });
}

/** The demo, on the first free ports: where its three parts are. */
export function demo() {
  const found = {};
  return run(["demo"], (line) => {
    const portal = /^Open (?<portal>\S+)/.exec(line);
    const broker = /^The broker listens on (?<broker>[^,]+)/.exec(line);
    const tenant = /^a simulated tenant .* at (?<tenant>\S+)\.$/.exec(line);
    Object.assign(found, portal?.groups, broker?.groups, tenant?.groups);
    return found.tenant && found;
  });
}

/** A broker with this configuration, on free ports: that for everybody, and that of the operators. */
export function serve(configuration, ...options) {
  const file = join(scratch, `broker-${randomUUID()}.toml`);
  writeFileSync(file, configuration);
  return run(["serve", "--config", file, ...options], (line) => {
    if (!line.includes('"message":"listening"')) return undefined;
    const [port, ops] = ["public", "ops"].map((name) => new RegExp(`"${name}":"127\\.0\\.0\\.1:(\\d+)"`).exec(line)?.[1]);
    return { port: Number(port), ops: Number(ops) };
  });
}

/** A new API key: its text, and its table for the configuration. */
export async function newKey(id) {
  const child = spawn(BINARY, ["api-key", "new", id], { stdio: ["ignore", "pipe", "inherit"] });
  const said = (await child.stdout.toArray()).join("");
  const key = /^qtb_\S+$/m.exec(said)[0];
  return { key, sha256: /sha256 = "([0-9a-f]{64})"/.exec(said)[1] };
}
