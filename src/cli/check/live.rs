//! `check --live`: what the tenants and the issuers say.

use tokio::time::{Duration, Instant};

use super::{Finding, Level};
use crate::app::Clients;
use crate::budget::Replicas;
use crate::config::{Config, SessionKind, TenantConfig};
use crate::mapping::{LookupField, UserLookup};
use crate::outbound::{self, Proxy};
use crate::qlik::{QlikClient, QlikError};
use crate::session::jwt::Jwt;

const PATIENCE: Duration = Duration::from_secs(20);
/// A subject that no tenant has: being told so proves that the client's secret or key is accepted.
const NOBODY: &str = "qlik-token-broker-check-nobody";

/// Calls the tenants and the issuers.
pub(super) async fn findings(config: &Config, subject: Option<&str>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for tenant in config.tenants.values() {
        findings.extend(check_tenant(tenant, &config.proxy, subject).await);
    }
    for table in &config.sessions {
        if let SessionKind::Jwt(rules) = &table.kind {
            let made = outbound::client(&config.proxy, None)
                .ok()
                .and_then(|http| Jwt::new(rules.clone(), http).ok());
            let place = format!("session {}", table.name);
            findings.push(match made {
                None => Finding::new(
                    Level::Error,
                    place,
                    "the keys are not usable",
                    "check the key's file",
                ),
                Some(jwt) => match jwt.keys_at_hand().await {
                    Ok(()) => {
                        Finding::new(Level::Ok, place, "the verification keys are at hand", "")
                    }
                    Err(error) => Finding::new(
                        Level::Error,
                        place,
                        error.to_string(),
                        "check jwks_url or the issuer's address, and the way there",
                    ),
                },
            });
        }
    }
    findings
}

/// What one tenant says.
pub(crate) async fn check_tenant(
    tenant: &TenantConfig,
    proxy: &Proxy,
    subject: Option<&str>,
) -> Vec<Finding> {
    let place = format!("tenants.{}", tenant.tenant.id);
    let made = Clients::of(tenant, proxy, Replicas::ONE);
    let made = made.and_then(|made| made.issuing().map(|client| (made, client)));
    let (clients, client) = match made {
        Ok(made) => made,
        Err(error) => {
            return vec![Finding::new(
                Level::Error,
                error.place,
                error.reason,
                "correct the file",
            )];
        }
    };
    if let Err(error) = client.reach().await {
        let remedy = "check the URL, DNS, the proxy and the CA";
        return vec![Finding::new(
            Level::Error,
            format!("{place}.url"),
            error.to_string(),
            remedy,
        )];
    }
    let reached = Finding::new(Level::Ok, format!("{place}.url"), "the tenant answers", "");
    let trial = trial_mint(&clients, &client, tenant, &place, subject).await;
    let mut findings = vec![reached, trial];
    findings.extend(others(&clients, &place).await);
    findings
}

/// The clients that act for themselves.
async fn others(clients: &Clients<'_>, place: &str) -> Vec<Finding> {
    let remedy = "check its secret, its grant client_credentials, its scopes and its consent";
    let finding = |key: &str, outcome: Result<(), String>| {
        let key = format!("{place}.{key}");
        match outcome {
            Ok(()) => Finding::new(Level::Ok, key, "the client gets a token of its own", ""),
            Err(error) => Finding::new(Level::Error, key, error, remedy),
        }
    };
    let mut findings = Vec::new();
    match clients.management() {
        Ok(None) => {}
        Ok(Some(management)) => {
            let reached = management.reach().await;
            findings.push(finding(
                "management",
                reached.map_err(|error| error.to_string()),
            ));
        }
        Err(error) => findings.push(finding("management", Err(error.reason))),
    }
    match clients.service() {
        Ok(None) => {}
        Ok(Some((client, scopes))) => {
            let asked = async {
                let (turn, deadline) = (clients.turn().await?, Instant::now() + PATIENCE);
                client.client_credentials(&scopes, turn, deadline).await
            };
            let outcome = asked.await.map(drop).map_err(|error| error.to_string());
            findings.push(finding("service", outcome));
        }
        Err(error) => findings.push(finding("service", Err(error.reason))),
    }
    findings
}

async fn trial_mint(
    clients: &Clients<'_>,
    client: &QlikClient,
    tenant: &TenantConfig,
    place: &str,
    subject: Option<&str>,
) -> Finding {
    let Ok(user) = UserLookup::new(LookupField::Subject, subject.unwrap_or(NOBODY)) else {
        return Finding::new(
            Level::Error,
            "--subject",
            "is empty, too long or has control characters",
            "name a subject",
        );
    };
    let minted = async {
        let (turn, deadline) = (clients.turn().await?, Instant::now() + PATIENCE);
        let scopes = &tenant.tenant.scopes;
        client.impersonate(&user, scopes, turn, deadline).await
    };
    let minted = minted.await;
    let client_key = format!("{place}.client_id");
    match (minted, subject) {
        (Ok(token), _) => {
            let revoked = async {
                let (turn, deadline) = (clients.turn().await?, Instant::now() + PATIENCE);
                client.revoke(&token, turn, deadline).await
            };
            let after = if revoked.await.is_ok() {
                "and was revoked again"
            } else {
                "and could not be revoked"
            };
            Finding::new(
                Level::Ok,
                client_key,
                format!("a token was minted for {} s {after}", token.life.as_secs()),
                "",
            )
        }
        (Err(QlikError::UserUnknown | QlikError::UserDisabled), None) => {
            let message = "the client's proof is accepted; whether its grant and scopes are is not shown without a user";
            Finding::new(
                Level::Warning,
                client_key,
                message,
                "name a user with --subject",
            )
        }
        (Err(error @ QlikError::ClientRefused { .. }), _) => {
            let remedy = "check the secret, that the client has the impersonation grant and these scopes, and that its consent is trusted";
            Finding::new(Level::Error, client_key, error.to_string(), remedy)
        }
        (Err(error @ (QlikError::UserUnknown | QlikError::UserDisabled)), _) => Finding::new(
            Level::Error,
            "--subject",
            error.to_string(),
            "create or enable the user in the tenant",
        ),
        (Err(error), _) => Finding::new(
            Level::Error,
            place,
            error.to_string(),
            "try again later, or check what answers at this address",
        ),
    }
}
