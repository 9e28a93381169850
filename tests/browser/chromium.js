// Debian's Chromium. Names under `.localhost` are this machine, and so is that of a page that was made to resolve to it.

import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { scratch } from "./program.js";

const CHROMIUM = {
  executablePath: process.env.CHROMIUM,
  chromiumSandbox: process.getuid() !== 0,
  args: ["--host-resolver-rules=MAP *.localhost 127.0.0.1, MAP rebound.test 127.0.0.1", "--no-proxy-server"],
  // People's browsers have that cache.
  ignoreDefaultArgs: ["--disable-back-forward-cache"],
};

/** A browser that the tests open contexts in. */
export const openBrowser = () => chromium.launch(CHROMIUM);

/** A browser that sends a page's requests to other sites with their cookies, as most do. Debian's Chromium
 * does not, by default and in the contexts of `launch`: attacks would be harmless by that alone. */
export function ordinaryBrowser() {
  const profile = mkdtempSync(join(scratch, "profile-"));
  mkdirSync(join(profile, "Default"));
  const blockNone = { profile: { cookie_controls_mode: 0 } };
  writeFileSync(join(profile, "Default", "Preferences"), JSON.stringify(blockNone));
  return chromium.launchPersistentContext(profile, { ...CHROMIUM, ignoreHTTPSErrors: true });
}
