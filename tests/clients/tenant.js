// The simulated tenant, from behind the scene.

import { randomUUID } from "node:crypto";

export const url = process.env.TENANT_URL;

/** A call of the control interface; `GET /_simulator/` lists them. */
export async function control(method, path, body) {
  const response = await fetch(`${url}/_simulator/${path}`, {
    method,
    headers: { "content-type": "application/json" },
    body: body && JSON.stringify(body),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return text && JSON.parse(text);
}

/** Somebody whom no other test knows; `sub` is who that is at the portal. */
export async function addUser(name) {
  const sub = `${name}-${randomUUID()}`;
  return { sub, ...(await control("POST", "users", { subject: `auth0|${sub}` })) };
}

/** How often a token was asked for, by grant. */
export async function mints() {
  const calls = await control("GET", "calls");
  return {
    impersonation: calls.token_impersonation ?? 0,
    clientCredentials: calls.token_client_credentials ?? 0,
  };
}
