//! The codes of the API, and the one table that decides their statuses.

use axum::http::StatusCode;

/// The codes of the API. Part of the contract: a code keeps its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table below explains each")]
pub enum Code {
    RequestInvalid,
    SessionMissing,
    SessionInvalid,
    SessionExpired,
    SessionServiceUnavailable,
    OriginNotAllowed,
    CsrfRejected,
    CallerNotAllowed,
    TenantNotAllowed,
    ScopeNotAllowed,
    UserNotAllowed,
    UserNotMapped,
    UserUnknown,
    UserDisabled,
    UserAmbiguous,
    UserTokenLimit,
    NotFound,
    MethodNotAllowed,
    BodyTooLarge,
    MediaType,
    RateLimited,
    RenewalTooSoon,
    TenantRefusedClient,
    TenantMalformed,
    TenantThrottled,
    TenantUnavailable,
    Overloaded,
    Internal,
}

struct Row(u16, &'static str, &'static str, &'static str);

impl Code {
    /// Every code.
    pub const ALL: [Self; 28] = [
        Self::RequestInvalid,
        Self::SessionMissing,
        Self::SessionInvalid,
        Self::SessionExpired,
        Self::SessionServiceUnavailable,
        Self::OriginNotAllowed,
        Self::CsrfRejected,
        Self::CallerNotAllowed,
        Self::TenantNotAllowed,
        Self::ScopeNotAllowed,
        Self::UserNotAllowed,
        Self::UserNotMapped,
        Self::UserUnknown,
        Self::UserDisabled,
        Self::UserAmbiguous,
        Self::UserTokenLimit,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::BodyTooLarge,
        Self::MediaType,
        Self::RateLimited,
        Self::RenewalTooSoon,
        Self::TenantRefusedClient,
        Self::TenantMalformed,
        Self::TenantThrottled,
        Self::TenantUnavailable,
        Self::Overloaded,
        Self::Internal,
    ];

    #[rustfmt::skip]
    fn row(self) -> Row {
        match self {
            Self::RequestInvalid => Row(400, "request_invalid", "The request is not valid",
                "The body is not the JSON that this path takes, has an unknown field or a value out of range, or a header is there twice. The detail says which. Correct the request; sending it again as it is will not help."),
            Self::SessionMissing => Row(401, "session_missing", "No session was presented",
                "The request carries no credential that any configured session kind looks at. Send the portal's session as a bearer token or cookie. From a page, check that cookies are included (credentials: \"include\") if your session is a cookie."),
            Self::SessionInvalid => Row(401, "session_invalid", "The session is not accepted",
                "A credential was presented, and no configured session table accepts it: a wrong signature, issuer, audience or algorithm, or a key that is not known. The audit line with this request id says which check failed."),
            Self::SessionExpired => Row(401, "session_expired", "The session has ended",
                "The session was valid once and has ended: by its own time limit or by a logout. Send the person to the portal's login."),
            Self::SessionServiceUnavailable => Row(503, "session_service_unavailable", "The session cannot be verified now",
                "Whoever is needed to verify the session (the issuer with its keys or its introspection endpoint, the portal) is out of reach, or gave no answer that could be understood. The session may well be good: do not send people to log in, try again after Retry-After."),
            Self::OriginNotAllowed => Row(403, "origin_not_allowed", "This page may not ask here",
                "The request's Origin is not among the allowed origins of the tenant, or a back-end key was used from a page. Add the exact origin (scheme, host and port) to the tenant's allowed_origins; keep API keys out of pages."),
            Self::CsrfRejected => Row(403, "csrf_rejected", "The request could be forged",
                "The session is one that the browser or a proxy adds to requests of any page: a cookie, a proxy's header, a client certificate. Such a request needs the header X-Broker-Request and, where the browser says so, a listed origin."),
            Self::CallerNotAllowed => Row(403, "caller_not_allowed", "The key may not do this",
                "The API key is known, but its allow list lacks this call. Add it in the configuration, or use another key."),
            Self::TenantNotAllowed => Row(403, "tenant_not_allowed", "The tenant is not open to this caller",
                "The caller named a tenant that its key does not hold, a browser named a tenant at all, or the session's claims name none that is configured."),
            Self::ScopeNotAllowed => Row(403, "scope_not_allowed", "The scope is not offered",
                "The scope asked for is neither the tenant's default set nor, as a whole, one of its optional sets, or the session is bound to another set."),
            Self::UserNotAllowed => Row(403, "user_not_allowed", "The user may not be impersonated",
                "The user is on the deny list (bots always are), is an administrator where these are refused, or a browser tried to name a user. Whom a token is for is decided by the verified session alone."),
            Self::UserNotMapped => Row(403, "user_not_mapped", "The session leads to no Qlik user",
                "The session is valid, but no mapping rule had all its claims, or the rule refused the value. Compare the session's claims with the table's user rules."),
            Self::UserUnknown => Row(403, "user_unknown", "The tenant has no such user",
                "The tenant does not know the user that the session is mapped to. Users must exist in the tenant before they can be impersonated: create the user, or correct the mapping."),
            Self::UserDisabled => Row(403, "user_disabled", "The tenant refuses the user",
                "The tenant refuses tokens for this user: it is disabled or, where the broker has no management client to look with, has too many tokens. Enable the user in the tenant."),
            Self::UserAmbiguous => Row(403, "user_ambiguous", "Several users match",
                "The tenant has more than one user for this e-mail address. Map by subject or user id instead."),
            Self::UserTokenLimit => Row(403, "user_token_limit", "The user has too many tokens",
                "The tenant has issued this user as many tokens as it allows. Revoke old ones in the tenant, or wait until they expire."),
            Self::NotFound => Row(404, "not_found", "There is nothing here",
                "The path is not one of the API's."),
            Self::MethodNotAllowed => Row(405, "method_not_allowed", "The method is not allowed here",
                "The path exists, but answers other methods: the Allow header lists them. Tokens are handed out for POST only."),
            Self::BodyTooLarge => Row(413, "body_too_large", "The body is too large",
                "Request bodies may hold 16 KiB. No request of this API needs more."),
            Self::MediaType => Row(415, "media_type", "The body is not JSON",
                "A body needs the header Content-Type: application/json. Forms and text are refused, because pages of other origins can send them without being asked."),
            Self::RateLimited => Row(429, "rate_limited", "Asked too often",
                "The session or the key asks more often than it may; one token serves all embeds of a page. Or too many credentials from the caller's address were refused, and this one is not proven yet. Wait for Retry-After."),
            Self::RenewalTooSoon => Row(429, "renewal_too_soon", "The token was examined a moment ago",
                "The rejected token is younger than the renewal pause, or the tenant was asked about it a moment ago and accepted it. Use the token you have; if the tenant keeps refusing it, ask again after Retry-After."),
            Self::TenantRefusedClient => Row(502, "tenant_refused_client", "The tenant refuses the broker's client",
                "The tenant refuses the broker's OAuth client: its secret, its grant, its scopes or its consent (which must be trusted). An operator must act: run the check command."),
            Self::TenantMalformed => Row(502, "tenant_malformed", "The tenant's answer made no sense",
                "Something answered at the tenant's address, but not as a tenant does: often a proxy or a maintenance page. Operators find the reason in the log by the request id."),
            Self::TenantThrottled => Row(503, "tenant_throttled", "The tenant's rate limit is reached",
                "The tenant allows a limited number of new tokens a minute, and they are used up. Nobody who has a token notices. The user's place in the queue is kept for a minute: try again after Retry-After."),
            Self::TenantUnavailable => Row(503, "tenant_unavailable", "The tenant is out of reach",
                "The tenant did not answer, or failed. Users with a cached token are still served; try again after Retry-After."),
            Self::Overloaded => Row(503, "overloaded", "Too many requests at once",
                "The broker has as many requests in flight as it may. Try again after Retry-After."),
            Self::Internal => Row(500, "internal", "A fault of the broker",
                "This is a bug. The log line with this request id helps to find it; please report it."),
        }
    }

    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The code as it is written.
    pub fn as_str(self) -> &'static str {
        self.row().1
    }

    /// The same for every occurrence of the code.
    pub fn title(self) -> &'static str {
        self.row().2
    }

    /// What happened and what to do, for the page at `/problems/{code}`.
    pub fn explanation(self) -> &'static str {
        self.row().3
    }
}
