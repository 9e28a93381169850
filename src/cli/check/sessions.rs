//! A session table: whoever keeps its sessions or its keys.

use super::fault::Fault;
use super::finding::Findings;
use crate::config::{SessionKind, SessionTable};
use crate::outbound::{self, Proxy};
use crate::session::introspection::{Introspection, IntrospectionRules};
use crate::session::jwt::{Jwt, JwtRules, KeySource};
use crate::session::portal_check::{PortalCheck, PortalCheckRules};
use crate::session::{Keeper, KeysError};

/// Asks what a table depends on. Keys, handles, headers and certificates depend on nobody.
pub(super) async fn check(table: &SessionTable, path: &str, proxy: &Proxy, found: &mut Findings) {
    match &table.kind {
        SessionKind::Jwt(rules) => jwt(rules, path, proxy, found).await,
        SessionKind::Introspection(rules) => introspection(table, rules, path, proxy, found).await,
        SessionKind::PortalCheck(rules) => portal_check(table, rules, path, proxy, found).await,
        SessionKind::ApiKey(_)
        | SessionKind::Handle(_)
        | SessionKind::TrustedHeader(_)
        | SessionKind::ClientCertificate(_) => {}
    }
}

async fn jwt(rules: &JwtRules, path: &str, proxy: &Proxy, found: &mut Findings) {
    let made = outbound::client(proxy, None).ok();
    let made = made.and_then(|http| Jwt::new(rules.clone(), http).ok());
    let Some(jwt) = made else {
        return found.add(Fault::FileUnusable, path, "the keys are not usable");
    };
    let key = match &rules.keys {
        KeySource::JwksUrl(_) => "jwks_url",
        KeySource::Discovery => "issuer",
        KeySource::JwksFile(_) => "jwks_file",
        KeySource::PublicKey(_) => "public_key",
        KeySource::Hmac(_) => "hmac_secret",
    };
    let place = format!("{path}.{key}");
    let without_key = match jwt.without_key().await {
        Ok(without_key) => without_key,
        Err(KeysError::Unreachable) => {
            let address = rules.asked().unwrap_or_default();
            return unreachable(&address, &place, proxy, found).await;
        }
        Err(error @ KeysError::OtherIssuer) => {
            return found.add(
                Fault::IssuerOther,
                format!("{path}.issuer"),
                error.to_string(),
            );
        }
        Err(error) => return found.add(Fault::KeysUnusable, place, error.to_string()),
    };
    if without_key.len() == rules.algorithms.len() {
        let message = "none of the issuer's keys is for any of the algorithms";
        return found.add(Fault::KeysUnfit, format!("{path}.algorithms"), message);
    }
    found.ok(place, "the verification keys are at hand");
    for algorithm in without_key {
        let message = format!("none of the issuer's keys is for {}", algorithm.as_str());
        found.add(
            Fault::AlgorithmUnused,
            format!("{path}.algorithms"),
            message,
        );
    }
}

async fn introspection(
    table: &SessionTable,
    rules: &IntrospectionRules,
    path: &str,
    proxy: &Proxy,
    found: &mut Findings,
) {
    let Ok(http) = outbound::client(proxy, None) else {
        return found.add(Fault::FileUnusable, path, "no HTTP client could be made");
    };
    let keeper = Introspection::new(&table.name, rules.clone(), http);
    let said = keeper.ask_about_nobody().await;
    tell(said, &rules.url, path, proxy, found).await;
}

async fn portal_check(
    table: &SessionTable,
    rules: &PortalCheckRules,
    path: &str,
    proxy: &Proxy,
    found: &mut Findings,
) {
    let Ok(http) = outbound::client(proxy, None) else {
        return found.add(Fault::FileUnusable, path, "no HTTP client could be made");
    };
    let keeper = PortalCheck::new(&table.name, rules.clone(), http);
    let said = keeper.ask_about_nobody().await;
    tell(said, &rules.url, path, proxy, found).await;
}

/// What was said of a session that nobody has.
async fn tell(said: Keeper, url: &str, path: &str, proxy: &Proxy, found: &mut Findings) {
    let place = format!("{path}.url");
    match said {
        Keeper::Closed => found.ok(place, "a session that nobody has is refused"),
        Keeper::Open => {
            let message = "a session that nobody has is taken for one";
            found.add(Fault::SessionsOpen, place, message);
        }
        Keeper::RefusesUs => {
            let message = "the endpoint refuses our client";
            found.add(Fault::AskerRefused, format!("{path}.client_id"), message);
        }
        Keeper::Odd(why) => found.add(Fault::AnswerOdd, place, why),
        Keeper::Silent => unreachable(url, &place, proxy, found).await,
    }
}

/// Why nobody answered: by one more look, whose answer says nothing of sessions.
async fn unreachable(url: &str, place: &str, proxy: &Proxy, found: &mut Findings) {
    match outbound::look(proxy, None, url).await {
        Err(trouble) => found.add(trouble.into(), place, trouble.to_string()),
        Ok(_) => found.add(Fault::Unreachable, place, "there was no answer"),
    }
}
