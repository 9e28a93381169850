/** What proves to the broker who uses this page: a JWT, a handle (`qtbs_…`), or an opaque token. */
export type Session =
  | string
  /**
   * Called anew for every request, so it may renew what it gives.
   * - `null`, `undefined` or `""` says that nobody is logged in any more: the source ends, as with a 401.
   * - Throwing, or not settling within 30 s, counts as an outage: it is called again later.
   */
  | (() => string | null | undefined | PromiseLike<string | null | undefined>);

interface CommonOptions {
  /** Where pages reach the broker, such as `"https://broker.example.com"`; it may have a path. */
  broker: string | URL;

  /**
   * The session has ended: send the person to log in. Called at most once in the source's life, also
   * if the token was only being renewed in the background; not after `logout()` and not after the
   * `signal` aborted.
   * @param error `code` is `session_expired`, `session_invalid`, `session_missing`, or of whatever answered 401.
   */
  onSessionEnd?: (error: TokenError) => unknown;

  /**
   * A try failed, and the next one comes at `error.retryAt`. Callers go on waiting meanwhile: show
   * something if it lasts. Without `retryAt` waiting does not help, and callers are rejected: a 403 of
   * the broker, whose `code` says why. `@qlik/api` keeps that to itself.
   */
  onError?: (error: TokenError) => unknown;

  /** Used in place of the browser's `fetch`. */
  fetch?: typeof globalThis.fetch;

  /**
   * Ends the source when it aborts, without a request: no more timers, `getToken()` is rejected with
   * `signal.reason`, and `getAccessToken()` gives the empty string. `logout()` still works.
   */
  signal?: AbortSignal | undefined;
}

/** The page has its session as a string and shows it to the broker as a bearer. */
interface BearerOptions extends CommonOptions {
  session: Session;
  /**
   * Cookies for whatever is in front of the broker, which looks at the bearer only. A broker that is
   * configured for no cookie does not let pages of other origins send any.
   * @default "omit"
   */
  credentials?: RequestCredentials | undefined;
}

/** The browser adds the session by itself: a cookie, or what a proxy in front of the broker makes of one. */
interface CookieOptions extends CommonOptions {
  session?: null | undefined;
  /** `"include"`, or `"same-origin"` if the broker has the page's own origin. */
  credentials: "include" | "same-origin";
}

export type TokenSourceOptions = BearerOptions | CookieOptions;

/** A token of the tenant, as the broker answered it. */
export interface Token {
  /** Opaque: read nothing out of it. */
  readonly accessToken: string;
  /** In milliseconds, to compare with `Date.now()` of this page, whether or not its clock is right. */
  readonly expiresAt: number;
  /** What the tenant granted, separated by spaces. */
  readonly scope: string;
  /** Where the token is good, such as `"https://acme.eu.qlikcloud.com"`. */
  readonly tenantUrl: string;
  /** Names the token in the broker's logs; no secret. */
  readonly tokenId: string;
}

/** All functions may be used detached: `window.getAccessToken = source.getAccessToken`. */
export interface TokenSource {
  /**
   * The callback for qlik-embed (`data-get-access-token`) and `@qlik/api` (`getAccessToken`), and for
   * nothing else: these keep the token and call again only after the tenant's 401, so a second call
   * while the token should still live tells the broker that the tenant rejects it. In the three seconds
   * after a next token was given it does not: embeds in flight call for the 401 of the one before. Use
   * {@link TokenSource.getToken} for requests of your own.
   *
   * Waits through outages for as long as the page lives, because one rejection makes all embeds of a
   * page blank until it is reloaded, those of other sources too. So after `logout()`, and after the
   * `signal`, it gives the empty string, which the tenant refuses.
   * @throws {TokenError} when the session has ended, or with a 403 of the broker, which only somebody who
   *   changes a right or the configuration can help.
   */
  readonly getAccessToken: () => Promise<string>;

  /**
   * The token for requests of your own: from memory while it lives. Ask for it before each request.
   * Waits and rejects as {@link TokenSource.getAccessToken} does, and also after `logout()`.
   * @param options.signal Rejects this call alone, with `signal.reason`.
   */
  readonly getToken: (options?: { signal?: AbortSignal | undefined }) => Promise<Token>;

  /**
   * Ends the session at the broker, which revokes the token. This page forgets the token at once, and
   * waits for none any more. Reload it for the next person: `@qlik/api` keeps the token that it has.
   * Call it before the portal ends its own session, and await it before you leave the page.
   *
   * It ends the session that is shown. Where `session()` makes another one each time, the others live on
   * until they end by themselves: let the portal's back end log the user out at the broker instead.
   * @throws {TokenError} if the broker did not confirm it: the token may live on, call it again. A session
   *   that has ended already is no error; a 401 is, as it says whose session nobody knows.
   */
  readonly logout: () => Promise<void>;
}

/**
 * A code of the broker (its `/problems/{code}` explains it), or one of this module's own: `network`,
 * `timeout`, `malformed`, `session_failed` (`session()` threw), `logged_out`, and `http_<status>` for
 * what is not from a broker.
 */
export type TokenErrorCode =
  | "session_missing" | "session_invalid" | "session_expired" | "session_service_unavailable"
  | "origin_not_allowed" | "csrf_rejected"
  | "tenant_not_allowed" | "scope_not_allowed" | "user_not_allowed" | "user_not_mapped"
  | "user_unknown" | "user_disabled" | "user_ambiguous" | "user_token_limit"
  | "rate_limited" | "tenant_throttled" | "tenant_unavailable" | "tenant_malformed" | "tenant_refused_client"
  | "overloaded" | "internal" | "request_invalid" | "not_found"
  | "network" | "timeout" | "malformed" | "session_failed" | "logged_out"
  | `http_${number}`
  | (string & {});

/** Why there is no token. Its texts hold neither tokens nor sessions. */
export class TokenError extends Error {
  private constructor();
  readonly name: "TokenError";
  /** Decide by this; it keeps its meaning. */
  readonly code: TokenErrorCode;
  /** For the developer, in English. */
  readonly detail: string;
  /** The HTTP status, if there was an answer; 401 also where `session()` gave none. */
  readonly status?: number | undefined;
  /** Finds the request in the broker's logs. */
  readonly requestId?: string | undefined;
  /** The seconds that the answer asked to wait, 0 if it asked for none. */
  readonly retryAfter?: number | undefined;
  /** For `onError`: when the source tries again, in milliseconds as of `Date.now()`; sooner if the browser comes back online. */
  readonly retryAt?: number | undefined;
  /** What `session()` threw, with the code `session_failed`. */
  readonly cause?: unknown;
}

/**
 * A source of access tokens for the person who uses this page: one per page and session.
 *
 * @example
 * const source = createTokenSource({
 *   broker: "https://broker.example.com",
 *   session: () => portalJwt(),
 *   onSessionEnd: () => location.assign("/login"),
 * });
 * window.getAccessToken = source.getAccessToken; // for qlik-embed: data-get-access-token="getAccessToken"
 *
 * @throws {TypeError} if an option is missing or wrong.
 */
export function createTokenSource(options: TokenSourceOptions): TokenSource;

/** What `/client.global.js` adds to the page. */
export as namespace qlikTokenBroker;
