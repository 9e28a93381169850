// A broker that answers what a test has written down, in a page whose time stands still.

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock } from "node:test";

// The suite runs once more with what the build made of it.
export const CLIENT = process.env.CLIENT ?? "client.js";
export const { createTokenSource, TokenError } = await import(`../${CLIENT}`);


export const BROKER = "https://broker.example.com";
export const HOUR = 3_600_000;

const realImmediate = setImmediate;
/** Until all promises that can settle have settled. */
export const settled = () => new Promise((resolve) => realImmediate(resolve));

let page;
let sources;
/** The timers that are set. */
export const timers = new Set();

beforeEach(() => {
  mock.timers.enable({ apis: ["setTimeout", "Date"], now: Date.parse("2026-11-23T09:00:00Z") });
  mock.method(Math, "random", () => 0);
  timers.clear();
  const { setTimeout, clearTimeout } = globalThis;
  globalThis.setTimeout = (action, wait, ...rest) => {
    const timer = setTimeout(() => (timers.delete(timer), action(...rest)), wait);
    timers.add(timer);
    return timer;
  };
  globalThis.clearTimeout = (timer) => (timers.delete(timer), clearTimeout(timer));
  page = new EventTarget();
  sources = new AbortController();
  globalThis.addEventListener = page.addEventListener.bind(page);
});
afterEach(() => {
  sources.abort();
  delete globalThis.addEventListener;
  mock.reset();
  mock.timers.reset();
});

/** Jitter: 0 is its one end, just below 1 the other. */
export const random = (value) => mock.method(Math, "random", () => value);

/** Time passes, with everything that happens meanwhile. */
export async function pass(milliseconds) {
  await settled();
  for (let left = milliseconds; left > 0; left -= 1000) {
    mock.timers.tick(Math.min(left, 1000));
    await settled();
  }
}

/** The laptop's lid is closed: the clock goes on, timers do not. */
export const sleep = (milliseconds) => mock.timers.setTime(Date.now() + milliseconds);

/** The browser says so. */
export async function happens(type, fields = {}) {
  page.dispatchEvent(Object.assign(new Event(type), fields));
  await settled();
}

export const token = (name, life = 21_600, more = {}) =>
  json(200, {
    access_token: `token-${name}`,
    token_type: "Bearer",
    expires_in: life,
    expires_at: "1999-01-01T00:00:00.000Z", // of another clock
    scope: "user_default",
    tenant_url: "https://acme.eu.qlikcloud.com",
    token_id: name,
    ...more,
  });

export const problem = (status, code, headers = {}) =>
  json(status, { type: `/problems/${code}`, title: "A title", status, code, detail: `About ${code}.`, request_id: "r-1" }, headers);

export const json = (status, body, headers = {}) =>
  answer(status, JSON.stringify(body), { "content-type": "application/json", "x-request-id": "r-1", ...headers });

export const answer =
  (status, body = null, headers = {}) =>
  () =>
    new Response(body, { status, headers });

/** No network, or nothing that the browser lets the page read. */
export const unreachable = () => Promise.reject(new TypeError("Failed to fetch"));

/** No answer until the request is given up. */
export const hangs = ({ signal }) =>
  new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));

/** An answer that the test gives later, also after nobody waits for it any more: `later.answer(token("a"))`. */
export function later() {
  let resolve;
  const promise = new Promise((settle) => (resolve = settle));
  return Object.assign(() => promise, { answer: async (made) => (resolve(made()), await settled()) });
}

/**
 * A source whose broker gives these answers in turn, with what it was asked (`calls`, and `asked` for the
 * bodies) and what the page was told.
 */
export function source(answers, options = {}) {
  const calls = [];
  const asked = [];
  const errors = [];
  const ends = [];
  const fetch = async (url, init) => {
    const body = init.body === undefined ? undefined : JSON.parse(init.body);
    asked.push(body);
    calls.push({ ...init, url, headers: new Headers(init.headers), body, at: Date.now() });
    const next = answers.shift();
    assert.ok(next || calls.length < 100, "the broker is asked in a loop");
    return (next ?? hangs)(init);
  };
  const made = createTokenSource({
    broker: BROKER,
    session: "session-of-ann",
    signal: sources.signal,
    onError: (error) => errors.push(error),
    onSessionEnd: (error) => ends.push(error),
    fetch,
    ...options,
  });
  return { ...made, calls, asked, errors, ends };
}

/** How a promise stands now. */
export async function state(promise) {
  let now = "waits";
  promise.then(
    () => (now = "has its value"),
    () => (now = "rejected"),
  );
  await settled();
  return now;
}
