// The server of all pages, of every host name; http and https on one port, so that two origins can
// differ in nothing but the scheme. It is also the portal that logs in and knows who is logged in.

import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import net from "node:net";
import { join } from "node:path";
import { scratch } from "./program.js";

const TLS_HANDSHAKE = 22;
const BLANK = "<!doctype html><title>a page</title><link rel=icon href=data:,>";

export async function pages() {
  const shown = new Map([["/", BLANK]]);
  const people = new Map();
  let asked = 0;

  function answer(request, response) {
    const { pathname, searchParams } = new URL(request.url, "http://any");
    if (pathname === "/login") {
      response.writeHead(200, { "set-cookie": searchParams.getAll("cookie"), "content-type": "text/html" });
      return response.end(BLANK);
    }
    if (pathname === "/whoami") {
      asked += 1;
      const person = people.get(request.headers.cookie);
      response.writeHead(person ? 200 : 401, { "content-type": "application/json" });
      return response.end(JSON.stringify(person ?? {}));
    }
    const found = shown.get(pathname);
    const type = pathname.endsWith(".js") ? "text/javascript" : "text/html";
    response.writeHead(found ? 200 : 404, { "content-type": type });
    response.end(found);
  }

  const plain = http.createServer(answer);
  const secure = https.createServer(certificate(), answer);
  const server = net.createServer((socket) => {
    socket.on("error", () => socket.destroy());
    socket.once("data", (first) => {
      socket.pause();
      socket.unshift(first);
      (first[0] === TLS_HANDSHAKE ? secure : plain).emit("connection", socket);
      process.nextTick(() => socket.resume());
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");

  return {
    port: server.address().port,
    /** Serves `html` on every host; its path. */
    page(html, path = `/page-${shown.size}`) {
      shown.set(path, path.endsWith(".js") ? html : BLANK + html);
      return path;
    },
    /** What the portal says to this cookie at `/whoami`. */
    loggedIn: (cookie, claims) => people.set(cookie, claims),
    /** How often it was asked who is logged in. */
    asked: () => asked,
    stop() {
      plain.closeAllConnections();
      secure.closeAllConnections();
      server.close();
    },
  };
}

/** Of nobody and for everybody: the browser is told not to mind. */
function certificate() {
  const [key, cert] = [join(scratch, "key.pem"), join(scratch, "cert.pem")];
  const self = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"];
  execFileSync("openssl", [...self, "-subj", "/CN=localhost", "-keyout", key, "-out", cert], { stdio: "pipe" });
  return { key: readFileSync(key), cert: readFileSync(cert) };
}
