// The world of the tests: a simulated tenant, a broker, a server of pages and Chromium. Names under
// `.localhost` are loopback and trustworthy to it, and each name directly below is a site of its own.

import { createHmac, randomUUID } from "node:crypto";
import { openBrowser } from "./chromium.js";
import { pages } from "./pages.js";
import { newKey, serve, simulate } from "./program.js";
import { wire } from "./wire.js";

const PORTAL_SECRET = randomUUID() + randomUUID();

/** Starts all of it; with `cookies`, sessions are also taken from cookies, and `cache` is for tokens. */
export async function start({ cookies = false, cache = "" } = {}) {
  const [tenant, served, key] = await Promise.all([simulate(), pages(), newKey("portal")]);
  const at = (host, scheme = "http") => `${scheme}://${host}:${served.port}`;
  const origins = {
    // Listed by acme. The first is of the broker's site, as portals mostly are; the second is not.
    portal: at("portal.acme.localhost"),
    partner: at("partner.localhost"),
    secure: at("secure.acme.localhost", "https"),
    // Listed by other tenants. One of them is for the test that makes its tenant pause.
    globex: at("globex.localhost"),
    initech: at("initech.localhost"),
    // Listed by nobody, of another site, and of the broker's own.
    evil: at("evil.localhost"),
    forum: at("forum.acme.localhost"),
  };
  const allowed = {
    // The last has another port than the pages.
    acme: [origins.portal, origins.partner, origins.secure, `http://ported.acme.localhost:${served.port + 1}`],
    globex: [origins.globex],
    initech: [origins.initech],
  };
  const tenantUrl = `http://127.0.0.1:${tenant.port}`;
  const facts = { tenantUrl, allowed, keyDigest: key.sha256, cookies, cache, portal: served.port };
  const configured = configuration(facts);
  await allow(tenantUrl, Object.values(origins));
  let broker = await serve(configured);
  const relay = await wire(() => broker.port);
  const browser = await openBrowser();

  /** A call of the simulator's control interface. */
  async function control(method, path, body) {
    const headers = { "content-type": "application/json" };
    const init = { method, headers, body: body && JSON.stringify(body) };
    const response = await fetch(`${tenantUrl}/_simulator/${path}`, init);
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text && JSON.parse(text);
  }

  /** A call of the broker from its back end, not over the wire. */
  async function backEnd(path, body) {
    const headers = { authorization: `Bearer ${key.key}`, "content-type": "application/json" };
    const url = `http://127.0.0.1:${broker.port}${path}`;
    const response = await fetch(url, { method: "POST", headers, body: JSON.stringify(body) });
    return { status: response.status, ...(response.status === 204 ? {} : await response.json()) };
  }

  return {
    origins,
    at,
    key: key.key,
    broker: `http://broker.acme.localhost:${relay.port}`,
    pages: served,
    wire: relay,
    browser,
    tenant: tenantUrl,
    control,
    backEnd,
    stopBroker: () => broker.stop(),
    async startBroker() {
      broker = await serve(configured);
    },
    /** Somebody whom no other test knows; `sub` is who that is at the portal. */
    async addUser(name) {
      const sub = `${name}-${randomUUID()}`;
      return { sub, ...(await control("POST", "users", { subject: `auth0|${sub}` })) };
    },
    /** How often the broker called the tenant, and how often for a token. Pages must not call it meanwhile. */
    async upstream() {
      const { any, token_impersonation } = await control("GET", "calls");
      return { calls: any, mints: token_impersonation };
    },
    async stop() {
      relay.stop();
      served.stop();
      await Promise.all([browser.close(), broker.stop(), tenant.stop()]);
    },
  };
}

const configuration = ({ tenantUrl, allowed, keyDigest, cookies, cache, portal }) => `
  [server]
  listen = "127.0.0.1:0"
  [ops]
  listen = "127.0.0.1:0"
  [cache]
  ${cache}
  [[session]]
  type = "api_key"
  [[session.keys]]
  id = "portal"
  sha256 = "${keyDigest}"
  tenants = ["acme"]
  allow = ["token", "sessions", "logout"]
  [[session]]
  type = "handle"
  ${cookies ? `cookie = "__Host-broker_handle"` : ""}
  [[session]]
  type = "jwt"
  issuer = "https://portal.example.com"
  audience = "qlik-token-broker"
  algorithms = ["HS256"]
  hmac_secret = "${PORTAL_SECRET}"
  tenant = "{org}"
  user = [{ field = "subject", value = "auth0|{sub}" }]
  ${cookies ? `cookie = "portal_jwt"` : ""}
  ${cookies ? portalCheck(portal) : ""}
  ${Object.entries(allowed).map(([name, origins]) => tenantTable(name, tenantUrl, origins)).join("")}
`;

const portalCheck = (port) => `
  [[session]]
  type = "portal_check"
  url = "http://127.0.0.1:${port}/whoami"
  cookies = ["portal_sid"]
  tenant = "acme"
  user = [{ field = "subject", value = "auth0|{sub}" }]
`;

const tenantTable = (name, url, origins) => `
  [tenants.${name}]
  url = "${url}"
  client_id = "demo-broker"
  client_secret = "demo-broker-secret"
  scopes = "user_default"
  allowed_origins = ${JSON.stringify(origins)}
`;

/** Lets pages of these origins call the tenant. */
export async function allow(tenantUrl, origins) {
  const call = async (method, path, body, headers = {}) => {
    const json = { ...headers, "content-type": "application/json" };
    const response = await fetch(tenantUrl + path, { method, headers: json, body: JSON.stringify(body) });
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
    return response;
  };
  const client = { client_id: "demo-management", client_secret: "demo-management-secret" };
  const minted = await call("POST", "/oauth/token", { ...client, grant_type: "client_credentials" });
  const { access_token } = await minted.json();
  const change = [{ op: "replace", path: "/allowedOrigins", value: origins }];
  await call("PATCH", "/api/v1/oauth-clients/demo-broker", change, bearer(access_token));
}

/** A session of the portal. */
export function portalSession({ sub }, org = "acme") {
  const part = (json) => Buffer.from(JSON.stringify(json)).toString("base64url");
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: "https://portal.example.com", aud: "qlik-token-broker", sub, org, iat: now, exp: now + 600 };
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  return `${signed}.${createHmac("sha256", PORTAL_SECRET).update(signed).digest("base64url")}`;
}

export const bearer = (token) => ({ authorization: `Bearer ${token}` });

/** What a script in `page` (or in a frame) can read of a POST; `code` is a problem's, `blocked` the name
 * of the error that `fetch` throws instead. */
export async function ask(page, url, init = {}) {
  const read = await page.evaluate(
    async ([url, init]) => {
      try {
        const response = await fetch(url, { method: "POST", ...init });
        const headers = Object.fromEntries(response.headers);
        return { type: response.type, status: response.status, headers, text: await response.text() };
      } catch (error) {
        return { blocked: error.name };
      }
    },
    [url, init],
  );
  const json = /json/.test(read.headers?.["content-type"]) ? JSON.parse(read.text) : {};
  return { ...read, code: json.code, token: json.access_token };
}
