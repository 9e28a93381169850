//! `check`: one line per finding, each with what to do.

use clap::Args;
use serde_json::json;
use tokio::time::{Duration, Instant};

use super::ConfigFiles;
use crate::app::Clients;
use crate::config::{self, Config, SessionKind, Sources, TenantConfig};
use crate::mapping::{LookupField, UserLookup};
use crate::outbound;
use crate::qlik::{QlikClient, QlikError};
use crate::session::jwt::Jwt;

const PATIENCE: Duration = Duration::from_secs(20);
/// A subject that no tenant has: being told so proves that the client's secret or key is accepted.
const NOBODY: &str = "qlik-token-broker-check-nobody";

#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    files: ConfigFiles,
    /// Also call the tenants and the issuers of session tokens
    #[arg(long)]
    live: bool,
    /// With --live: mint for this subject in every tenant
    #[arg(long, requires = "live")]
    subject: Option<String>,
    /// Also print the effective configuration, every secret redacted
    #[arg(long)]
    print: bool,
    /// Findings as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Ok,
    Warning,
    Error,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

struct Finding {
    level: Level,
    subject: String,
    message: String,
    remedy: String,
}

impl Finding {
    fn new(
        level: Level,
        subject: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            level,
            subject: subject.into(),
            message: message.into(),
            remedy: remedy.into(),
        }
    }
}

pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let mut findings = Vec::new();
    let problem = |level, problem: &config::Problem| {
        let place = problem
            .place
            .as_ref()
            .map_or_else(String::new, |place| format!(" ({place})"));
        let subject = format!("{}{place}", problem.path);
        Finding::new(level, subject, &problem.message, &problem.remedy)
    };
    let sources = Sources::from_process(options.files.files.clone());
    match config::load(&sources) {
        Err(problems) => {
            findings.extend(problems.0.iter().map(|found| problem(Level::Error, found)));
        }
        Ok(config) => {
            findings.push(Finding::new(
                Level::Ok,
                "configuration",
                "every key is known and every value fits",
                "",
            ));
            findings.extend(
                config
                    .warnings
                    .iter()
                    .map(|found| problem(Level::Warning, found)),
            );
            if options.print {
                println!("{:#}", config.redacted());
            }
            if options.live {
                findings
                    .extend(super::runtime()?.block_on(live(&config, options.subject.as_deref())));
            }
        }
    }
    print(&findings, options.json);
    let errors = findings
        .iter()
        .filter(|finding| finding.level == Level::Error)
        .count();
    anyhow::ensure!(
        errors == 0,
        "{errors} error{}",
        if errors == 1 { "" } else { "s" }
    );
    Ok(())
}

fn print(findings: &[Finding], as_json: bool) {
    for Finding {
        level,
        subject,
        message,
        remedy,
    } in findings
    {
        if as_json {
            println!(
                "{}",
                json!({"level": level.as_str(), "subject": subject, "message": message, "remedy": remedy})
            );
        } else {
            let separator = if remedy.is_empty() { "" } else { "; " };
            println!(
                "{:7} {subject}: {message}{separator}{remedy}",
                level.as_str()
            );
        }
    }
}

async fn live(config: &Config, subject: Option<&str>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for tenant in config.tenants.values() {
        findings.extend(check_tenant(tenant, config, subject).await);
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

async fn check_tenant(
    tenant: &TenantConfig,
    config: &Config,
    subject: Option<&str>,
) -> Vec<Finding> {
    let place = format!("tenants.{}", tenant.tenant.id);
    let client = match Clients::of(tenant, &config.proxy).and_then(|made| made.issuing()) {
        Ok(client) => client,
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
    vec![reached, trial_mint(&client, tenant, &place, subject).await]
}

async fn trial_mint(
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
    let minted = client
        .impersonate(&user, &tenant.tenant.scopes, Instant::now() + PATIENCE)
        .await;
    let client_key = format!("{place}.client_id");
    match (minted, subject) {
        (Ok(token), _) => {
            let revoked = client.revoke(&token).await.is_ok();
            let after = if revoked {
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
