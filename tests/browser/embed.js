// The script of a page with embeds: the package @qlik/api as it is, and the broker's helper for pages
// in its callback, or in its place the callback that one would write first.

import auth from "@qlik/api/auth";
import users from "@qlik/api/users";
import { createTokenSource } from "/client.js";

// They change the page's past when they are in its address: the page is the same when it comes back.
const { broker, host, session, naive } = JSON.parse(decodeURIComponent(location.hash.slice(1)));

const ended = [];
const retried = [];
const source = createTokenSource({
  broker,
  session,
  onSessionEnd: ({ code }) => ended.push(code),
  onError: ({ code }) => retried.push(code),
});

async function firstThought() {
  const headers = { authorization: `Bearer ${session}`, accept: "text/plain" };
  const response = await fetch(`${broker}/session-token`, { method: "POST", headers });
  if (!response.ok) throw new Error(`no token: ${response.status}`);
  return response.text();
}

const getAccessToken = naive ? firstThought : source.getAccessToken;
const embedRuntimeUrl = location.origin;
auth.setDefaultHostConfig({ authType: "oauth2", host, clientId: "demo-broker", getAccessToken, embedRuntimeUrl });

/** Who the tenant says it is; it is asked each time. */
const me = () =>
  users.getMyUser({ noCache: true }).then(
    ({ data }) => data.subject,
    ({ status, errors }) => `refused: ${status ?? errors?.[0].title}`,
  );

Object.assign(window, { source, me, ended, retried });
