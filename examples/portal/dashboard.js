// How a page gets its tokens from the broker. This is all that an integration needs; what shows it
// happening, and the buttons that break something, is in stage.js.

import { stage } from "./stage.js";

// Where the broker and the tenant are. A page of yours writes their addresses down:
//   import { createTokenSource } from "https://broker.example.com/client.js";
const { broker, tenant, user } = document.body.dataset;
const { createTokenSource } = await import(`${broker}/client.js`);

const life = new AbortController(); // the person's, in this page: the logout ends it
const source = createTokenSource({
  broker,
  signal: life.signal,
  // The portal's back end signs a short-lived JWT for whoever is logged in.
  session: async () => {
    const answer = await fetch("session");
    if (answer.status === 401) return null; // nobody is logged in any more: that is the session's end
    if (!answer.ok) throw new Error(`portal: ${answer.status}`);
    return answer.text();
  },
  // Waiting helps: the promise of getAccessToken() stays pending meanwhile. Tell the person.
  onError: ({ code, retryAt }) => stage.waiting(code, retryAt),
  // Waiting does not help any more: here a portal sends people to its login.
  onSessionEnd: () => stage.sessionEnded(),
  fetch: stage.recorded("broker"),
});

// With qlik-embed or @qlik/api that was it: hand source.getAccessToken to them as `getAccessToken`.
// As this page calls the tenant itself, it does what they do: keep the token, and after a 401 ask
// for another one, once.
let token;
async function qlik(path) {
  const call = async () => {
    token ??= await source.getAccessToken();
    return stage.recorded("tenant")(`${tenant}${path}`, { headers: { Authorization: `Bearer ${token}` } });
  };
  const answer = await call();
  if (answer.status !== 401) return answer;
  token = undefined;
  return call();
}

// Each JWT is a session of its own to the broker, so source.logout() would end only the one that it
// shows. The portal's back end ends them all, with its key. Fails if it could not: then call it again.
async function logOut() {
  life.abort(); // the page forgets its token at once, and asks for no other
  token = undefined;
  const answer = await fetch("logout", { method: "POST", signal: AbortSignal.timeout(20_000) }).catch(() => null);
  if (!answer?.ok) throw new Error((await answer?.text()) || "The portal does not answer: you may still be logged in.");
}

stage.begin({ broker, tenant, user, source, logOut, whoAmI: () => qlik("/api/v1/users/me") });
