// Stands for the portal: whoever gives a name is that person, and the page gets a JWT that says so.
import { createHmac, randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import http from "node:http";
import { text } from "node:stream/consumers";

const { PORTAL_SECRET, PORT, ...env } = process.env;
const login = readFileSync("login.html");
const page = readFileSync("index.html", "utf8").replace(/%(\w+)%/g, (_, name) => env[name]);
const sessions = new Map();

/** For the next minutes; a real portal signs with a private key. */
function jwt(sub) {
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: "https://portal.example.com", aud: "qlik-token-broker", sub, iat: now, exp: now + 300 };
  const parts = [{ alg: "HS256", typ: "JWT" }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url"));
  const signed = parts.join(".");
  return `${signed}.${createHmac("sha256", PORTAL_SECRET).update(signed).digest("base64url")}`;
}

http.createServer(async (request, response) => {
  const id = /portal_id=([\w-]+)/.exec(request.headers.cookie)?.[1];
  const user = sessions.get(id);
  const answer = (status, headers, body) => response.writeHead(status, { "Cache-Control": "no-store", ...headers }).end(body);

  switch (`${request.method} ${request.url}`) {
    case "GET /":
      return answer(200, { "Content-Type": "text/html" }, user ? page : login);
    case "POST /login": {
      const id = randomUUID();
      sessions.set(id, new URLSearchParams(await text(request)).get("user"));
      return answer(303, { Location: "/", "Set-Cookie": `portal_id=${id}; Path=/; HttpOnly; SameSite=Lax` });
    }
    case "POST /jwt":
      return user ? answer(200, { "Content-Type": "text/plain" }, jwt(user)) : answer(401);
    case "POST /logout":
      sessions.delete(id);
      return answer(204);
    default:
      return answer(404);
  }
}).listen(Number(PORT), "127.0.0.1", () => console.log(`The portal listens on http://localhost:${PORT}`));
