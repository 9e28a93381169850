// Compiled, never run: what the types allow, and what they refuse.

import {
  createTokenSource,
  TokenError,
  type Session,
  type Token,
  type TokenErrorCode,
  type TokenSource,
  type TokenSourceOptions,
} from "qlik-token-broker-client";

const broker = "https://broker.example.com";

const session: Session = async () => "session";
const controller = new AbortController();
const options: TokenSourceOptions = {
  broker: new URL(broker),
  session,
  credentials: "include",
  fetch: globalThis.fetch,
  signal: controller.signal,
  onSessionEnd: (error) => location.assign(`/login?why=${error.code}`),
  onError: async ({ code, status, detail, requestId, retryAfter, retryAt, cause }: TokenError) => {
    console.warn(code, status?.toFixed(), detail, requestId?.length, retryAfter, retryAt && new Date(retryAt), cause);
  },
};
const source: TokenSource = createTokenSource(options);

createTokenSource({ broker, session: "session" });
createTokenSource({ broker, session: () => null });
createTokenSource({ broker, session: () => Promise.resolve(undefined) });
createTokenSource({ broker, credentials: "include" });
createTokenSource({ broker, credentials: "same-origin" });

const { getAccessToken, getToken, logout } = source;
const callback: () => Promise<string> = getAccessToken;
const done: Promise<void> = logout();

async function used(): Promise<TokenErrorCode | undefined> {
  try {
    const token: Token = await getToken({ signal: controller.signal });
    const left: number = token.expiresAt - Date.now();
    const { accessToken, scope, tenantUrl, tokenId }: Record<string, string | number> = { ...token };
    console.log(left, accessToken, scope, tenantUrl, tokenId);

    // @ts-expect-error: all callers share it
    token.accessToken = "another";
    // @ts-expect-error: it is a number
    token.expiresAt.getTime();
  } catch (error) {
    if (error instanceof TokenError) {
      const known: boolean = error.code === "user_disabled" || error.code === "http_418";
      const named: "TokenError" = error.name;
      console.log(known, named, error.message);
      // @ts-expect-error: there may be no next try
      error.retryAt.toFixed();
      return error.code;
    }
  }
  return undefined;
}

// @ts-expect-error: no options
createTokenSource();
// @ts-expect-error: no broker
createTokenSource({ session });
// @ts-expect-error: neither a session nor cookies
createTokenSource({ broker });
// @ts-expect-error: without a session, cookies must be sent
createTokenSource({ broker, credentials: "omit" });
// @ts-expect-error: not a mode of fetch
createTokenSource({ broker, session, credentials: true });
// @ts-expect-error: a session is a string
createTokenSource({ broker, session: () => 1 });
// @ts-expect-error: a slip in a name
createTokenSource({ broker, session, onSessionEnded: () => {} });
// @ts-expect-error: the signal itself
createTokenSource({ broker, session, signal: controller });
// @ts-expect-error: it resolves to the bare token
getAccessToken().then((token) => token.accessToken);
// @ts-expect-error: takes nothing
getAccessToken({ signal: controller.signal });
// @ts-expect-error: errors are made here only
new TokenError("network", "");

export { callback, done, used };
