// Prints how much of client.js the tests run, and fails below 95 %.  node test/coverage.js LCOV
// (Node 20 measures, but knows no thresholds.)

import { readFileSync } from "node:fs";

const report = readFileSync(process.argv[2], "utf8");
const record = report.split("end_of_record").find((part) => /^SF:(.*\/)?client\.js$/m.test(part));
if (!record) throw new Error("the tests did not run client.js");

const count = (name) => Number(new RegExp(`^${name}:(\\d+)$`, "m").exec(record)[1]);
for (const [what, hit, found] of [["lines", "LH", "LF"], ["branches", "BRH", "BRF"]]) {
  const percent = (100 * count(hit)) / count(found);
  console.log(`client.js: ${percent.toFixed(1)} % of ${count(found)} ${what}`);
  if (!(percent >= 95)) process.exitCode = 1;
}
for (const [, line] of record.matchAll(/^DA:(\d+),0$/gm)) console.log(`  never run: line ${line}`);
for (const [, line] of record.matchAll(/^BRDA:(\d+),.*,0$/gm)) console.log(`  branch never taken: line ${line}`);
