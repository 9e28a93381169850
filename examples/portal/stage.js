// What the demo shows of dashboard.js at work, and the buttons that break something. Nothing in
// here belongs into an integration.

const LANES = { broker: "Page → broker", upstream: "Broker → tenant", tenant: "Page → tenant" };
const REASONS = {
  network: "the broker is out of reach",
  tenant_throttled: "the tenant gives no more tokens for now",
  tenant_unavailable: "the tenant gives no tokens",
};
const SOURCES = { local: "from the broker's cache", shared: "from the shared cache", minted: "new from the tenant" };
const LINES = 40;
const EVERY = 3000;
const TROUBLE = 10;

const byId = (id) => document.getElementById(id);
const clock = (time) => new Date(time).toLocaleTimeString("en-GB");
const cut = (token) => `${token.slice(0, 6)}…${token.slice(-4)}`;

const start = Date.now();
let demo; // what dashboard.js hands over
let token; // the latest, to show its life
let session; // the latest that was shown for a token, to try it after the logout
let held; // the token that the logout has to end
let troubled = 0; // until then the tenant gives no new tokens
let over = false;

export const stage = { begin, recorded, waiting, sessionEnded };

function begin(handedOver) {
  demo = handedOver;
  byId("revoke").addEventListener("click", revoke);
  byId("down").addEventListener("click", () => trouble("down", { type: "status", status: 503 }));
  byId("throttle").addEventListener("click", () => trouble("throttle", { type: "throttle", retry_after: TROUBLE }));
  byId("logout").addEventListener("submit", logOut);
  repeat(look, EVERY);
  repeat(readTenantLog, 1000);
  repeat(tick, 1000);
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Calls `work` at once, and again so long after it was done. */
async function repeat(work, every) {
  while (!over || work === readTenantLog) {
    if (!document.hidden) await work().catch(console.warn);
    await pause(every);
  }
}

// ---- The state ------------------------------------------------------------------------------------

function say(mood, text, link) {
  const state = byId("state");
  if (state.textContent.trim() === text && !link) return; // it is read aloud when it changes
  state.dataset.mood = mood;
  const line = element("p", text);
  if (link) line.append(" ", link);
  state.replaceChildren(line);
}

function waiting(code, retryAt) {
  const reason = REASONS[code] ?? "there is no token";
  say("wait", `Waiting, as ${reason} (${code}). The page asks again at ${clock(retryAt)}, and goes on by itself.`);
}

function sessionEnded() {
  over = true;
  const link = element("a", "Log in again");
  link.href = "/";
  say("bad", "The session has ended.", link);
}

/** Who the tenant says that we are. */
async function look() {
  try {
    const answer = await demo.whoAmI();
    if (over) return;
    if (!answer.ok) return say("bad", `The tenant answers ${answer.status}. The page asks again in 3 seconds.`);
    showUser(await answer.json());
    token = await demo.source.getToken();
    showToken();
    const still = Date.now() < troubled ? " The tenant gives no new tokens, but the one at hand still serves." : "";
    say("fine", `All is well: Qlik answers.${still}`);
  } catch (error) {
    if (!over) say("bad", `Waiting does not help: ${error.message}`);
  }
}

function showUser({ name, email, subject, id }) {
  for (const [key, value] of Object.entries({ name, email, subject, id })) byId(`user-${key}`).textContent = value;
}

function showToken() {
  byId("token-text").textContent = cut(token.accessToken);
  byId("token-id").textContent = token.tokenId;
  showLife();
}

function showLife() {
  if (token) byId("token-life").textContent = life(token.expiresAt - Date.now());
}

function refusedToken() {
  token = undefined;
  byId("token-life").textContent = "no longer: the tenant refuses it";
}

async function tick() {
  showLife();
  const left = Math.ceil((troubled - Date.now()) / 1000);
  for (const id of ["down", "throttle"]) {
    const button = byId(id);
    if (left > 0) button.setAttribute("aria-disabled", "true");
    else button.removeAttribute("aria-disabled");
    button.querySelector(".left").textContent = left > 0 && button === troubling ? `${left} s` : "";
  }
}

function life(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const two = (number) => String(number % 60).padStart(2, "0");
  return `${Math.floor(seconds / 3600)}:${two(Math.floor(seconds / 60))}:${two(seconds)}`;
}

// ---- The buttons ----------------------------------------------------------------------------------

/** What a tenant administrator could do, or bad luck. */
const control = (path, body) =>
  fetch(`${demo.tenant}/_simulator/${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });

async function revoke() {
  const answer = await control("revoke-user", { subject: `auth0|${demo.user}` });
  if (answer.ok) record({ lane: "aside", what: "An administrator revokes the token" });
}

let troubling;

async function trouble(id, fault) {
  if (Date.now() < troubled) return;
  troubled = Date.now() + TROUBLE * 1000;
  troubling = byId(id);
  await Promise.all([control("faults", { call: "token", fault, seconds: TROUBLE }), tick()]);
  record({ lane: "aside", what: `For ${TROUBLE} s the tenant answers ${fault.status ?? 429} to who wants a token` });
}

let leaving = false;

async function logOut(event) {
  event.preventDefault();
  if (leaving) return;
  leaving = over = true;
  held ??= token?.accessToken;
  say("busy", "Logging out…");
  try {
    await demo.logOut();
  } catch (error) {
    leaving = false;
    const again = element("button", "Try again", "button");
    again.addEventListener("click", logOut);
    say("bad", error.message, again);
    return again.focus();
  }
  byId("ended-title").textContent = "Has access ended?";
  byId("hello").textContent = byId("hello").textContent.replace("Hello", "Goodbye");
  for (const id of ["intro", "desk"]) byId(id).hidden = true;
  byId("ended").hidden = false;
  byId("ended-title").focus();
  say("fine", "You are logged out.");
  const refused = await Promise.all([...proofs()]);
  byId("ended-title").textContent = refused.every(Boolean) ? "Access has ended" : "Access has not ended";
}

/** Tries what should be refused now, each as the page used it. */
function* proofs() {
  const bearer = (value) => ({ headers: { Authorization: `Bearer ${value}` } });
  const me = () => recorded("tenant")(`${demo.tenant}/api/v1/users/me`, bearer(held));
  const ask = () => recorded("broker")(`${demo.broker}/session-token`, { method: "POST", ...bearer(session) });
  // The broker revokes in the background, when the tenant's rate has room.
  if (held) yield prove(`The token ${cut(held)}, at the tenant`, me, true);
  if (session) yield prove("The session, at the broker", ask);
  yield prove("The cookie, at the portal", () => fetch("session"));
}

const OUTCOMES = { 0: "no answer", 200: "still accepted", 401: "refused", 429: "throttled" };

/** Whether this is refused, as promised: now, or in a while. Asks again while nobody knows. */
async function prove(what, call, inAWhile = false) {
  const item = element("li");
  byId("proofs").append(item);
  for (let tries = 1; ; tries += 1) {
    const { status } = await call().catch(() => ({ status: 0 }));
    const mark = chip(status);
    // Here a 401 is what is wanted, and a 200 is the fault.
    if (status <= 401) mark.dataset.mood = status === 401 ? "fine" : "bad";
    const isOver = status === 401 || tries === 30 || (status === 200 && !inAWhile);
    const outcome = OUTCOMES[status] ?? "no clear answer";
    item.replaceChildren(`${what}: `, mark, ` ${outcome}${isOver ? "" : ", asking again"}`);
    if (isOver) return status === 401;
    await pause(2000);
  }
}

// ---- The lanes ------------------------------------------------------------------------------------

/** `fetch`, and a line in this lane. */
function recorded(lane) {
  return async (url, options = {}) => {
    const line = { lane, time: Date.now(), what: `${options.method ?? "GET"} ${new URL(url).pathname}` };
    if (url.endsWith("/session-token")) session = options.headers.Authorization.replace("Bearer ", "");
    try {
      const answer = await fetch(url, options);
      if (lane === "tenant" && answer.status === 401) refusedToken();
      record({ ...line, note: await note(answer, options), status: answer.status });
      return answer;
    } catch (error) {
      if (error.name !== "AbortError") record({ ...line, note: "no answer", status: 0 });
      throw error;
    }
  };
}

async function note(answer, { body }) {
  const about = body?.includes("rejected") ? "the tenant refused the token I had; " : "";
  if (!answer.ok) return about + ((await answer.clone().json().catch(() => null))?.code ?? "");
  const source = SOURCES[/desc="(\w+)"/.exec(answer.headers.get("Server-Timing"))?.[1]];
  if (source) byId("token-source").textContent = `${source}, ${clock(Date.now())}`;
  return about + (source ?? "");
}

let read = 0;

/** What the broker asks of the tenant, as the tenant saw it. Pages send an `Origin`, the broker does not. */
async function readTenantLog() {
  const answer = await fetch(`${demo.tenant}/_simulator/requests?after=${read}`);
  for (const { number, time, method, path, status, headers, body, call } of await answer.json()) {
    if (status === null) return; // under way: with the next look
    read = number;
    if (headers.origin || Date.parse(time) < start) continue;
    const user = body?.user_lookup?.value;
    const question = call === "user_me" ? "does this token still live?" : "";
    record({ lane: "upstream", time: Date.parse(time), what: `${method} ${path}`, note: user ? `for ${user}` : question, status });
  }
}

const latest = {};

/** A new line; or the lane's latest is counted and moves, if it says the same. The latest comes first. */
function record({ lane, time = Date.now(), what, note = "", status }) {
  const says = [what, note, status].join();
  let line = latest[lane];
  if (line?.says !== says) {
    line = latest[lane] = { says, count: 0, item: element("li") };
    line.item.dataset.lane = lane;
  }
  line.count += 1;
  const call = element("div");
  if (LANES[lane]) call.append(element("span", LANES[lane], "lane"));
  call.append(element(status === undefined ? "span" : "code", what), " ");
  if (status !== undefined) call.append(chip(status));
  if (line.count > 1) call.append(" ", element("span", `×${line.count}`, "count"));
  if (note) call.append(element("small", note));
  line.item.replaceChildren(element("time", clock(time)), call);
  line.item.time = time;
  const list = byId("events");
  const others = [...list.children].filter((item) => item !== line.item);
  list.insertBefore(line.item, others.find((item) => item.time <= time) ?? null);
  while (list.children.length > LINES) list.lastChild.remove();
}

function chip(status) {
  const mood = status === 429 || status >= 500 ? "wait" : status >= 400 || status === 0 ? "bad" : "fine";
  const chip = element("span", status || "–", "chip");
  chip.dataset.mood = mood;
  return chip;
}

function element(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}
