// The back end of a portal. It knows who is logged in, and it alone talks to the broker.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import express from "express";
import session from "express-session";

const { BROKER_URL, BROKER_KEY, SESSION_SECRET, QLIK_HOST, QLIK_CLIENT_ID, PORT } = process.env;

const read = (file) => readFileSync(new URL(file, import.meta.url), "utf8");
const login = read("login.html");
const portal = read("portal.html").replace("%QLIK_HOST%", QLIK_HOST).replace("%QLIK_CLIENT_ID%", QLIK_CLIENT_ID);
const client = fileURLToPath(import.meta.resolve("qlik-token-broker-client/dist/client.js"));

// Scripts of the page can read its token: let in as few as you can.
const policy = [
  "default-src 'self'",
  `script-src 'self' https://cdn.jsdelivr.net ${QLIK_HOST}`,
  `connect-src 'self' ${QLIK_HOST} ${QLIK_HOST.replace("http", "ws")}`,
  "style-src 'self' 'unsafe-inline'",
  `img-src 'self' data: blob: ${QLIK_HOST}`,
  "frame-ancestors 'none'",
].join("; ");

const app = express();
app.disable("etag"); // a digest of a token has no place in a header
app.disable("x-powered-by");
app.set("trust proxy", "loopback"); // whoever speaks https in front of it
app.use((req, res, next) => {
  res.set({ "Content-Security-Policy": policy, "Cache-Control": "no-store" });
  next();
});
app.use(session({ // and a store of your own: this one is for development
  name: "portal_sid", secret: SESSION_SECRET, resave: false, saveUninitialized: false,
  cookie: { httpOnly: true, sameSite: "lax", secure: "auto" },
}));

// ---- Stands for the login that your portal has: whoever gives a name is that person. --------------
app.post("/login", express.urlencoded({ extended: false }), (req, res, next) => {
  req.session.regenerate((error) => { // a new id: somebody may have planted the one before
    if (error) return next(error);
    req.session.user = String(req.body.user);
    req.session.save((error) => (error ? next(error) : res.redirect("/")));
  });
});
// ---------------------------------------------------------------------------------------------------

app.get("/", (req, res) => res.type("html").send(req.session.user ? portal : login));
app.get("/portal.js", (req, res) => res.sendFile(fileURLToPath(new URL("portal.js", import.meta.url))));
app.get("/client.js", (req, res) => res.sendFile(client));

// For the page this is the broker. The user comes from the session, never from the request.
app.use("/qlik", (req, res, next) => {
  // The browser sends the cookie along whatever page asks; one of another origin cannot set this header.
  if (!req.get("X-Broker-Request")) return res.status(403).json({ code: "csrf_rejected" });
  if (!req.session.user) return res.status(401).json({ code: "session_missing", detail: "Nobody is logged in." });
  req.lookup = { field: "subject", value: `auth0|${req.session.user}` }; // as the tenant knows the person
  next();
});

app.post("/qlik/session-token", express.json(), (req, res) =>
  relay(res, "/session-token", { user_lookup: req.lookup, rejected: req.body?.rejected }),
);

app.post("/qlik/logout", (req, res, next) => {
  // First here, so that no page gets a token in between.
  req.session.destroy((error) => (error ? next(error) : relay(res, "/logout", { user_lookup: req.lookup })));
});

async function relay(res, path, body) {
  const answer = await fetch(`${BROKER_URL}${path}`, {
    method: "POST",
    headers: { Authorization: `Bearer ${BROKER_KEY}`, "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(15_000), // the broker itself gives up after 10 s
  }).catch((error) => console.error(`${path}: no broker: ${error.cause?.message ?? error.message}`));
  if (answer && !answer.ok) console.error(`${path}: ${answer.status}, request ${answer.headers.get("X-Request-Id")}`);
  // A 401 speaks of our key: the page must not take it for the end of its own session.
  if (!answer || answer.status === 401) return res.status(502).json({ code: "broker_unavailable" });
  for (const name of ["Content-Type", "Retry-After", "X-Request-Id"]) {
    if (answer.headers.has(name)) res.set(name, answer.headers.get(name));
  }
  res.status(answer.status).send(await answer.text());
}

app.listen(Number(PORT), "127.0.0.1", (error) => {
  if (error) throw error;
  console.log(`The portal listens on http://localhost:${PORT}`);
});
