/**
 * Gets access tokens for Qlik Cloud from a qlik-token-broker, for the page that this runs in. What
 * the options and results mean is in client.d.ts.
 *
 * A source has one token, at most one flight (the way to the next token, with all its retries; all
 * callers share it) and at most one timer for them (for the flight's next try, or for the next flight).
 * Its life is an AbortController: a logout, the session's end and the page's own signal abort it, and
 * all else follows from that.
 */

const MODES = ["omit", "same-origin", "include"];
const SECOND = 1000;
const HALF_MINUTE = 30_000;
const TWO_MINUTES = 120_000;
const DAY = 86_400_000;

/** Why there is no token. Its texts hold neither tokens nor sessions. */
export class TokenError extends Error {
  name = "TokenError";

  constructor(code, detail, more) {
    super(`${code}: ${detail}`);
    Object.assign(this, { code, detail }, more);
  }
}

/** @type {typeof import("./client.d.ts").createTokenSource} */
export function createTokenSource({
  broker,
  session,
  credentials = "omit",
  onSessionEnd,
  onError,
  fetch = globalThis.fetch,
  signal,
} = {}) {
  check(/^https?:\/\/[^\s?#@]+$/i.test(broker), "broker", "an http(s) URL");
  check(MODES.includes(credentials), "credentials", `one of ${MODES}`);
  check(
    session ? text(session) || isFunction(session) : credentials !== "omit",
    "session",
    'a string or a function, or credentials "include"',
  );
  for (const [name, value] of Object.entries({ onSessionEnd, onError, fetch })) {
    check(!value || isFunction(value), name, "a function");
  }

  const life = new AbortController();
  const whileAlive = { signal: life.signal };

  let token; // the last one that came
  let given; // the id of the one that getAccessToken gave out: a further call rejects it
  let rejected; // the id of the one that the tenant answered 401 to, until the flight ends
  let flight; // the promise of the next token
  let request; // the AbortController of the request on the wire
  let timer;
  let retryNow; // ends the wait for the next try, unless the broker asked for that wait

  life.signal.onabort = () => {
    token = undefined;
    clearTimeout(timer);
    request?.abort();
  };

  const end = () => life.abort(signal.reason);
  signal?.addEventListener("abort", end, whileAlive);
  if (signal?.aborted) end();

  // Timers are late after a sleep, and when the page comes out of the back/forward cache.
  for (const event of ["online", "pageshow"]) {
    globalThis.addEventListener?.(
      event,
      () => {
        retryNow?.();
        if (token && !held()) renew();
      },
      whileAlive,
    );
  }

  const throwIfEnded = () => life.signal.throwIfAborted();

  /** The token while it lives, by the wall clock. */
  const held = () => (token?.expiresAt > Date.now() ? token : undefined);

  /** The next token. */
  function renew() {
    if (!flight) {
      clearTimeout(timer);
      flight = until(obtain(), life.signal).finally(() => {
        flight = rejected = undefined;
      });
      flight.catch(() => {}); // for a renewal by timer, which nobody waits for
    }
    return flight;
  }

  /**
   * Asks until a token comes. When its callback rejects once, @qlik/api keeps that failure and never
   * calls again: every embed stays blank until a reload. So this rejects only if waiting cannot help.
   */
  async function obtain() {
    let tooSoon = false;
    let pause = SECOND;
    for (;;) {
      const named = tooSoon ? undefined : rejected;
      const next = await post("/session-token", 200, named && { rejected: named }).catch((error) => error);
      throwIfEnded(); // a late answer must not bring a token back
      if (next.accessToken) {
        if (next.tokenId === rejected && !named && !tooSoon) continue; // rejected while it was on its way
        token = next;
        scheduleRenewal();
        return token;
      }
      if (named && next.code === "renewal_too_soon") {
        tooSoon = true; // the broker looked at it a moment ago: what it has is what there is
        continue;
      }
      const sessionEnded = next.status === 401;
      // A 403 of the broker stays; one of a proxy on the way may pass.
      if (sessionEnded || (next.status === 403 && next.code !== "http_403")) {
        if (sessionEnded) life.abort(next);
        tell(sessionEnded ? onSessionEnd : onError, next);
        throw next;
      }
      await waitAfter(next, pause);
      pause = Math.min(2 * pause, HALF_MINUTE);
    }
  }

  async function waitAfter(error, pause) {
    const asked = error.retryAfter * SECOND || 0;
    // Spread, because many pages fail together; by a quarter, because the broker asks for 45 s at
    // most and keeps a place in its queue for 60 s. Two minutes at most: a proxy says an hour.
    const wait = Math.min(Math.max(pause, asked) * (1 + Math.random() / 4), TWO_MINUTES);
    const over = new Promise((resolve) => {
      timer = later(resolve, wait);
      retryNow = asked ? undefined : resolve;
    });
    error.retryAt = Date.now() + wait;
    tell(onError, error);
    await over;
    clearTimeout(timer);
  }

  /**
   * One or two minutes before the end, so that the call after the tenant's 401 is answered from
   * memory. At that age the broker may give the same token once more while it renews it: then again
   * after half of what is left, but not faster and faster.
   */
  function scheduleRenewal() {
    const left = Math.min(token.expiresAt - Date.now(), DAY); // a month would overflow the timer
    const lead = Math.min(TWO_MINUTES, left / 2) * (1 - Math.random() / 2);
    timer = later(renew, Math.max(left - lead, 10_000));
  }

  /** One request, from the session to the token or the 204. Fails with a TokenError. */
  async function post(path, expected, body) {
    const current = (request = new AbortController());
    // A broker answers within 10 s, unless it is told otherwise: this is for dead connections.
    const limit = later(() => current.abort(new TokenError("timeout", "No answer in 30 s")), HALF_MINUTE);
    try {
      return await until(exchange(path, expected, body, current.signal), current.signal);
    } catch (error) {
      if (error instanceof TokenError) throw error;
      throw new TokenError(
        "network",
        "The broker is out of reach, redirects, or does not list this origin",
      );
    } finally {
      clearTimeout(limit);
    }
  }

  async function exchange(path, expected, body, signal) {
    let bearer = session;
    try {
      if (isFunction(session)) bearer = await session();
      // A login page, say, to which the portal redirected.
      if (/[^!-~]/.test(bearer)) throw new TypeError("not a token");
    } catch (cause) {
      throw new TokenError("session_failed", "session() failed", { cause });
    }
    if (session && !bearer) throw new TokenError("session_missing", "session() gave none", { status: 401 });
    signal.throwIfAborted();

    const sentAt = Date.now();
    const response = await fetch(`${broker}`.replace(/\/*$/, path), {
      method: "POST",
      headers: {
        Accept: "application/json",
        "X-Broker-Request": "1", // without it the broker takes no cookie
        ...(bearer && { Authorization: `Bearer ${bearer}` }),
        ...(body && { "Content-Type": "application/json" }),
      },
      body: body && JSON.stringify(body),
      credentials,
      signal,
      redirect: "error", // brokers send none; a login page is not to be fetched with each try
      keepalive: expected === 204, // who logs out may leave the page at once
    });
    const answer = (await response.json().catch(() => {})) ?? {};

    const { status, headers } = response;
    const facts = {
      status,
      requestId: headers.get("X-Request-Id") || undefined,
      retryAfter: Number(headers.get("Retry-After")),
    };
    if (status !== expected) {
      throw new TokenError(text(answer.code) ?? `http_${status}`, text(answer.detail) ?? "Not from the broker", facts);
    }
    if (status === 204) return;

    const token = {
      accessToken: text(answer.access_token),
      // Not by `expires_at`: the page's clock may be wrong, and then it is wrong both times.
      expiresAt: sentAt + answer.expires_in * SECOND,
      scope: answer.scope,
      tenantUrl: answer.tenant_url,
      tokenId: text(answer.token_id),
    };
    if (token.accessToken && token.tokenId && token.expiresAt > Date.now()) return token;
    throw new TokenError("malformed", "No token that lives", facts);
  }

  async function giveOut() {
    throwIfEnded();
    let next = held();
    if (next && next.tokenId === given) {
      // qlik-embed and @qlik/api keep what they get, and call again only after a 401.
      rejected = given;
      next = undefined;
    }
    next ??= await renew();
    // Every call in flight gets a 401 of its own, and each of them calls again: those that come a
    // moment after the next token was given mean the one before.
    if (given) later(() => (given = next.tokenId), 3000);
    else given = next.tokenId;
    return next.accessToken;
  }

  return {
    // Who ends the source itself is not answered with a rejection, which would end other sources too.
    getAccessToken: () =>
      giveOut().catch((error) => {
        if (life.signal.aborted && !error?.status) return "";
        throw error;
      }),

    async getToken({ signal } = {}) {
      throwIfEnded();
      signal?.throwIfAborted();
      return held() ?? (signal ? until(renew(), signal) : renew());
    },

    async logout() {
      life.abort(new TokenError("logged_out", "Logged out"));
      await post("/logout", 204);
    },
  };
}

function check(fine, option, wanted) {
  if (!fine) throw new TypeError(`createTokenSource: ${option} must be ${wanted}`);
}

const isFunction = (value) => typeof value === "function";

/** A string that is not empty, or undefined. */
const text = (value) => (typeof value === "string" && value ? value : undefined);

/** What `promise` gives, unless `signal` aborts first. */
const until = (promise, signal) =>
  new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    signal.addEventListener("abort", stop);
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });

/** A timer; in Node it keeps no process alive. */
function later(action, wait) {
  const timer = setTimeout(action, wait);
  timer.unref?.();
  return timer;
}

/** Calls back; what the page throws there changes nothing here. */
async function tell(callback, error) {
  try {
    await callback?.(error);
  } catch (thrown) {
    globalThis.reportError?.(thrown);
  }
}
