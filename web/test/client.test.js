import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mock, test } from "node:test";
import { promisify } from "node:util";
import {
  answer, BROKER, CLIENT, createTokenSource, happens, hangs, HOUR, json, later, pass, problem, random, settled, sleep, source,
  state, timers, token, TokenError, unreachable,
} from "./harness.js";

const TOO_SOON = problem(429, "renewal_too_soon", { "retry-after": "20" });

// ---- The request

test("a request shows the session as a bearer, and nothing else", async () => {
  const { getToken, calls } = source([token("a")]);
  await getToken();
  const [{ url, method, headers, body, credentials, keepalive, redirect, signal }] = calls;
  assert.equal(url, `${BROKER}/session-token`);
  assert.equal(method, "POST");
  assert.deepEqual(Object.fromEntries(headers), {
    accept: "application/json",
    authorization: "Bearer session-of-ann",
    "x-broker-request": "1",
  });
  assert.deepEqual({ body, credentials, keepalive }, { body: undefined, credentials: "omit", keepalive: false });
  assert.equal(redirect, "error");
  assert.ok(signal instanceof AbortSignal);
});

test("a session in a cookie is sent by the browser", async () => {
  const { getToken, calls } = source([token("a")], { session: undefined, credentials: "include" });
  await getToken();
  assert.equal(calls[0].credentials, "include");
  assert.equal(calls[0].headers.get("authorization"), null);
  assert.equal(calls[0].headers.get("x-broker-request"), "1");
});

for (const [broker, url] of [
  ["https://example.com/broker//", "https://example.com/broker/session-token"],
  [new URL("http://localhost:8080"), "http://localhost:8080/session-token"],
]) {
  test(`the broker may be at ${broker}`, async () => {
    const { getToken, calls } = source([token("a")], { broker });
    await getToken();
    assert.equal(calls[0].url, url);
  });
}

test("the browser's own fetch is the default", async () => {
  const fetch = mock.method(globalThis, "fetch", async () => token("a")());
  const { getToken } = createTokenSource({ broker: BROKER, session: "s" });
  assert.equal((await getToken()).tokenId, "a");
  assert.equal(fetch.mock.callCount(), 1);
});

for (const [kind, answers] of [
  ["", ["first", "second"]],
  [" asynchronously", [Promise.resolve("first"), Promise.resolve("second")]],
]) {
  test(`a session function is asked${kind} for every request`, async () => {
    const { getToken, calls } = source([answer(503), token("a")], { session: () => answers.shift() });
    const waiting = getToken();
    await pass(1000);
    await waiting;
    assert.deepEqual(calls.map(({ headers }) => headers.get("authorization")), ["Bearer first", "Bearer second"]);
  });
}

// ---- Options

for (const [option, options] of [
  ["broker", undefined],
  ["broker", {}],
  ["broker", { broker: "/broker" }],
  ["broker", { broker: "broker.example.com" }],
  ["broker", { broker: "ftp://broker.example.com" }],
  ["broker", { broker: "https://broker.example.com?tenant=acme" }],
  ["broker", { broker: "https://ann:secret@broker.example.com" }],
  ["session", { broker: BROKER }],
  ["session", { broker: BROKER, session: "" }],
  ["session", { broker: BROKER, session: null, credentials: "omit" }],
  ["session", { broker: BROKER, session: 42, credentials: "include" }],
  ["session", { broker: BROKER, session: Promise.resolve("s") }],
  ["credentials", { broker: BROKER, session: "s", credentials: true }],
  ["credentials", { broker: BROKER, credentials: "always" }],
  ["onSessionEnd", { broker: BROKER, session: "s", onSessionEnd: "/login" }],
  ["onError", { broker: BROKER, session: "s", onError: {} }],
  ["fetch", { broker: BROKER, session: "s", fetch: "fetch" }],
]) {
  test(`options are refused at once: ${option} in ${JSON.stringify(options)}`, () => {
    assert.throws(
      () => createTokenSource(options),
      (error) => error instanceof TypeError && error.message.startsWith(`createTokenSource: ${option} must be `),
    );
  });
}

test("the error names the fix", () => {
  const message = (options) => {
    try {
      createTokenSource(options);
    } catch (error) {
      return error.message;
    }
  };
  assert.equal(message({}), 'createTokenSource: broker must be an http(s) URL');
  assert.match(message({ broker: BROKER }), /a function, or credentials "include"$/);
  assert.match(message({ broker: BROKER, credentials: 1 }), /one of omit,same-origin,include$/);
});

// ---- The token

test("a token is what the broker answered, with an end by the page's clock", async () => {
  const { getToken } = source([token("a", 3600)]);
  const start = Date.now();
  const got = await getToken();
  assert.deepEqual({ ...got }, {
    accessToken: "token-a",
    expiresAt: start + HOUR,
    scope: "user_default",
    tenantUrl: "https://acme.eu.qlikcloud.com",
    tokenId: "a",
  });
});

test("a token's life is counted from before the request was sent, and after the session was there", async () => {
  const slow = later();
  const { getToken } = source([slow], { session: () => new Promise((resolve) => setTimeout(resolve, 3000, "s")) });
  const start = Date.now();
  const waiting = getToken();
  await pass(8000);
  await slow.answer(token("a", 60));
  assert.equal((await waiting).expiresAt, start + 3000 + 60_000);
});

test("a token is kept in memory, and in no storage", async () => {
  const storage = new Proxy({}, { get: () => assert.fail("read"), set: () => assert.fail("written") });
  const names = ["localStorage", "sessionStorage", "indexedDB", "caches", "document"];
  const original = names.map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)]);
  for (const name of names) Object.defineProperty(globalThis, name, { value: storage, configurable: true });
  try {
    const { getToken, getAccessToken, calls } = source([token("a")]);
    const first = await getToken();
    assert.equal(await getToken(), first);
    assert.equal(await getAccessToken(), "token-a");
    assert.equal(calls.length, 1);
  } finally {
    for (const [name, before] of original) {
      delete globalThis[name];
      if (before) Object.defineProperty(globalThis, name, before);
    }
  }
});

test("functions may be used detached", async () => {
  const { getToken, getAccessToken, logout } = source([token("a"), answer(204)]);
  assert.equal(await getAccessToken.call(undefined), "token-a");
  assert.equal((await getToken.call(null)).tokenId, "a");
  await logout.call({});
});

test("any number of callers share one request", async () => {
  const slow = later();
  const { getToken, getAccessToken, calls } = source([slow]);
  const waiting = Array.from({ length: 50 }, (_, i) => (i % 2 ? getToken().then((got) => got.accessToken) : getAccessToken()));
  await slow.answer(token("a"));
  assert.deepEqual(new Set(await Promise.all(waiting)), new Set(["token-a"]));
  assert.deepEqual(calls.map(({ body }) => body), [undefined]);
});

// ---- Renewal

test("a token is renewed by timer before it ends, and given from memory", async () => {
  random(0.999);
  const { getAccessToken, calls, asked } = source([token("a"), token("b")]);
  await getAccessToken();
  await pass(6 * HOUR - 62_000);
  assert.equal(calls.length, 1);
  await pass(4000);
  assert.equal(calls.length, 2);
  assert.equal(await getAccessToken(), "token-b");
  assert.deepEqual(asked, [undefined, undefined], "nothing was rejected");
});

test("a thousand pages do not renew in the same second", async () => {
  const early = [];
  for (const at of [0, 0.5, 0.999]) {
    random(at);
    const { getToken, calls } = source([token("a", 3600), token("b", 3600)]);
    const { expiresAt } = await getToken();
    await pass(HOUR);
    early.push(Math.round((expiresAt - calls[1].at) / 1000));
  }
  assert.deepEqual(early, [120, 90, 60]);
});

test("a broker that gives the same token again is asked a few times, not in a loop", async () => {
  let end;
  const same = () => token("a", (end - Date.now()) / 1000)();
  const { getToken, calls } = source([token("a", 3600), same, same, same, same, token("b", 3600)]);
  ({ expiresAt: end } = await getToken());
  await pass(HOUR - 1000);
  const gaps = calls.slice(1).map(({ at }, i) => Math.round((at - calls[i].at) / 1000));
  assert.deepEqual(gaps, [3480, 60, 30, 15, 10]);
});

test("short-lived tokens are renewed every ten seconds at most", async () => {
  const { getToken, calls } = source(Array.from({ length: 20 }, (_, i) => token(`${i}`, 2)));
  await getToken();
  await pass(60_000);
  assert.equal(calls.length, 7);
});

test("a token for months does not overflow the timer", async () => {
  const { getToken, calls } = source([token("a", 90 * 86_400), token("b")]);
  await getToken();
  await pass(HOUR);
  assert.equal(calls.length, 1);
  assert.equal(Date.now() < (await getToken()).expiresAt, true);
});

test("after a sleep an expired token is not given, though no timer fired", async () => {
  const { getToken, getAccessToken, calls, asked } = source([token("a"), token("b")]);
  await getAccessToken();
  sleep(7 * HOUR);
  assert.equal((await getToken()).tokenId, "b");
  assert.equal(await getAccessToken(), "token-b");
  assert.deepEqual(asked, [undefined, undefined]);
  await pass(2 * HOUR);
  assert.equal(calls.length, 2, "the first token's timer is gone");
});

for (const [type, fields] of [["online"], ["pageshow", { persisted: true }]]) {
  test(`${type} renews a token that expired meanwhile, and no other`, async () => {
    const { getToken, calls } = source([token("a"), token("b")]);
    await happens(type, fields);
    assert.equal(calls.length, 0, "nobody has asked yet");
    await getToken();
    await happens(type, fields);
    assert.equal(calls.length, 1);
    sleep(7 * HOUR);
    await happens(type, fields);
    assert.equal(calls.length, 2);
    assert.equal((await getToken()).tokenId, "b");
  });
}

test("only online and pageshow are listened to, so that the page may be kept for the way back", () => {
  const listen = mock.method(globalThis, "addEventListener");
  source([]);
  assert.deepEqual(listen.mock.calls.map(({ arguments: [type] }) => type), ["online", "pageshow"]);
});

test("a renewal that fails in the background takes no live token away, and rejects nowhere", async () => {
  const { getToken, calls, errors } = source([token("a", 3600), answer(503), problem(403, "user_disabled"), token("b")]);
  await getToken();
  await pass(HOUR - 110_000);
  assert.equal(calls.length, 3);
  assert.equal((await getToken()).tokenId, "a");
  assert.deepEqual(errors.map(({ code }) => code), ["http_503", "user_disabled"]);
  await pass(120_000);
  assert.equal((await getToken()).tokenId, "b", "whoever comes next asks again");
});

test("a source has one timer at a time, and none in the end", async () => {
  const { getToken, logout } = source([unreachable, unreachable, token("a", 3600), hangs, answer(204)]);
  const counted = [];
  const count = () => counted.push(timers.size);
  count();
  getToken(); // two tries fail; the third comes sooner than planned
  for (const step of [() => {}, () => pass(1000), () => happens("online"), () => pass(HOUR - 110_000)]) {
    await step();
    await settled();
    count();
  }
  await logout();
  count();
  assert.deepEqual(counted, [0, 1, 1, 1, 1, 0]);
});

test("a source keeps no Node process alive", async () => {
  const script = `
    import { createTokenSource } from "./${CLIENT}";
    const token = { access_token: "t", token_id: "i", expires_in: 3600, scope: "", tenant_url: "" };
    const fetches = [async () => Response.json(token), () => Promise.reject(new TypeError()), () => new Promise(() => {})];
    for (const fetch of fetches) createTokenSource({ broker: "https://b", session: "s", fetch }).getToken();
    await new Promise((resolve) => setTimeout(resolve, 50));
    console.log("done");`;
  const node = promisify(execFile)(process.execPath, ["--input-type=module", "--eval", script], {
    cwd: new URL("..", import.meta.url),
    env: { PATH: process.env.PATH },
    timeout: 10_000,
  });
  assert.equal((await node).stdout, "done\n");
});

// ---- rejected

test("a second call while the token should live says that the tenant rejects it", async () => {
  const { getAccessToken, getToken, asked } = source([token("a"), token("b"), token("c")]);
  assert.equal(await getAccessToken(), "token-a");
  assert.equal(await getAccessToken(), "token-b");
  assert.equal((await getToken()).tokenId, "b");
  await pass(10_000);
  assert.equal(await getAccessToken(), "token-c");
  assert.deepEqual(asked, [undefined, { rejected: "a" }, { rejected: "b" }]);
});

test("a call a moment after the next token was given means the one before", async () => {
  const { getAccessToken, calls, asked } = source([token("a"), token("b", 3600), token("c", 3600), token("d")]);
  await getAccessToken();
  // Each of the calls in flight got a 401, one after the other.
  for (let embeds = 0; embeds < 20; embeds++) assert.equal(await getAccessToken(), "token-b");
  assert.deepEqual(asked, [undefined, { rejected: "a" }]);

  // So it is with a token that was renewed ahead: the embeds use the old one to its end.
  await pass(HOUR);
  assert.equal(calls.length, 3);
  for (let embeds = 0; embeds < 20; embeds++) assert.equal(await getAccessToken(), "token-c");
  await pass(10_000);
  assert.equal(await getAccessToken(), "token-d");
  assert.deepEqual(asked, [undefined, { rejected: "a" }, undefined, { rejected: "c" }]);
});

test("a body has its content type", async () => {
  const { getAccessToken, calls } = source([token("a"), token("b")]);
  await getAccessToken();
  await getAccessToken();
  assert.equal(calls[1].headers.get("content-type"), "application/json");
});

test("many such calls are one request", async () => {
  const slow = later();
  const { getAccessToken, asked } = source([token("a"), slow]);
  await Promise.all([getAccessToken(), getAccessToken()]);
  const again = Promise.all(Array.from({ length: 20 }, getAccessToken));
  await slow.answer(token("b"));
  assert.deepEqual(new Set(await again), new Set(["token-b"]));
  assert.deepEqual(asked, [undefined, { rejected: "a" }]);
});

test("getToken says nothing of the kind, and does not make the first callback a second one", async () => {
  const { getAccessToken, getToken, asked } = source([token("a"), token("b")]);
  await getToken();
  await getToken();
  assert.equal(await getAccessToken(), "token-a");
  await getToken();
  assert.deepEqual(asked, [undefined]);
  assert.equal(await getAccessToken(), "token-b");
  assert.deepEqual(asked, [undefined, { rejected: "a" }]);
});

test("the tenant accepts the token after all: the same one is given again", async () => {
  const { getAccessToken, asked } = source([token("a"), token("a"), token("b")]);
  await getAccessToken();
  assert.equal(await getAccessToken(), "token-a");
  assert.equal(await getAccessToken(), "token-b");
  assert.deepEqual(asked, [undefined, { rejected: "a" }, { rejected: "a" }]);
});

test("too soon to look at it: the broker's current token is given, at once", async () => {
  const { getAccessToken, asked, errors } = source([token("a"), TOO_SOON, token("a"), TOO_SOON, token("b")]);
  const start = Date.now();
  await getAccessToken();
  assert.equal(await getAccessToken(), "token-a");
  assert.equal(await getAccessToken(), "token-b");
  assert.equal(Date.now(), start);
  assert.deepEqual(asked, [undefined, { rejected: "a" }, undefined, { rejected: "a" }, undefined]);
  assert.deepEqual(errors, []);
});

test("callers who come while it is too soon do not make it start over", async () => {
  const slow = later();
  const { getAccessToken, asked } = source([token("a"), TOO_SOON, slow]);
  await getAccessToken();
  const waiting = [getAccessToken()];
  await settled();
  waiting.push(getAccessToken());
  await slow.answer(token("a"));
  assert.deepEqual(await Promise.all(waiting), ["token-a", "token-a"]);
  assert.deepEqual(asked, [undefined, { rejected: "a" }, undefined]);
});

test("too soon although nothing was rejected is a failure like any other", async () => {
  const { getToken, errors } = source([TOO_SOON, token("a")]);
  const waiting = getToken();
  await pass(19_000);
  assert.equal(await state(waiting), "waits");
  await pass(1000);
  assert.equal((await waiting).tokenId, "a");
  assert.equal(errors[0].code, "renewal_too_soon");
});

test("a token that is rejected while it is being renewed is not given again unseen", async () => {
  const renewal = later();
  const { getAccessToken, getToken, asked } = source([token("a", 3600), renewal, token("b")]);
  await getAccessToken();
  await pass(HOUR - 119_000);
  const waiting = getAccessToken();
  assert.equal((await getToken()).tokenId, "a", "it may be good for others");
  await renewal.answer(token("a", 100));
  assert.equal(await waiting, "token-b");
  assert.deepEqual(asked, [undefined, undefined, { rejected: "a" }]);
});

test("a rejection outlives an outage, and is forgotten with the next token", async () => {
  const { getAccessToken, asked } = source([token("a"), unreachable, answer(502), token("b"), token("c")]);
  await getAccessToken();
  const waiting = getAccessToken();
  await pass(3000);
  assert.equal(await waiting, "token-b");
  sleep(7 * HOUR);
  assert.equal(await getAccessToken(), "token-c");
  assert.deepEqual(asked, [undefined, { rejected: "a" }, { rejected: "a" }, { rejected: "a" }, undefined]);
});

// ---- Waiting

const failures = {
  "no network": [unreachable, "network"],
  "a broker that is no broker": [answer(200, "<html>"), "malformed", 200],
  "null": [json(200, null), "malformed", 200],
  "no token": [token("a", 60, { access_token: "" }), "malformed", 200],
  "no string as token": [token("a", 60, { access_token: 1 }), "malformed", 200],
  "no token_id": [token("a", 60, { token_id: undefined }), "malformed", 200],
  "no life": [token("a", 60, { expires_in: undefined }), "malformed", 200],
  "a life that is over": [token("a", 0), "malformed", 200],
  "a life in words": [token("a", "long"), "malformed", 200],
  "nothing": [answer(204), "http_204", 204],
  "a code that is none": [json(500, { code: 500, detail: {} }), "http_500", 500],
};
for (const status of [500, 502, 503, 504]) failures[`a proxy's ${status}`] = [answer(status, "<html>"), `http_${status}`, status];
for (const [code, status] of Object.entries({
  request_invalid: 400, not_found: 404, method_not_allowed: 405, body_too_large: 413, media_type: 415, rate_limited: 429,
  internal: 500, tenant_refused_client: 502, tenant_throttled: 503, session_service_unavailable: 503,
})) failures[code] = [problem(status, code), code, status];

for (const [name, [failure, code, status]] of Object.entries(failures)) {
  test(`the promise outlives ${name}`, async () => {
    const { getAccessToken, calls, errors, ends } = source([failure, token("b")]);
    const waiting = getAccessToken();
    await pass(999);
    assert.equal(await state(waiting), "waits");
    assert.equal(calls.length, 1);
    const [error] = errors;
    assert.deepEqual([error.code, error.status, error.retryAt], [code, status, calls[0].at + 1000]);
    assert.equal(typeof error.detail, "string");
    await pass(1);
    assert.equal(await waiting, "token-b");
    assert.deepEqual([errors.length, ends.length], [1, 0]);
  });
}

test("onError is told all that is known", async () => {
  const { getToken, errors } = source([problem(503, "tenant_throttled", { "retry-after": "7" })]);
  getToken().catch(() => {});
  await settled();
  assert.ok(errors[0] instanceof TokenError);
  assert.deepEqual({ ...errors[0] }, {
    name: "TokenError",
    code: "tenant_throttled",
    detail: "About tenant_throttled.",
    status: 503,
    requestId: "r-1",
    retryAfter: 7,
    retryAt: Date.now() + 7000,
  });
  assert.equal(errors[0].message, "tenant_throttled: About tenant_throttled.");
});

test("what did not come from the broker has no requestId", async () => {
  const { getToken, errors } = source([answer(502, "<html>")]);
  getToken().catch(() => {});
  await settled();
  assert.equal(errors[0].requestId, undefined);
});

test("an origin that is not listed looks like an outage, and the detail says so", async () => {
  const { getToken, errors } = source([unreachable]);
  getToken().catch(() => {});
  await settled();
  assert.match(errors[0].detail, /out of reach, redirects, or does not list this origin/);
  assert.equal(errors[0].requestId, undefined);
});

test("waits grow from 1 s to 30 s, and start over for the next token", async () => {
  const { getToken, calls } = source([...Array(8).fill(unreachable), token("a", 600), unreachable, token("b")]);
  const waiting = getToken();
  await pass(200_000);
  await waiting;
  sleep(HOUR);
  getToken();
  await pass(2000);
  const gaps = calls.slice(1).map(({ at }, i) => (at - calls[i].at) / 1000);
  assert.deepEqual(gaps.slice(0, 8), [1, 2, 4, 8, 16, 30, 30, 30]);
  assert.equal(gaps.at(-1), 1);
});

test("waits are spread by a quarter", async () => {
  random(0.999999);
  const { getToken, errors } = source([unreachable, problem(429, "rate_limited", { "retry-after": "45" })]);
  getToken().catch(() => {});
  await settled();
  assert.equal(Math.round(errors[0].retryAt - Date.now()), 1250);
  await pass(1250);
  const wait = errors[1].retryAt - Date.now();
  assert.ok(wait > 56_000 && wait < 57_000, "the place in the broker's queue is kept for 60 s");
});

for (const [value, seconds] of [["20", 20], ["1", 1], ["-5", 1], ["soon", 1], ["Wed, 21 Oct 2026 07:28:00 GMT", 1], ["999999999999", 120]]) {
  test(`Retry-After: ${value} is ${seconds} s`, async () => {
    const { getToken, errors } = source([answer(503, null, { "retry-after": value })]);
    getToken().catch(() => {});
    await settled();
    assert.equal(errors[0].retryAt - Date.now(), seconds * 1000);
  });
}

test("Retry-After does not shorten a longer wait", async () => {
  const busy = answer(503, null, { "retry-after": "1" });
  const { getToken, calls } = source([busy, busy, busy, busy]);
  getToken().catch(() => {});
  await pass(8000);
  assert.deepEqual(calls.map(({ at }) => (at - calls[0].at) / 1000), [0, 1, 3, 7]);
});

for (const [type, fields] of [["online"], ["pageshow", { persisted: true }]]) {
  test(`${type} brings the next try at once, and one only`, async () => {
    const { getToken, calls } = source([unreachable, unreachable, unreachable, unreachable, token("a")]);
    const waiting = getToken();
    await pass(3000);
    assert.equal(calls.length, 3);
    await happens(type, fields);
    assert.equal(calls.length, 4);
    await pass(7999);
    assert.equal(calls.length, 4, "the wait that was cut short is over");
    await pass(1);
    assert.equal((await waiting).tokenId, "a");
  });
}

test("online does not shorten what the broker asked for", async () => {
  const { getToken, calls } = source([unreachable, answer(503, null, { "retry-after": "20" }), token("a")]);
  const waiting = getToken();
  await pass(1000);
  await happens("online");
  assert.equal(calls.length, 2);
  await pass(20_000);
  assert.equal((await waiting).tokenId, "a");
});

for (const [name, dead] of [["that is aborted", hangs], ["that notices nothing", later()]]) {
  test(`a request ${name} is given up after 30 s`, async () => {
    const { getToken, calls, errors } = source([dead, token("b")]);
    const waiting = getToken();
    await pass(29_999);
    assert.equal(calls[0].signal.aborted, false);
    await pass(1);
    assert.equal(calls[0].signal.aborted, true);
    assert.deepEqual(errors.map(({ code }) => code), ["timeout"]);
    await pass(1000);
    assert.equal((await waiting).tokenId, "b");
  });
}

test("a body that never ends is given up, too", async () => {
  const endless = () => new Response(new ReadableStream({}), { status: 200 });
  const { getToken, errors } = source([endless, token("b")]);
  const waiting = getToken();
  await pass(31_000);
  assert.equal((await waiting).tokenId, "b");
  assert.equal(errors[0].code, "timeout");
});

for (const [name, failing, code] of [
  ["throws", () => assert.fail("secret"), "session_failed"],
  ["rejects", () => Promise.reject(new Error("secret")), "session_failed"],
  ["never settles", () => new Promise(() => {}), "timeout"],
]) {
  test(`a session function that ${name} is an outage`, async () => {
    const answers = [failing, () => "s"];
    const { getAccessToken, calls, errors, ends } = source([token("a")], { session: () => answers.shift()() });
    const waiting = getAccessToken();
    await pass(31_000);
    assert.equal(await waiting, "token-a");
    assert.equal(calls.length, 1);
    assert.deepEqual([errors.length, errors[0].code, ends.length], [1, code, 0]);
    if (code === "session_failed") assert.equal(errors[0].cause.message, "secret");
    assert.doesNotMatch(errors[0].message + errors[0].detail, /secret/);
  });
}

test("a session that comes after its request was given up sends none", async () => {
  const slow = later();
  const { getToken, calls } = source([token("a")], { session: slow });
  getToken().catch(() => {});
  await pass(30_500);
  assert.equal(calls.length, 0);
  await slow.answer(() => "s");
  assert.equal(calls.length, 0);
  await pass(1000);
  assert.equal(calls.length, 1);
});

test("no text holds a token or a session", async () => {
  const { getAccessToken, errors, ends } = source([
    token("a"),
    () => Promise.reject(new TypeError("session-of-ann is an invalid header value")),
    answer(200, '{"access_token": "token-a'),
    problem(401, "session_expired"),
  ]);
  await getAccessToken();
  const waiting = getAccessToken();
  const gone = assert.rejects(waiting, TokenError);
  await pass(10_000);
  await gone;
  assert.equal(errors.length, 2);
  for (const error of [...errors, ...ends]) {
    assert.doesNotMatch(JSON.stringify(error) + error.stack + error.cause, /token-a|session-of-ann/);
  }
});

// ---- What ends the waiting

for (const code of ["session_missing", "session_invalid", "session_expired", "http_401"]) {
  test(`${code} ends the source`, async () => {
    const gone = code === "http_401" ? answer(401, "<html>") : problem(401, code);
    const { getAccessToken, getToken, calls, errors, ends } = source([gone]);
    const waiting = [getAccessToken(), getAccessToken(), getToken()];
    for (const result of await Promise.allSettled(waiting)) {
      assert.ok(result.reason instanceof TokenError);
      assert.deepEqual([result.reason.code, result.reason.status], [code, 401]);
    }
    for (const call of [getAccessToken, getToken]) await assert.rejects(call, { name: "TokenError", code });
    await happens("online");
    await pass(HOUR);
    assert.equal(calls.length, 1);
    assert.deepEqual([ends.length, ends[0].code, errors.length], [1, code, 0]);
  });
}

for (const none of [null, undefined, ""]) {
  test(`the session is over when its function gives ${JSON.stringify(none)}`, async () => {
    const { getAccessToken, calls, ends } = source([], { session: async () => none });
    await assert.rejects(getAccessToken(), { code: "session_missing", status: 401 });
    await assert.rejects(getAccessToken(), { code: "session_missing" });
    assert.deepEqual([calls.length, ends.length], [0, 1]);
  });
}

test("a session that ends in the background is told, and its token forgotten", async () => {
  const { getToken, ends, calls } = source([token("a", 3600), problem(401, "session_expired")]);
  await getToken();
  await pass(HOUR - 119_000);
  assert.deepEqual([ends.length, calls.length], [1, 2]);
  await assert.rejects(getToken(), { code: "session_expired" });
});

test("a 403 is for all who wait, and the next call asks again", async () => {
  const slow = later();
  const { getAccessToken, getToken, calls, ends, errors } = source([slow, token("a")]);
  const waiting = Promise.allSettled([getAccessToken(), getToken()]);
  await slow.answer(problem(403, "user_disabled"));
  for (const { reason } of await waiting) {
    assert.ok(reason instanceof TokenError);
    assert.deepEqual({ ...reason }, {
      name: "TokenError", code: "user_disabled", detail: "About user_disabled.", status: 403, requestId: "r-1", retryAfter: 0,
    });
  }
  assert.deepEqual(errors.map(({ code, retryAt }) => [code, retryAt]), [["user_disabled", undefined]]);
  await pass(HOUR);
  assert.equal(calls.length, 1);
  assert.equal(await getAccessToken(), "token-a");
  assert.deepEqual([ends.length, errors.length], [0, 1]);
});

test("a 403 of a proxy on the way may pass", async () => {
  const { getAccessToken, errors } = source([answer(403, "<html>"), token("a")]);
  const waiting = getAccessToken();
  await pass(1000);
  assert.equal(await waiting, "token-a");
  assert.deepEqual(errors.map(({ code, retryAt }) => [code, typeof retryAt]), [["http_403", "number"]]);
});

for (const page of ["<!doctype html>\n<title>Log in</title>", "two words", "naïve"]) {
  test(`a session that is ${JSON.stringify(page)} is an outage, and is not sent`, async () => {
    const sessions = [page, "s"];
    const { getToken, calls, errors, ends } = source([token("a")], { session: () => sessions.shift() });
    const waiting = getToken();
    await pass(1000);
    assert.equal((await waiting).tokenId, "a");
    assert.deepEqual([calls.length, errors.length, errors[0].code, ends.length], [1, 1, "session_failed", 0]);
    assert.ok(!`${errors[0].message}${errors[0].cause}`.includes(page));
  });
}

// ---- logout

test("a logout is sent with the same session, and outlives the page", async () => {
  for (const [options, bearer, credentials] of [
    [{ session: async () => "of-bob" }, "Bearer of-bob", "omit"],
    [{ session: null, credentials: "include" }, null, "include"],
  ]) {
    const { logout, calls } = source([answer(204)], options);
    assert.equal(await logout(), undefined);
    const [{ url, method, headers, body, ...sent }] = calls;
    assert.deepEqual([url, method, body], [`${BROKER}/logout`, "POST", undefined]);
    assert.equal(headers.get("authorization"), bearer);
    assert.equal(headers.get("x-broker-request"), "1");
    assert.deepEqual([sent.credentials, sent.keepalive], [credentials, true]);
  }
});

test("a logout is on its way before the function returns", () => {
  const { logout, calls } = source([answer(204)]);
  logout();
  assert.equal(calls.length, 1);
});

test("a logout forgets the token before the broker answers, for ever", async () => {
  const slow = later();
  const { logout, getToken, getAccessToken, calls, ends } = source([token("a"), slow]);
  await getToken();
  const done = logout();
  await assert.rejects(getToken(), { name: "TokenError", code: "logged_out" });
  assert.equal(await getAccessToken(), "", "a rejection would end the embeds of other sources as well");
  await slow.answer(answer(204));
  await done;
  await happens("online");
  await pass(7 * HOUR);
  await assert.rejects(getToken(), { code: "logged_out" });
  assert.deepEqual([calls.length, ends.length], [2, 0]);
});

test("a logout ends what waits for an answer, and a late one brings nothing back", async () => {
  const late = later();
  const { logout, getToken, getAccessToken, calls, errors } = source([late, answer(204)]);
  const embed = getAccessToken();
  const waiting = assert.rejects(getToken(), { code: "logged_out" });
  await settled();
  const done = logout();
  assert.equal(calls[0].signal.aborted, true);
  await Promise.all([waiting, done]);
  assert.equal(await embed, "");
  await late.answer(token("a"));
  await pass(7 * HOUR);
  await assert.rejects(getToken(), { code: "logged_out" });
  assert.deepEqual([calls.length, errors.length], [2, 0]);
});

test("a logout ends what waits for its next try", async () => {
  const { logout, getToken, calls } = source([unreachable, answer(204)]);
  const waiting = assert.rejects(getToken(), { code: "logged_out" });
  await settled();
  await logout();
  await waiting;
  await happens("online");
  await pass(HOUR);
  assert.equal(calls.length, 2);
});

test("a logout while the session is asked for sends no other request", async () => {
  const slow = later();
  const sessions = [slow, () => "s"];
  const { logout, getToken, calls } = source([answer(204)], { session: () => sessions.shift()() });
  const waiting = assert.rejects(getToken(), { code: "logged_out" });
  await logout();
  await slow.answer(() => "late");
  await waiting;
  assert.deepEqual(calls.map(({ url }) => url), [`${BROKER}/logout`]);
});

test("a session that ends during a logout is nobody's news", async () => {
  const late = later();
  const { logout, getToken, ends } = source([late, answer(204)]);
  const waiting = assert.rejects(getToken(), { code: "logged_out" });
  await logout();
  await late.answer(problem(401, "session_expired"));
  await waiting;
  assert.equal(ends.length, 0);
});

for (const [name, failure, code] of [
  ["without a network", unreachable, "network"],
  ["when the portal is down", problem(503, "session_service_unavailable"), "session_service_unavailable"],
  ["when another answers", answer(200, "<html>"), "http_200"],
]) {
  test(`a logout fails ${name}, and may be tried again`, async () => {
    const { logout, calls } = source([failure, answer(204)]);
    await assert.rejects(logout(), { name: "TokenError", code });
    await logout();
    assert.equal(calls.length, 2);
  });
}

test("a logout that hangs fails after 30 s", async () => {
  const { logout } = source([hangs]);
  const failed = assert.rejects(logout(), { code: "timeout" });
  await pass(30_000);
  await failed;
});

// For a session that has ended the broker answers 204: after a 401 the token lives on.
test("a logout of nobody's session has ended nothing, and says so", async () => {
  for (const [code, answers, options] of [
    ["session_invalid", [problem(401, "session_invalid")]],
    ["session_missing", [], { session: () => null }],
  ]) {
    const { logout, ends } = source(answers, options);
    await assert.rejects(logout(), { code, status: 401 });
    assert.equal(ends.length, 0);
  }
});

test("a logout works after the session's end", async () => {
  const { logout, getToken, calls } = source([problem(401, "session_expired"), answer(204)]);
  await assert.rejects(getToken(), { code: "session_expired" });
  await logout();
  await assert.rejects(getToken(), { code: "session_expired" });
  assert.equal(calls.length, 2);
});

// ---- Signals

test("the source's signal ends everything, without a request", async () => {
  const controller = new AbortController();
  const late = later();
  const { getToken, getAccessToken, calls, ends } = source([token("a"), late], { signal: controller.signal });
  await getAccessToken();
  const waiting = getAccessToken();
  const reason = new Error("the embed is gone");
  controller.abort(reason);
  const same = (error) => error === reason;
  await assert.rejects(getToken(), same);
  assert.deepEqual(await Promise.all([waiting, getAccessToken()]), ["", ""]);
  assert.equal(calls[1].signal.aborted, true);
  await late.answer(token("b"));
  await happens("online");
  await pass(7 * HOUR);
  await assert.rejects(getToken(), same);
  assert.deepEqual([calls.length, ends.length], [2, 0]);
});

test("a signal that has aborted already", async () => {
  const { getToken, logout, calls } = source([answer(204)], { signal: AbortSignal.abort() });
  await assert.rejects(getToken(), { name: "AbortError" });
  assert.equal(calls.length, 0);
  await logout();
  assert.equal(calls.length, 1, "logging out is another thing");
});

test("a caller's signal is for that caller alone", async () => {
  const slow = later();
  const { getToken, calls } = source([slow]);
  const controller = new AbortController();
  const leaving = getToken({ signal: controller.signal });
  const staying = getToken({ signal: new AbortController().signal });
  controller.abort(new Error("left"));
  await assert.rejects(leaving, { message: "left" });
  assert.equal(calls[0].signal.aborted, false);
  await slow.answer(token("a"));
  assert.equal((await staying).tokenId, "a");
  await assert.rejects(getToken({ signal: controller.signal }), { message: "left" });
});

test("a caller's signal that ends nothing is left as it was", async () => {
  const { signal } = new AbortController();
  const added = mock.method(signal, "addEventListener");
  const removed = mock.method(signal, "removeEventListener");
  const { getToken } = source([token("a")]);
  await getToken({ signal });
  await settled();
  assert.equal(added.mock.callCount(), 1);
  assert.deepEqual(removed.mock.calls[0].arguments, added.mock.calls[0].arguments);
});

// ---- Callbacks

for (const [kind, fails] of [["throw", () => assert.fail("oops")], ["reject", () => Promise.reject(new Error("oops"))]]) {
  test(`callbacks that ${kind} change nothing`, async () => {
    const reported = [];
    globalThis.reportError = (error) => reported.push(error.message);
    try {
      const { getToken, calls } = source([unreachable, problem(401, "session_expired")], { onError: fails, onSessionEnd: fails });
      const gone = assert.rejects(getToken(), { code: "session_expired" });
      await pass(1000);
      await gone;
      assert.deepEqual([calls.length, reported], [2, ["oops", "oops"]]);
    } finally {
      delete globalThis.reportError;
    }
  });
}

test("a page without callbacks, events and reportError", async () => {
  delete globalThis.addEventListener;
  const fails = () => assert.fail("oops");
  for (const callbacks of [{ onError: undefined, onSessionEnd: undefined }, { onError: fails, onSessionEnd: fails }]) {
    const { getToken } = source([unreachable, problem(401, "session_expired")], callbacks);
    const gone = assert.rejects(getToken(), { code: "session_expired" });
    await pass(1000);
    await gone;
  }
});

test("a callback may log out", async () => {
  const made = source([unreachable, answer(204)], { onError: () => made.logout() });
  await assert.rejects(made.getToken(), { code: "logged_out" });
  await happens("online");
  await pass(HOUR);
  assert.equal(made.calls.length, 2);
});

test("a session function may end the source", async () => {
  const controller = new AbortController();
  const { getToken, calls } = source([], {
    signal: controller.signal,
    session: () => (controller.abort(new Error("gone")), "s"),
  });
  await assert.rejects(getToken(), { message: "gone" });
  assert.equal(calls.length, 0);
});
