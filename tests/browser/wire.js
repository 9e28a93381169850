// The wire between Chromium and a broker: a relay that writes down what went over it, so that a test
// knows what the browser really sent, whatever the page was allowed to see.

import { EventEmitter, once } from "node:events";
import http from "node:http";

/** A relay to the port that `target()` names at the time. */
export async function wire(target) {
  const exchanges = [];
  const answered = new EventEmitter().setMaxListeners(0);

  const server = http.createServer((request, response) => {
    const { method, url, headers } = request;
    const exchange = { method, url: new URL(url, "http://broker"), headers };
    exchanges.push(exchange);
    const onward = { host: "127.0.0.1", port: target(), method, path: url, headers: request.rawHeaders };
    const relayed = http.request(onward, async (answer) => {
      const text = (await answer.toArray()).join("");
      Object.assign(exchange, { status: answer.statusCode, answer: answer.headers, text });
      response.writeHead(answer.statusCode, answer.rawHeaders);
      response.end(text);
      answered.emit("one");
    });
    relayed.on("error", () => request.socket.destroy());
    request.pipe(relayed);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");

  return {
    port: server.address().port,
    exchanges,
    /** Forgets what went over it. */
    clear: () => exchanges.splice(0),
    /** The requests that were answered, preflights aside. */
    requests: () => exchanges.filter(({ method, status }) => method !== "OPTIONS" && status),
    preflights: () => exchanges.filter(({ method }) => method === "OPTIONS"),
    /** Waits until an exchange that `matches` has been answered. */
    async saw(matches, what = "the request") {
      const late = AbortSignal.timeout(10_000);
      for (;;) {
        const exchange = exchanges.find((each) => each.status && matches(each));
        if (exchange) return exchange;
        await once(answered, "one", { signal: late }).catch(() => {
          throw new Error(`${what} did not come`);
        });
      }
    },
    stop() {
      server.closeAllConnections();
      server.close();
    },
  };
}
