//! The names of the calls a tenant offers: what faults are scripted on and what is counted.

use serde::{Deserialize, Serialize};

/// A call of the tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// Every call below together, preflights excepted.
    Any,
    /// `POST /oauth/token`, whatever the grant.
    Token,
    /// The impersonation grant.
    TokenImpersonation,
    /// The client credentials grant.
    TokenClientCredentials,
    /// The token exchange of browsers.
    TokenExchange,
    /// `POST /oauth/revoke`.
    Revoke,
    /// `GET /.well-known/oauth-authorization-server`.
    Discovery,
    /// The key set that discovery names.
    Jwks,
    /// `GET /api/v1/users`.
    Users,
    /// `POST /api/v1/users/actions/filter`.
    UsersFilter,
    /// `POST /api/v1/users`.
    UserCreate,
    /// `GET /api/v1/users/me`.
    UserMe,
    /// `GET /api/v1/users/{id}`.
    User,
    /// `PATCH /api/v1/users/{id}`.
    UserPatch,
    /// `GET /api/v1/oauth-clients`.
    OauthClients,
    /// `POST /api/v1/oauth-clients`.
    OauthClientCreate,
    /// `GET /api/v1/oauth-clients/{id}`.
    OauthClient,
    /// `PATCH /api/v1/oauth-clients/{id}`.
    OauthClientPatch,
    /// `DELETE /api/v1/oauth-clients/{id}`.
    OauthClientDelete,
    /// `POST /api/v1/oauth-clients/{id}/actions/publish`.
    OauthClientPublish,
    /// `POST /api/v1/oauth-clients/{id}/client-secrets`.
    ClientSecretAdd,
    /// `DELETE /api/v1/oauth-clients/{id}/client-secrets/{hint}`.
    ClientSecretDelete,
    /// `GET`, `PATCH` and `DELETE /api/v1/oauth-clients/{id}/connection-configs/me`.
    ConnectionConfig,
    /// `GET /api/v1/oauth-tokens`.
    OauthTokens,
    /// `DELETE /api/v1/oauth-tokens/{id}`.
    OauthTokenDelete,
    /// `GET /api/v1/tenants/me` and `GET /api/v1/tenants/{id}`.
    TenantMe,
    /// `GET /api/v1/groups`.
    Groups,
    /// `POST /api/v1/groups`.
    GroupCreate,
    /// `GET` and `PATCH /api/v1/groups/settings`.
    GroupSettings,
    /// `GET /api/v1/csp-origins`.
    CspOrigins,
    /// `POST /api/v1/csp-origins`.
    CspOriginCreate,
    /// `GET /api/v1/spaces`.
    Spaces,
    /// `GET /qlik-embed/main.js`, what pages with embeds run.
    EmbedRuntime,
    /// A browser's preflight of any path.
    Preflight,
    /// Anything a tenant does not offer here.
    Other,
}

/// The budget a call is charged to (doc).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Tier {
    One,
    Two,
    Special,
}

impl Call {
    /// Every call, in the order of the counters.
    pub const ALL: [Self; 35] = [
        Self::Any,
        Self::Token,
        Self::TokenImpersonation,
        Self::TokenClientCredentials,
        Self::TokenExchange,
        Self::Revoke,
        Self::Discovery,
        Self::Jwks,
        Self::Users,
        Self::UsersFilter,
        Self::UserCreate,
        Self::UserMe,
        Self::User,
        Self::UserPatch,
        Self::OauthClients,
        Self::OauthClientCreate,
        Self::OauthClient,
        Self::OauthClientPatch,
        Self::OauthClientDelete,
        Self::OauthClientPublish,
        Self::ClientSecretAdd,
        Self::ClientSecretDelete,
        Self::ConnectionConfig,
        Self::OauthTokens,
        Self::OauthTokenDelete,
        Self::TenantMe,
        Self::Groups,
        Self::GroupCreate,
        Self::GroupSettings,
        Self::CspOrigins,
        Self::CspOriginCreate,
        Self::Spaces,
        Self::EmbedRuntime,
        Self::Preflight,
        Self::Other,
    ];

    /// This call and the wider ones that contain it, the narrowest first.
    pub(super) fn lineage(self) -> Vec<Self> {
        match self {
            Self::TokenImpersonation | Self::TokenClientCredentials | Self::TokenExchange => {
                vec![self, Self::Token, Self::Any]
            }
            Self::Preflight | Self::Any => vec![self],
            _ => vec![self, Self::Any],
        }
    }

    /// The token calls by grant; an unknown grant is just a token call.
    pub(super) fn of_grant(grant: Option<&str>) -> Self {
        match grant {
            Some("urn:qlik:oauth:user-impersonation") => Self::TokenImpersonation,
            Some("client_credentials") => Self::TokenClientCredentials,
            Some("urn:ietf:params:oauth:grant-type:token-exchange") => Self::TokenExchange,
            _ => Self::Token,
        }
    }

    /// The tier: writes and the OAuth endpoints in Tier 2, reads in Tier 1, the filter action apart (doc).
    pub(super) fn tier(self) -> Option<Tier> {
        match self {
            Self::Any | Self::EmbedRuntime | Self::Preflight | Self::Other => None,
            Self::UsersFilter => Some(Tier::Special),
            Self::Token
            | Self::TokenImpersonation
            | Self::TokenClientCredentials
            | Self::TokenExchange
            | Self::Revoke
            | Self::UserCreate
            | Self::UserPatch
            | Self::OauthClientCreate
            | Self::OauthClientPatch
            | Self::OauthClientDelete
            | Self::OauthClientPublish
            | Self::ClientSecretAdd
            | Self::ClientSecretDelete
            | Self::OauthTokenDelete
            | Self::GroupCreate
            | Self::CspOriginCreate => Some(Tier::Two),
            _ => Some(Tier::One),
        }
    }
}
