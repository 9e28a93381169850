//! Which path is which call, and who answers it.

use http::Method;

use super::answer::Answer;
use super::asked::Asked;
use super::call::Call;
use super::state::State;
use super::{
    client_secrets, consent, discovery, embed, oauth_clients, oauth_tokens, revoke, tenant, token,
    users,
};

/// Answers a call.
pub(super) type Handler = fn(&mut State, &Asked) -> Answer;

/// The call and its handler.
pub(super) fn find(asked: &Asked) -> (Call, Handler) {
    if asked.method == Method::OPTIONS {
        return (Call::Preflight, not_found);
    }
    let segments = asked.segments();
    match (asked.method.as_str(), segments.as_slice()) {
        ("GET", []) => (Call::Other, tenant::greeting),
        ("POST", ["oauth", "token"]) => (Call::of_grant(asked.text("grant_type")), token::answer),
        ("POST", ["oauth", "revoke"]) => (Call::Revoke, revoke::answer),
        ("GET", [".well-known", "oauth-authorization-server"]) => {
            (Call::Discovery, discovery::metadata)
        }
        ("GET", [".well-known", "jwks.json"]) => (Call::Jwks, discovery::key_set),
        ("GET", ["qlik-embed", "main.js"]) => (Call::EmbedRuntime, embed::runtime),
        (method, ["api", "v1", rest @ ..]) => find_api(method, rest),
        _ => (Call::Other, not_found),
    }
}

fn find_api(method: &str, rest: &[&str]) -> (Call, Handler) {
    match (method, rest) {
        ("GET", ["users"]) => (Call::Users, users::list),
        ("POST", ["users"]) => (Call::UserCreate, users::create),
        ("POST", ["users", "actions", "filter"]) => (Call::UsersFilter, users::filter),
        ("GET", ["users", "me"]) => (Call::UserMe, users::me),
        ("GET", ["users", _]) => (Call::User, users::read),
        ("PATCH", ["users", _]) => (Call::UserPatch, users::patch),
        (_, ["oauth-clients", rest @ ..]) => find_client(method, rest),
        ("GET", ["oauth-tokens"]) => (Call::OauthTokens, oauth_tokens::list),
        ("DELETE", ["oauth-tokens", _]) => (Call::OauthTokenDelete, oauth_tokens::delete),
        ("GET", ["tenants", _]) => (Call::TenantMe, tenant::read),
        ("GET", ["groups"]) => (Call::Groups, tenant::groups),
        ("POST", ["groups"]) => (Call::GroupCreate, tenant::create_group),
        ("GET", ["groups", "settings"]) => (Call::GroupSettings, tenant::group_settings),
        ("PATCH", ["groups", "settings"]) => (Call::GroupSettings, tenant::patch_group_settings),
        ("GET", ["csp-origins"]) => (Call::CspOrigins, tenant::csp_origins),
        ("POST", ["csp-origins"]) => (Call::CspOriginCreate, tenant::create_csp_origin),
        ("GET", ["spaces"]) => (Call::Spaces, tenant::spaces),
        _ => (Call::Other, not_found),
    }
}

fn find_client(method: &str, rest: &[&str]) -> (Call, Handler) {
    match (method, rest) {
        ("GET", []) => (Call::OauthClients, oauth_clients::list),
        ("POST", []) => (Call::OauthClientCreate, oauth_clients::create),
        ("GET", [_]) => (Call::OauthClient, oauth_clients::read),
        ("PATCH", [_]) => (Call::OauthClientPatch, oauth_clients::patch),
        ("DELETE", [_]) => (Call::OauthClientDelete, oauth_clients::delete),
        ("POST", [_, "actions", "publish"]) => (Call::OauthClientPublish, oauth_clients::publish),
        ("POST", [_, "client-secrets"]) => (Call::ClientSecretAdd, client_secrets::add),
        ("DELETE", [_, "client-secrets", _]) => (Call::ClientSecretDelete, client_secrets::delete),
        ("GET", [_, "connection-configs", "me"]) => (Call::ConnectionConfig, consent::read),
        ("PATCH", [_, "connection-configs", "me"]) => (Call::ConnectionConfig, consent::patch),
        ("DELETE", [_, "connection-configs", "me"]) => (Call::ConnectionConfig, consent::delete),
        _ => (Call::Other, not_found),
    }
}

fn not_found(_: &mut State, asked: &Asked) -> Answer {
    Answer::api(
        404,
        "HTTP-404",
        "Not found",
        format!("the simulator has no {} {}", asked.method, asked.path),
    )
}
