// Stands for the portal: whoever gives a name is that person. The broker asks it, too: GET /whoami.
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { text } from "node:stream/consumers";

const login = readFileSync("login.html");
const sessions = new Map();

async function answer(request, response, next) {
  const id = /portal_sid=([\w-]+)/.exec(request.headers.cookie)?.[1];
  const user = sessions.get(id);
  response.setHeader("Cache-Control", "no-store");

  switch (`${request.method} ${request.url}`) {
    case "GET /":
      if (user) return next(); // the page
      return response.setHeader("Content-Type", "text/html").end(login);
    case "POST /login": {
      const id = randomUUID();
      sessions.set(id, new URLSearchParams(await text(request)).get("user"));
      const cookie = `portal_sid=${id}; Path=/; HttpOnly; SameSite=Lax`;
      return response.writeHead(303, { Location: "/", "Set-Cookie": cookie }).end();
    }
    case "GET /whoami":
      if (!user) return response.writeHead(401).end();
      return response.setHeader("Content-Type", "application/json").end(JSON.stringify({ sub: user }));
    case "POST /logout":
      sessions.delete(id);
      return response.writeHead(204).end();
    default:
      return next();
  }
}

export const portal = () => ({
  name: "portal",
  configureServer: ({ middlewares }) => void middlewares.use(answer),
  configurePreviewServer: ({ middlewares }) => void middlewares.use(answer),
});
