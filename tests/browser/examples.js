// The examples, as a developer starts them but for addresses, with one broker and one simulated tenant.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import net from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { scratch, serve, simulate } from "./program.js";
import { allow } from "./site.js";

const ROOT = join(import.meta.dirname, "../..");
const NODE = ["--env-file=.env"];
const VITE = "node_modules/vite/bin/vite.js";
const NEXT = "node_modules/next/dist/bin/next";
const OUT = ["--outDir", join(scratch, "react")];

/** What is run in each folder: `shown` is where the page writes what Qlik answers. */
const EXAMPLES = {
  express: { start: [...NODE, "server.js"], shown: "qlik-embed" },
  nextjs: { build: [NEXT, "build"], start: [NEXT, "start", "-H", "127.0.0.1"], shown: "qlik-embed-react" },
  "plain-html": { start: [...NODE, "portal.js"], shown: "qlik-embed" },
  react: { build: [VITE, "build", ...OUT], start: [VITE, "preview", ...OUT], shown: "#user" },
};

const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

/** Starts tenant, broker and all examples. */
export async function startExamples() {
  const names = Object.keys(EXAMPLES);
  const [brokerPort, ...ports] = await freePorts(1 + names.length);
  const port = Object.fromEntries(names.map((name, at) => [name, ports[at]]));
  const origins = ports.map((port) => `http://localhost:${port}`);
  const tenant = await simulate();
  const tenantUrl = `http://127.0.0.1:${tenant.port}`;
  await allow(tenantUrl, origins);

  const configuration = replaceEach(readFileSync(join(ROOT, "examples/broker.toml"), "utf8"), {
    "127.0.0.1:8080": `127.0.0.1:${brokerPort}`,
    "127.0.0.1:9090": "127.0.0.1:0",
    "http://127.0.0.1:3000/whoami": `http://127.0.0.1:${port.react}/whoami`,
    '["http://localhost:3000"]': JSON.stringify(origins),
    "http://127.0.0.1:9400": tenantUrl,
    "[ops]": '[cache]\nrenewal_pause = "1s"\n\n[ops]',
  });
  let broker = await serve(configuration);

  const servers = await Promise.all(
    names.map((name) =>
      startOne(name, {
        BROKER_URL: `http://127.0.0.1:${brokerPort}`,
        QLIK_HOST: tenantUrl,
        VITE_BROKER_URL: `http://localhost:${brokerPort}`,
        VITE_QLIK_HOST: tenantUrl,
        NEXT_TELEMETRY_DISABLED: "1",
        PORT: port[name],
      }),
    ),
  );

  return {
    tenant: tenantUrl,
    url: (name) => `http://localhost:${port[name]}`,
    shown: (name) => EXAMPLES[name].shown,
    stopBroker: () => broker.stop(),
    async startBroker() {
      broker = await serve(configuration);
    },
    async stop() {
      for (const server of servers) server.kill();
      await Promise.all([broker.stop(), tenant.stop()]);
    },
  };
}

async function startOne(name, settings) {
  const { build, start } = EXAMPLES[name];
  const cwd = join(ROOT, "examples", name);
  const env = { ...process.env, ...settings };
  if (build) await promisify(execFile)(process.execPath, build, { cwd, env });
  const server = spawn(process.execPath, start, { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
  running.add(server);
  const said = [];
  for (const stream of [server.stdout, server.stderr]) stream.on("data", (text) => said.push(text));
  for (let tries = 0; tries < 200; tries++) {
    const answer = await fetch(`http://127.0.0.1:${settings.PORT}/`).catch(() => null);
    if (answer?.ok) return server;
    if (server.exitCode !== null) break;
    await sleep(100);
  }
  throw new Error(`${name} does not answer: ${said.join("")}`);
}

/** Held all at once, so that they differ. */
async function freePorts(count) {
  const held = Array.from({ length: count }, () => net.createServer().listen(0, "127.0.0.1"));
  await Promise.all(held.map((server) => once(server, "listening")));
  const ports = held.map((server) => server.address().port);
  await Promise.all(held.map((server) => once(server.close(), "close")));
  return ports;
}

function replaceEach(text, replacements) {
  for (const [old, made] of Object.entries(replacements)) {
    if (!text.includes(old)) throw new Error(`there is no ${old} to replace`);
    text = text.replace(old, made);
  }
  return text;
}
