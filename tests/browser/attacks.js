// What a page can make a browser send without asking it for permission first, as HTML or as a script of
// the page, made of the address to attack.

const submit = "<script>[...document.forms].at(-1).submit()</script>";
const form = (enctype, more = "") => (url) =>
  `<form method=post enctype="${enctype}" action="${url}" ${more}><input name='{"x":"' value='"}'></form>${submit}`;
const inside = (html) => (url) =>
  `<iframe sandbox="allow-scripts allow-forms" srcdoc='${html(url).replaceAll("'", "&#39;")}'></iframe>`;
/** The fields of a form that asks take the place of its address's query. */
const fields = (url) =>
  [...new URL(url).searchParams].map(([name, value]) => `<input name="${name}" value="${value}">`).join("");
const script = (made) => (url) => `<script>{ const url = ${JSON.stringify(url)}; ${made} }</script>`;

/** They leave the page: `method`, whether `top` of the window goes there, and whether the page hides its
 * origin, which makes it `null`. */
export const navigations = {
  "a form": { html: form("application/x-www-form-urlencoded"), method: "POST", top: true },
  "a multipart form": { html: form("multipart/form-data"), method: "POST", top: true },
  "a text form with JSON": { html: form("text/plain"), method: "POST", top: true },
  "a form of a page without a referrer": {
    html: (url) => `<meta name=referrer content=no-referrer>${form("text/plain")(url)}`,
    method: "POST",
    top: true,
    hidden: true,
  },
  "a form that asks": {
    html: (url) => `<form action="${url}">${fields(url)}</form>${submit}`,
    method: "GET",
    top: true,
  },
  "a link": { html: script("location.href = url"), method: "GET", top: true },
};

/** They stay in the page, which can hold all of them at once; `cors` and `socket` show its origin with a GET, too. */
export const embeddings = {
  "a form in a hidden frame": {
    html: (url) => `<iframe name="${url}" hidden></iframe>` + form("text/plain", `target="${url}"`)(url),
    method: "POST",
  },
  "a form in a sandbox": { html: inside(form("text/plain")), method: "POST", hidden: true },
  "a frame": { html: (url) => `<iframe src="${url}"></iframe>`, method: "GET" },
  "an object": { html: (url) => `<object data="${url}"></object>`, method: "GET" },
  "an image": { html: (url) => `<img src="${url}">`, method: "GET" },
  "an image that shows its origin": {
    html: (url) => `<img crossorigin=use-credentials src="${url}">`,
    method: "GET",
    cors: true,
  },
  "a script": { html: (url) => `<script src="${url}" onload="window.leaked = true"></script>`, method: "GET" },
  "a style sheet": { html: (url) => `<link rel=stylesheet href="${url}">`, method: "GET" },
  "a fetch of what is opaque": {
    html: script(`fetch(url, { method: "POST", mode: "no-cors", credentials: "include", body: "{}" })`),
    method: "POST",
  },
  "a beacon of text": { html: script(`navigator.sendBeacon(url, "{}")`), method: "POST" },
  "a beacon of a form": { html: script(`navigator.sendBeacon(url, new URLSearchParams({ a: 1 }))`), method: "POST" },
  "a fetch of text": {
    html: script(`fetch(url, { method: "POST", credentials: "include", body: "{}" }).catch(() => {})`),
    method: "POST",
  },
  "a request of old": {
    html: script(`const old = new XMLHttpRequest(); old.open("POST", url); old.withCredentials = true; old.send()`),
    method: "POST",
  },
  "a socket": { html: script(`new WebSocket(url.replace("http", "ws"))`), method: "GET", socket: true },
  "a stream of events": { html: script(`new EventSource(url, { withCredentials: true })`), method: "GET", cors: true },
};
