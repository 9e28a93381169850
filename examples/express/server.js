// The back end of a portal: it knows who is logged in, and asks the broker for that person's token.
import { randomUUID } from "node:crypto";
import express from "express";

const { BROKER_URL = "http://127.0.0.1:8080", BROKER_KEY, PORT = "3000" } = process.env;
if (!BROKER_KEY) throw new Error("Set BROKER_KEY to a key that `qlik-token-broker api-key new` made.");

const app = express();
app.disable("etag"); // a digest of a token has no place in a header
app.disable("x-powered-by");
app.use(express.json());

// Browsers send the cookie along whatever page asks. A page of another origin cannot set this header.
app.use((req, res, next) => {
  if (req.method === "POST" && !req.get("X-Portal-Request")) return res.sendStatus(403);
  next();
});

// ---- Stands for the login that your portal has: no password, sessions in memory. -----------------
const sessions = new Map();
const cookie = { httpOnly: true, sameSite: "lax", secure: process.env.NODE_ENV === "production" };
const sessionId = (req) => /(?:^|;\s*)portal_sid=([\w-]+)/.exec(req.get("Cookie") ?? "")?.[1];

app.post("/login", (req, res) => {
  const id = randomUUID();
  sessions.set(id, String(req.body?.user));
  res.cookie("portal_sid", id, cookie).sendStatus(204);
});

app.use((req, res, next) => {
  req.user = sessions.get(sessionId(req));
  if (!req.user) return res.sendStatus(401); // the page sends the person to the login
  next();
});
// ---------------------------------------------------------------------------------------------------

// The user always comes from the session, never from the request.
const lookup = (req) => ({ field: "subject", value: `auth0|${req.user}` });

const askBroker = (path, body) =>
  fetch(`${BROKER_URL}${path}`, {
    method: "POST",
    headers: {
      Authorization: `Bearer ${BROKER_KEY}`,
      "Content-Type": "application/json",
      Accept: "text/plain",
    },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(15_000), // the broker itself gives up after 10 s
  });

/** Answers the bare token, which is what the page's getAccessToken has to resolve to. */
app.post("/access-token", async (req, res) => {
  res.set("Cache-Control", "no-store");
  const answer = await askBroker("/session-token", { user_lookup: lookup(req) }).catch(() => null);
  if (answer?.ok) return res.type("text/plain").send(await answer.text());

  const problem = (await answer?.json().catch(() => null)) ?? { code: "broker_unreachable" };
  console.error(`no token: ${problem.code}, broker request ${problem.request_id ?? "-"}`);
  // A 401 of the broker speaks of our key: the page must not take it for its own session's end.
  const wait = answer ? answer.headers.get("Retry-After") : "5";
  if (wait) return res.status(503).set("Retry-After", wait).json({ code: problem.code });
  const aboutUser = problem.code.startsWith("user_");
  res.status(aboutUser ? 403 : 500).json({ code: aboutUser ? problem.code : "internal" });
});

/** Ends the session here, and at the broker the user's cached tokens. */
app.post("/logout", async (req, res) => {
  sessions.delete(sessionId(req));
  const answer = await askBroker("/logout", { user_lookup: lookup(req) }).catch(() => null);
  if (!answer?.ok) console.error(`the broker did not log out: ${answer?.status ?? "unreachable"}`);
  res.clearCookie("portal_sid", cookie).sendStatus(204);
});

app.listen(Number(PORT), "127.0.0.1", (error) => {
  if (error) throw error;
  console.log(`The portal listens on http://127.0.0.1:${PORT}`);
});
