// Takes the pictures of the demo's portal and of the status page that README.md shows, with the fonts of the machine:
//   tests/browser/run target/debug/qlik-token-broker screenshots.js

import { writeFileSync } from "node:fs";
import { PNG } from "pngjs";
import { logIn, press, says, story } from "./portal.js";
import { busy, look } from "./status.js";

/** Writes a picture of the page. Chromium's own PNG are a quarter larger. */
async function take(page, name, options) {
  await page.mouse.move(0, 0);
  const picture = PNG.sync.read(await page.screenshot({ animations: "disabled", ...options }));
  const small = PNG.sync.write(picture, { colorType: 2, filterType: 0, deflateStrategy: 0 });
  writeFileSync(`../../docs/images/${name}.png`, small);
}

story("the portal's pictures are taken", [401, 503], async (demo, context) => {
  const page = await logIn(context, demo);
  const id = await page.locator("#token-id").innerText();
  await press(page, "Revoke my token");
  await page.locator("#token-id", { hasNotText: id }).waitFor();
  await page.locator(".events .count").first().waitFor();
  await page.setViewportSize({ width: 1280, height: 800 });
  await take(page, "portal-desktop", { fullPage: true });

  const phone = await context.browser().newContext({ viewport: { width: 390, height: 844 }, deviceScaleFactor: 2 });
  await take(await logIn(phone, demo), "portal-phone");
  await phone.close();

  await page.emulateMedia({ colorScheme: "dark" });
  await page.reload();
  await says(page, "fine");
  await press(page, "Tenant down");
  await press(page, "Revoke my token");
  await says(page, "wait");
  await page.locator("[data-lane=upstream]", { hasText: "503" }).waitFor();
  await take(page, "portal-dark", { fullPage: true });
});

look("the status page's pictures are taken", { every: 100 }, async (site, page) => {
  await busy(site, 26_000);
  await page.reload();
  const widths = { light: 1280, dark: 1280, phone: 390 };
  for (const [name, width] of Object.entries(widths)) {
    await page.setViewportSize({ width, height: 800 });
    await page.emulateMedia({ colorScheme: name === "dark" ? "dark" : "light" });
    await take(page, `status-${name}`, { fullPage: true });
  }
});
