// The curl lines of Qlik's documentation, with what it says they return.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { before, test } from "node:test";
import { promisify } from "node:util";
import { addUser, url as tenant } from "./tenant.js";

/** Status and text of what curl got. */
async function curl(...line) {
  const shown = ["--silent", "--show-error", "--max-time", "10", "--write-out", "\n%{http_code}"];
  const { stdout } = await promisify(execFile)("curl", [...shown, ...line]);
  const end = stdout.lastIndexOf("\n");
  return { status: Number(stdout.slice(end + 1)), text: stdout.slice(0, end) };
}

const json = ({ status, text }, expected) => {
  assert.equal(status, expected, text);
  return JSON.parse(text);
};
const keys = (object) => Object.keys(object).sort();
const headers = (token) => [
  "-H", `Authorization: Bearer ${token}`,
  "-H", "Content-Type: application/json",
  "-H", "Accept: application/json",
];

const clientCredentials = () =>
  curl("-X", "POST", `${tenant}/oauth/token`,
    "-H", "Accept: application/json",
    "-H", "Content-Type: application/json",
    "-d", JSON.stringify({
      client_id: "demo-management",
      client_secret: "demo-management-secret",
      grant_type: "client_credentials",
    }));

function assertToken(token) {
  assert.match(token.access_token, /^eyJhbGciOiJFUzM4NCIsInR/);
  assert.equal(token.token_type, "bearer");
  assert.equal(token.expires_in, 21600);
  assert.match(token.expires_at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  const life = (Date.parse(token.expires_at) - Date.now()) / 1000;
  assert.ok(life > 21500 && life <= 21601, `expires in ${life} s`);
}

let admin;
before(async () => {
  admin = json(await clientCredentials(), 200).access_token;
});

test("client credentials", async () => {
  assertToken(json(await clientCredentials(), 200));
});

test("tenants/me", async () => {
  const line = (token) => ["-L", "-X", "GET", `${tenant}/api/v1/tenants/me`, "-H", `Authorization: Bearer ${token}`];
  const { id, name, hostnames } = json(await curl(...line(admin)), 200);
  assert.equal(typeof id, "string");
  assert.equal(typeof name, "string");
  assert.deepEqual(hostnames, [new URL(tenant).host]);
  assert.equal((await curl(...line(`${admin}x`))).status, 401);
});

test("a new client impersonates once its consent is trusted", async () => {
  const user = await addUser("ann");
  const wanted = {
    appType: "web",
    clientName: "my-embedded-portal",
    description: "This is an OAuth client created using API calls.",
    allowedScopes: ["user_default"],
    redirectUris: ["https://my-web-app.com/callback"],
    allowedGrantTypes: ["client_credentials", "urn:qlik:oauth:user-impersonation"],
  };
  const create = ["-L", `${tenant}/api/v1/oauth-clients`, ...headers(admin), "-d", JSON.stringify(wanted)];
  const client = json(await curl(...create), 201);
  assert.deepEqual(keys(client), [
    "allowedGrantTypes", "allowedScopes", "appType", "clientId", "clientName", "clientSecret",
    "clientSecretHint", "clientUri", "createdAt", "description", "logoUri", "ownerId", "redirectUris",
  ]);
  for (const [key, value] of Object.entries(wanted)) assert.deepEqual(client[key], value);
  assert.match(client.clientId, /^[0-9a-z]{32}$/);
  assert.match(client.clientSecret, /^[0-9a-z]{64}$/);
  assert.match(client.clientSecretHint, /^[0-9a-z]{5}$/);
  assert.match(client.createdAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/);
  assert.equal(client.clientUri, "");
  assert.equal(client.logoUri, "");

  const impersonate = () =>
    curl("-L", `${tenant}/oauth/token`,
      "-H", "Content-Type: application/json",
      "-H", "Accept: application/json",
      "-d", JSON.stringify({
        client_id: client.clientId,
        client_secret: client.clientSecret,
        grant_type: "urn:qlik:oauth:user-impersonation",
        scope: "user_default",
        user_lookup: { field: "userId", value: user.id },
      }));
  const early = await impersonate();
  assert.ok(early.status >= 400 && early.status < 500, `${early.status} ${early.text}`);
  assert.deepEqual(keys(JSON.parse(early.text)), ["errors", "traceId"]);

  const consent = `${tenant}/api/v1/oauth-clients/${client.clientId}/connection-configs/me`;
  const trusted = [{ op: "replace", path: "/consentMethod", value: "trusted" }];
  const patched = await curl("-L", "-X", "PATCH", consent, ...headers(admin), "-d", JSON.stringify(trusted));
  assert.deepEqual(patched, { status: 204, text: "" });

  const token = json(await impersonate(), 200);
  assert.deepEqual(keys(token), ["access_token", "expires_at", "expires_in", "scope", "token_type"]);
  assert.equal(token.scope, "user_default");
  assertToken(token);
  const me = json(await curl("-L", `${tenant}/api/v1/users/me`, ...headers(token.access_token)), 200);
  assert.equal(me.subject, user.subject);
});
