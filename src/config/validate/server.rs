//! The tables that are there once.

use std::num::NonZeroU32;
use std::time::Duration;

use url::Url;

use super::super::problem::Report;
use super::super::{Audit, Cache, Log, LogFormat, Ops, Proxy, Rates, Server, raw};
use super::Reported;
use super::text::{self, DAY, HOUR, SECOND};
use crate::secret::{Secret, SecretSource};
use crate::telemetry::LevelsError;
use crate::tls::TlsSources;

/// Fewer characters than this can be guessed, and the hashes in the audit lines undone.
const MIN_AUDIT_KEY: usize = 16;
/// The same for whoever may make the broker read its configuration again.
const MIN_OPS_TOKEN: usize = 16;

pub fn server(report: &mut Report, raw: &raw::Server) -> Option<Server> {
    let mut duration = |key: &str, text: &str, least, most| {
        text::duration(report, &format!("server.{key}"), text, &(least..=most))
    };
    let request_timeout = duration("request_timeout", &raw.request_timeout, SECOND, HOUR);
    let shutdown_delay = duration("shutdown_delay", &raw.shutdown_delay, Duration::ZERO, HOUR);
    let shutdown_grace = duration("shutdown_grace", &raw.shutdown_grace, Duration::ZERO, HOUR);
    let listen = text::listen(report, "server.listen", &raw.listen);
    let public_url = public_url(report, raw);
    let tls = tls(report, raw.tls.as_ref());
    let trusted_proxies = text::networks(report, "server.trusted_proxies", &raw.trusted_proxies);
    Some(Server {
        listen: listen?,
        request_timeout: request_timeout?,
        max_in_flight: raw.max_in_flight,
        max_waiting: raw.max_waiting,
        shutdown_delay: shutdown_delay?,
        shutdown_grace: shutdown_grace?,
        replicas: NonZeroU32::new(raw.replicas)?,
        public_url: public_url?,
        trusted_proxies: trusted_proxies?,
        tls: tls.ok()?,
    })
}

fn tls(report: &mut Report, raw: Option<&raw::Tls>) -> Result<Option<TlsSources>, Reported> {
    let Some(raw) = raw else {
        return Ok(None);
    };
    let sources = TlsSources {
        certificate: raw.certificate.0.clone(),
        key: raw.key.0.clone(),
        client_ca: raw.client_ca.as_ref().map(|source| source.0.clone()),
    };
    match sources.load() {
        Ok(_) => Ok(Some(sources)),
        Err(error) => {
            let remedy = "name PEM files: the chain, its private key, the clients' authority";
            report.refuse(format!("server.tls.{}", error.key), error.reason, remedy);
            Err(Reported)
        }
    }
}

fn public_url(report: &mut Report, raw: &raw::Server) -> Option<String> {
    let path = "server.public_url";
    if raw.public_url.is_empty() {
        return Some(String::new());
    }
    let url = text::url(
        report,
        path,
        &raw.public_url,
        ("server.allow_http", raw.allow_http),
    )?;
    if url.query().is_some() || url.fragment().is_some() {
        report.refuse(
            path,
            "must not hold a query or a fragment",
            "remove what follows the path",
        );
        return None;
    }
    Some(url.as_str().trim_end_matches('/').to_owned())
}

pub fn ops(report: &mut Report, raw: &raw::Ops) -> Option<Ops> {
    let listen = text::listen(report, "ops.listen", &raw.listen);
    let token = match &raw.token {
        None => Some(None),
        Some(token) => long_secret(report, "ops.token", &token.0, MIN_OPS_TOKEN).map(Some),
    };
    Some(Ops {
        listen: listen?,
        token: token?,
    })
}

/// Two listeners cannot share a port, unless the system chooses it.
pub fn listeners(report: &mut Report, server: &Server, ops: &Ops) {
    let (one, other) = (server.listen, ops.listen);
    let same_ip =
        one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    if one.port() == other.port() && one.port() != 0 && same_ip {
        report.refuse(
            "ops.listen",
            "is the port of server.listen",
            "choose another port",
        );
    }
}

pub fn log(report: &mut Report, raw: &raw::Log) -> Option<Log> {
    let format = raw.format.map(|format| match format {
        raw::Format::Json => LogFormat::Json,
        raw::Format::Pretty => LogFormat::Pretty,
    });
    let remedy = r#"write it like "info" or "info,session=debug,broker::cells=trace""#;
    let level = raw.level.parse();
    let level = level.map_err(|error: LevelsError| {
        report.refuse("log.level", error.to_string(), remedy);
    });
    Some(Log {
        level: level.ok()?,
        format,
    })
}

pub fn audit(report: &mut Report, raw: &raw::Audit) -> Option<Audit> {
    let Some(key) = &raw.key else {
        return Some(Audit { key: None });
    };
    let key = long_secret(report, "audit.key", &key.0, MIN_AUDIT_KEY)?;
    Some(Audit { key: Some(key) })
}

fn long_secret(
    report: &mut Report,
    path: &str,
    source: &SecretSource,
    least: usize,
) -> Option<Secret> {
    let secret = text::secret(report, path, source)?;
    if secret.expose().len() < least {
        let message = format!("is shorter than {least} bytes, so that it can be guessed");
        report.refuse(path, message, "use 32 random characters");
        return None;
    }
    Some(secret)
}

/// A proxy may be plain http: what goes through it is TLS of its own.
pub fn proxy(report: &mut Report, raw: raw::Upstream) -> Option<Proxy> {
    match raw.proxy.as_str() {
        "" => Some(Proxy::None),
        "env" => Some(Proxy::Environment),
        text => match Url::parse(text) {
            Ok(url) if url.has_host() && matches!(url.scheme(), "http" | "https") => {
                Some(Proxy::Url(Secret::new(raw.proxy)))
            }
            _ => {
                let remedy = r#"write it like "http://proxy.example.com:3128", or "env", or """#;
                report.refuse("upstream.proxy", "is not the URL of a proxy", remedy);
                None
            }
        },
    }
}

pub fn cache(report: &mut Report, raw: &raw::Cache) -> Option<Cache> {
    let mut duration = |key: &str, text: &str, least, most| {
        text::duration(report, &format!("cache.{key}"), text, &(least..=most))
    };
    let idle = duration("idle", &raw.idle, SECOND, 30 * DAY);
    let refresh_margin = duration("refresh_margin", &raw.refresh_margin, Duration::ZERO, DAY);
    let min_life = duration("min_life", &raw.min_life, Duration::ZERO, HOUR);
    // Without a pause a page could make the tenant answer one question per call.
    let renewal_pause = duration("renewal_pause", &raw.renewal_pause, SECOND, HOUR);
    Some(Cache {
        max_users: raw.max_users,
        idle: idle?,
        refresh_margin: refresh_margin?,
        min_life: min_life?,
        renewal_pause: renewal_pause?,
        revoke_on_logout: raw.revoke_on_logout,
    })
}

pub fn limits(raw: &raw::Limits) -> Rates {
    Rates {
        sessions: NonZeroU32::new(raw.session_per_minute),
        failures: NonZeroU32::new(raw.failures_per_minute),
    }
}
