//! The way to a tenant: its name, its certificate, what answers, and what time it is there.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use url::{Host, Url};

use super::fault::Fault;
use super::finding::Findings;
use super::tenant::Scene;
use crate::clock;
use crate::config::TenantConfig;
use crate::outbound::{self, Answered, Proxy};
use crate::qlik::Proof;

/// A certificate that ends sooner is late: authorities renew theirs a month before.
const ENDS_SOON: Duration = Duration::from_secs(14 * 24 * 3600);
/// A machine that keeps its clock is not off by a second.
const CLOCK_OFF: u64 = 30;
/// A client assertion lives for a minute, and may not come from the future.
const ASSERTION: u64 = 60;
const SHOWN_ADDRESSES: usize = 4;

/// Whether dated proofs can be right; `None` if nobody is there who could be asked anything else.
pub(super) async fn check(
    config: &TenantConfig,
    scene: &Scene<'_>,
    path: &str,
    found: &mut Findings,
) -> Option<bool> {
    let path = format!("{path}.url");
    let url = &config.tenant.url;
    // A proxy asks for the addresses by itself.
    if let Some(name) = name_of(url).filter(|_| matches!(scene.proxy, Proxy::None)) {
        match outbound::resolve(&name).await {
            Ok(addresses) => {
                let shown: Vec<_> = addresses
                    .iter()
                    .take(SHOWN_ADDRESSES)
                    .map(ToString::to_string)
                    .collect();
                found.ok(&path, format!("the name resolves to {}", shown.join(", ")));
            }
            Err(trouble) => {
                found.add(trouble.into(), &path, trouble.to_string());
                return None;
            }
        }
    }
    let discovery = format!("{url}/.well-known/oauth-authorization-server");
    let looked = outbound::look(scene.proxy, config.ca_pem.as_deref(), &discovery).await;
    let answered = match looked {
        Ok(answered) => answered,
        Err(trouble) => {
            found.add(trouble.into(), &path, trouble.to_string());
            return None;
        }
    };
    certificate(&answered, &path, found);
    if !is_tenant(&answered, &path, found) {
        return None;
    }
    Some(time(&answered, config, scene, &path, found))
}

/// The host of an address, if it is a name.
fn name_of(url: &str) -> Option<String> {
    match Url::parse(url).ok()?.host()? {
        Host::Domain(name) => Some(name.to_owned()),
        _ => None,
    }
}

fn certificate(answered: &Answered, path: &str, found: &mut Findings) {
    let Some(ends) = answered.certificate_ends else {
        return;
    };
    let left = ends.duration_since(clock::now()).unwrap_or_default();
    let message = format!("the certificate is good until {}", date(ends));
    if left < ENDS_SOON {
        found.add(Fault::CertificateEnds, path, message);
    } else {
        found.ok(path, message);
    }
}

fn date(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .map_or_else(|_| "a far date".into(), |time| format!("{time:.0}"))
}

fn is_tenant(answered: &Answered, path: &str, found: &mut Findings) -> bool {
    let document = serde_json::from_slice::<Map<String, Value>>(&answered.body);
    let is_document = document.is_ok_and(|document| document.contains_key("token_endpoint"));
    match answered.status {
        200 if is_document => {
            found.ok(path, "a tenant answers");
            return true;
        }
        429 | 500..=599 => {
            let message = format!("the tenant answered with status {}", answered.status);
            found.add(Fault::TenantFailed, path, message);
        }
        status => {
            let message =
                format!("no tenant answers: status {status}, and no OAuth discovery document");
            found.add(Fault::NoTenant, path, message);
        }
    }
    false
}

fn time(
    answered: &Answered,
    config: &TenantConfig,
    scene: &Scene<'_>,
    path: &str,
    found: &mut Findings,
) -> bool {
    let Some(ahead) = answered.clock_ahead else {
        return true;
    };
    let off = ahead.unsigned_abs();
    let others = [&config.management, &config.service].into_iter().flatten();
    let mut credentials = others
        .map(|other| &other.credential)
        .chain([&config.credential]);
    let is_dated = credentials.any(|one| matches!(one.proof, Proof::PrivateKey { .. }));
    let leeway = scene.leeway.map(|leeway| leeway.as_secs().max(CLOCK_OFF));
    let most = leeway
        .into_iter()
        .chain(is_dated.then_some(ASSERTION))
        .min();
    let than = if ahead > 0 { "behind" } else { "ahead of" };
    let message = format!("this machine's clock is {off} s {than} the tenant's");
    if most.is_some_and(|most| off > most) {
        found.add(Fault::ClockWrong, path, message);
        return !is_dated || off <= ASSERTION;
    }
    if off > CLOCK_OFF {
        found.add(Fault::ClockOff, path, message);
    } else {
        found.ok(path, "this machine's clock and the tenant's agree");
    }
    true
}
