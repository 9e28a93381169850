import "server-only"; // an import from the page fails the build

/** Why the request gets nothing, if so. */
export function refusal(request, user) {
  // The browser sends the cookie along whatever page asks; one of another origin cannot set this header.
  if (!request.headers.has("X-Broker-Request")) return Response.json({ code: "csrf_rejected" }, { status: 403 });
  if (!user) return Response.json({ code: "session_missing", detail: "Nobody is logged in." }, { status: 401 });
}

/** The broker's answer about this user, for the page. */
export async function relay(path, { user, ...more }) {
  const { BROKER_URL, BROKER_KEY } = process.env;
  const answer = await fetch(`${BROKER_URL}${path}`, {
    method: "POST",
    headers: { Authorization: `Bearer ${BROKER_KEY}`, "Content-Type": "application/json" },
    body: JSON.stringify({ ...more, user_lookup: { field: "subject", value: `auth0|${user}` } }),
    cache: "no-store",
    signal: AbortSignal.timeout(15_000), // the broker itself gives up after 10 s
  }).catch((error) => console.error(`${path}: no broker: ${error.cause?.message ?? error.message}`));
  if (answer && !answer.ok) console.error(`${path}: ${answer.status}, request ${answer.headers.get("X-Request-Id")}`);
  // A 401 speaks of our key: the page must not take it for the end of its own session.
  if (!answer || answer.status === 401) return Response.json({ code: "broker_unavailable" }, { status: 502 });
  const headers = new Headers({ "Cache-Control": "no-store" });
  for (const name of ["Content-Type", "Retry-After", "X-Request-Id"]) {
    if (answer.headers.has(name)) headers.set(name, answer.headers.get(name));
  }
  return new Response(answer.body, { status: answer.status, headers });
}
