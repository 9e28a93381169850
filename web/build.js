// Makes dist/ from client.js:  node build.js [FOLDER]
//   client.js         a minified ES module
//   client.global.js  a classic script that sets window.qlikTokenBroker

import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const outdir = process.argv[2] ?? `${here}dist`;

const outputs = {
  "client.js": ["esm", 'export * from "./client.js";'],
  // The names are listed, because esbuild's own globalName brings 500 bytes of helpers along.
  "client.global.js": [
    "iife",
    'import { createTokenSource, TokenError } from "./client.js"; window.qlikTokenBroker = { createTokenSource, TokenError };',
  ],
};

for (const [name, [format, contents]] of Object.entries(outputs)) {
  await build({
    stdin: { contents, resolveDir: here },
    outfile: `${outdir}/${name}`,
    bundle: true,
    minify: true,
    format,
    target: ["chrome119", "firefox119", "safari17"],
    banner: { js: "/* qlik-token-broker, from web/client.js */" },
    logLevel: "warning",
  });
}
