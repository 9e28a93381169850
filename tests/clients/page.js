// The blocks of docs/clients.md, each with what the comment before it says of it.

import { readFileSync } from "node:fs";

const text = readFileSync(new URL("../../docs/clients.md", import.meta.url), "utf8");
const fences = text.match(/^```/gm).length / 2;
const MARKED = /^<!-- (run by|needs): (.+) -->\n```(\w+)\n([\s\S]*?)^```$/gm;

const headings = [...text.matchAll(/^#+ (.*)$/gm)];
const headingOf = (at) => headings.findLast(({ index }) => index < at)[1];

/** Each with `runBy` (a test's file) or `needs` (what is not here), and the heading that it stands under. */
export const blocks = [...text.matchAll(MARKED)].map(({ 1: kind, 2: value, 3: language, 4: code, index }) => ({
  ...(kind === "needs" ? { needs: value } : { runBy: value }),
  heading: headingOf(index),
  language,
  code,
}));

/** How many blocks have no mark, so that nobody runs them. */
export const unmarked = fences - blocks.length;
