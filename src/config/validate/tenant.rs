//! The tenants: where they are, how the broker proves itself, what may be asked for.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::super::problem::Report;
use super::super::{Fingerprint, TenantConfig, raw};
use super::known::Known;
use super::{Tables, other_clients, text};
use crate::qlik::credential::{AssertionAlgorithm, Credential, Proof, check_private_key};
use crate::qlik::key_pair::KeyPair;
use crate::tenant::{Origin, Rate, ScopeSet, Tenant, TenantId};

const ONE_PROOF: &str = "give exactly one of client_secret, client_secrets and private_key";

/// All tenants; the second part is there when every one is sound.
pub fn all(
    report: &mut Report,
    tables: &Tables<'_>,
) -> (Known, Option<BTreeMap<TenantId, TenantConfig>>) {
    let mut known = Known::default();
    let mut configs = BTreeMap::new();
    let tenants = tables.tenants(report);
    if tenants.is_empty() {
        report.refuse(
            "tenants",
            "is empty",
            "add a [tenants.NAME] table for your tenant",
        );
    }
    let count = tenants.len();
    for (name, path, raw) in tenants {
        let Some(id) = TenantId::parse(&name) else {
            continue;
        };
        known.ids.push(id.clone());
        if let Some(raw) = &raw {
            let note = |there: bool, ids: &mut Vec<_>| ids.extend(there.then(|| id.clone()));
            note(raw.management.is_some(), &mut known.with_management);
            note(raw.service.is_some(), &mut known.with_service);
            note(raw.origins_from_client, &mut known.origins_from_client);
        }
        if let Some(config) = raw.and_then(|raw| tenant(report, &path, id.clone(), raw)) {
            known.sound.insert(id.clone(), config.tenant.clone());
            configs.insert(id, config);
        }
    }
    let all_are_sound = count > 0 && configs.len() == count;
    (known, all_are_sound.then_some(configs))
}

fn tenant(report: &mut Report, path: &str, id: TenantId, raw: raw::Tenant) -> Option<TenantConfig> {
    let url = address(report, path, &raw);
    let proof = proof(report, path, &Proofs::of(&raw));
    let budget = budget(report, path, &raw.budget);
    let others = other_clients::all(report, path, &raw);
    let scopes = issued_scopes(
        report,
        &format!("{path}.scopes"),
        &raw.scopes,
        raw.allow_admin_scopes,
    );
    let optional_scopes = all_of(&raw.optional_scopes, |index, text| {
        issued_scopes(
            report,
            &format!("{path}.optional_scopes[{index}]"),
            text,
            raw.allow_admin_scopes,
        )
    });
    let allowed_origins = all_of(&raw.allowed_origins, |index, text| {
        let refuse = |error: String| {
            let message = format!("is not an exact origin: {error}");
            let remedy = "write it as browsers send it, such as https://portal.example.com";
            report.refuse(format!("{path}.allowed_origins[{index}]"), message, remedy);
        };
        Origin::parse(text).map_err(refuse).ok()
    });
    let ca_pem = match &raw.ca_file {
        Some(file) => authority(report, &format!("{path}.ca_file"), file).map(Some),
        None => Some(None),
    };
    let tenant = Tenant {
        id,
        url: url?,
        client_id: raw.client_id.clone(),
        scopes: scopes?,
        optional_scopes: optional_scopes?,
        allowed_origins: allowed_origins?,
        client_origins: ArcSwapOption::empty(),
        provision: others.provision.ok()?,
    };
    let credential = Credential {
        client_id: raw.client_id,
        proof: proof?,
    };
    Some(TenantConfig {
        tenant: Arc::new(tenant),
        credential,
        ca_pem: ca_pem?,
        budget: budget?,
        management: others.management.ok()?,
        service: others.service.ok()?,
        origins_from_client: raw.origins_from_client,
        fingerprint: Fingerprint::default(),
    })
}

/// All of them, or none; each is looked at.
pub fn all_of<T, U>(items: &[T], mut each: impl FnMut(usize, &T) -> Option<U>) -> Option<Vec<U>> {
    let each: Vec<Option<U>> = items
        .iter()
        .enumerate()
        .map(|(index, item)| each(index, item))
        .collect();
    each.into_iter().collect()
}

fn address(report: &mut Report, path: &str, raw: &raw::Tenant) -> Option<String> {
    let allow_http = format!("{path}.allow_http");
    let path = format!("{path}.url");
    let url = text::url(report, &path, &raw.url, (&allow_http, raw.allow_http))?;
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        report.refuse(
            path,
            "is more than an address",
            "write https://host and nothing after it",
        );
        return None;
    }
    Some(url.origin().ascii_serialization())
}

/// The tenant's own rule: what goes beyond it is answered 429, to everybody.
const IN_FIVE_MINUTES: u32 = 500;

fn budget(report: &mut Report, path: &str, raw: &raw::Budget) -> Option<Rate> {
    if raw.per_minute * 5 + raw.burst > IN_FIVE_MINUTES {
        let message = "allows more than the tenant does: 500 in 5 minutes, burst and all";
        let remedy = "lower burst, or per_minute: five times that and burst make 500 at most";
        report.refuse(format!("{path}.budget"), message, remedy);
        return None;
    }
    Some(Rate {
        per_minute: NonZeroU32::new(raw.per_minute)?,
        burst: NonZeroU32::new(raw.burst)?,
    })
}

/// Scopes of tokens that stay in the broker.
pub fn scopes(report: &mut Report, path: &str, text: &str) -> Option<ScopeSet> {
    let remedy = "name the scopes, separated by spaces, such as user_default";
    let refuse = |error| report.refuse(path, error, remedy);
    ScopeSet::parse(text).map_err(refuse).ok()
}

/// Scopes of tokens that are handed out.
pub fn issued_scopes(
    report: &mut Report,
    path: &str,
    text: &str,
    allow_admin: bool,
) -> Option<ScopeSet> {
    let scopes = scopes(report, path, text)?;
    if scopes.risky().next().is_none() {
        return Some(scopes);
    }
    if allow_admin {
        let message = "asks for admin* or offline_access: whoever gets a token holds that power whenever its user does";
        report.warn(path, message, "remove that scope unless it is needed");
        return Some(scopes);
    }
    let message = "asks for admin* or offline_access, which a client that issues tokens to pages must not hold";
    let remedy = "remove that scope, or set allow_admin_scopes = true for this tenant";
    report.refuse(path, message, remedy);
    None
}

/// The three ways to prove a client, of which one is given.
pub struct Proofs<'a> {
    pub client_secret: &'a Option<raw::Secret>,
    pub client_secrets: &'a Option<Vec<raw::Secret>>,
    pub private_key: &'a Option<raw::PrivateKey>,
}

impl<'a> Proofs<'a> {
    fn of(raw: &'a raw::Tenant) -> Self {
        Self {
            client_secret: &raw.client_secret,
            client_secrets: &raw.client_secrets,
            private_key: &raw.private_key,
        }
    }
}

pub fn proof(report: &mut Report, path: &str, raw: &Proofs<'_>) -> Option<Proof> {
    let given = [
        ("client_secret", raw.client_secret.is_some()),
        ("client_secrets", raw.client_secrets.is_some()),
        ("private_key", raw.private_key.is_some()),
    ];
    for (key, _) in given.iter().filter(|(_, is_given)| *is_given).skip(1) {
        report.refuse(
            format!("{path}.{key}"),
            "is a second proof of the same client",
            ONE_PROOF,
        );
    }
    match (raw.client_secret, raw.client_secrets, raw.private_key) {
        (Some(secret), None, None) => {
            text::secret(report, &format!("{path}.client_secret"), &secret.0)?;
            Some(Proof::Secrets(vec![secret.0.clone()]))
        }
        (None, Some(secrets), None) => {
            let sources = all_of(secrets, |index, secret| {
                let path = format!("{path}.client_secrets[{index}]");
                text::secret(report, &path, &secret.0).map(|_| secret.0.clone())
            });
            Some(Proof::Secrets(sources?))
        }
        (None, None, Some(key)) => private_key(report, &format!("{path}.private_key"), key),
        (None, None, None) => {
            report.refuse(format!("{path}.client_secret"), "is missing", ONE_PROOF);
            None
        }
        _ => None,
    }
}

fn private_key(report: &mut Report, path: &str, raw: &raw::PrivateKey) -> Option<Proof> {
    let algorithm = match raw.algorithm {
        raw::AssertionAlgorithm::RS256 => AssertionAlgorithm::Rs256,
        raw::AssertionAlgorithm::RS512 => AssertionAlgorithm::Rs512,
        raw::AssertionAlgorithm::ES384 => AssertionAlgorithm::Es384,
    };
    let path = format!("{path}.pem");
    let pem = text::secret(report, &path, &raw.pem.0)?;
    let remedy =
        "make a pair with `qlik-token-broker keygen` and register its public key at the tenant";
    check_private_key(algorithm, pem.expose())
        .map_err(|error| report.refuse(&path, error, remedy))
        .ok()?;
    if raw.kid.is_none() {
        // Its thumbprint stands for it.
        KeyPair::read(algorithm, pem)
            .map_err(|error| report.refuse(path, error.to_string(), "give its `kid`"))
            .ok()?;
    }
    Some(Proof::PrivateKey {
        kid: raw.kid.clone(),
        algorithm,
        pem: raw.pem.0.clone(),
    })
}

pub fn authority(report: &mut Report, path: &str, file: &str) -> Option<Vec<u8>> {
    const MARK: &[u8] = b"-----BEGIN CERTIFICATE-----";
    let pem = text::file(report, path, file)?;
    if !pem.windows(MARK.len()).any(|window| window == MARK) {
        report.refuse(
            path,
            "holds no certificate",
            "name a PEM file with the certificate of the authority",
        );
        return None;
    }
    Some(pem)
}
