// What portals run today, for `scripts/bench`: the back end of Qlik's guide to impersonation tokens
// (https://qlik.dev/authenticate/oauth/implement-oauth-impersonation), and the same with a cache.
//
// It does less than the guide: no login, no session store, no line on the console per token. The
// user comes with the request, as for the broker.
import express from "express";
import { auth as qlikAuth } from "@qlik/api";

const { PORT, QLIK_HOST, CACHE } = process.env;
const CACHED_FOR = 5 * 3600 * 1000; // @qlik/api tells no end of a token; a tenant's live for six hours

const qlikConfig = { authType: "oauth2", host: QLIK_HOST, clientId: "bench", clientSecret: "bench" };
qlikAuth.setDefaultHostConfig(qlikConfig);

const mint = (subject) =>
  qlikAuth.getAccessToken({ hostConfig: { ...qlikConfig, scope: "user_default", subject, noCache: true } });

const cache = new Map();
async function cached(subject) {
  const known = cache.get(subject);
  if (known && Date.now() < known.until) return known.token;
  const token = await mint(subject);
  cache.set(subject, { token, until: Date.now() + CACHED_FOR });
  return token;
}

const tokenOf = CACHE === "True" ? cached : mint;

const app = express();
app.post("/session-token", express.json(), async (req, res) => {
  if (!req.get("Authorization")) return res.status(401).send("No access");
  try {
    res.send(await tokenOf(req.body.user_lookup.value));
  } catch (error) {
    console.error(error);
    res.status(401).send("No access");
  }
});
app.listen(Number(PORT), "127.0.0.1");
