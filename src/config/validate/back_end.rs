//! Back ends: what a key or a certificate may do, and in which tenants.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::super::problem::Report;
use super::super::{SessionKind, raw};
use super::known::{Known, is_known, unknown};
use super::tenant::all_of;
use crate::limits::Limiter;
use crate::session::back_end::{BackEnd, Permission};
use crate::session::client_certificate::is_same_name;
use crate::tenant::TenantId;

/// A back end as it is written.
pub struct Claimed<'a> {
    pub id: &'a str,
    pub tenants: Option<&'a [String]>,
    pub allow: &'a [raw::Allow],
    pub ambient: bool,
    pub requests_per_minute: Option<u32>,
}

/// One back end, which must not be allowed what nobody could do for it.
pub fn one(
    report: &mut Report,
    path: &str,
    claimed: &Claimed<'_>,
    known: &Known,
) -> Option<BackEnd> {
    let tenants_path = format!("{path}.tenants");
    let tenants = tenants(report, &tenants_path, claimed.tenants, known)?;
    let allow: Vec<_> = claimed.allow.iter().copied().map(permission).collect();
    let mut is_sound = true;
    for (index, permission) in allow.iter().enumerate() {
        let mut refuse = |message: String, remedy: &str| {
            report.refuse(format!("{path}.allow[{index}]"), message, remedy);
            is_sound = false;
        };
        match permission {
            Permission::Sessions if !known.handles => refuse(
                "allows to register sessions, and no session table keeps them".into(),
                "add a [[session]] table of the type handle",
            ),
            Permission::ServiceToken => {
                for id in tenants.iter().filter(|id| !known.with_service.contains(id)) {
                    let message = format!("allows tokens of a service client that {id} lacks");
                    refuse(message, "add `service` to the tenant");
                }
            }
            _ => {}
        }
    }
    is_sound.then(|| BackEnd {
        id: claimed.id.to_owned(),
        source: format!("key {}", claimed.id).into(),
        tenants,
        allow,
        ambient: claimed.ambient,
        limiter: claimed
            .requests_per_minute
            .and_then(NonZeroU32::new)
            .map(Limiter::per_minute),
    })
}

/// The clients of a `client_certificate` table.
pub fn certified(
    report: &mut Report,
    path: &str,
    raw: &raw::ClientCertificateSession,
    known: &Known,
) -> Option<SessionKind> {
    if !known.client_ca {
        let message = "needs a listener that asks for client certificates";
        let remedy = "set server.tls with client_ca";
        report.refuse(format!("{path}.type"), message, remedy);
    }
    let clients = all_of(&raw.clients, |index, client| {
        let path = format!("{path}.clients[{index}]");
        let earlier = raw.clients.iter().take(index);
        if earlier
            .into_iter()
            .any(|other| is_same_name(&other.name, &client.name))
        {
            let remedy = "write each name once";
            report.refuse(format!("{path}.name"), "is there twice", remedy);
            return None;
        }
        let claimed = Claimed {
            id: &client.name,
            tenants: client.tenants.as_deref(),
            allow: &client.allow,
            ambient: true,
            requests_per_minute: None,
        };
        one(report, &path, &claimed, known).map(Arc::new)
    });
    clients
        .filter(|_| known.client_ca)
        .map(SessionKind::ClientCertificate)
}

fn permission(raw: raw::Allow) -> Permission {
    match raw {
        raw::Allow::Token => Permission::Token,
        raw::Allow::Sessions => Permission::Sessions,
        raw::Allow::Logout => Permission::Logout,
        raw::Allow::ServiceToken => Permission::ServiceToken,
    }
}

fn tenants(
    report: &mut Report,
    path: &str,
    raw: Option<&[String]>,
    known: &Known,
) -> Option<Vec<TenantId>> {
    let Some(names) = raw else {
        return match known.ids.as_slice() {
            [] => None,
            [only] => Some(vec![only.clone()]),
            _ => {
                report.refuse(
                    path,
                    "is required when there are several tenants",
                    "list those that the key may name",
                );
                None
            }
        };
    };
    all_of(names, |index, name| {
        let known_id = TenantId::parse(name).filter(|_| is_known(known, name));
        if known_id.is_none() {
            unknown(report, &format!("{path}[{index}]"), known);
        }
        known_id
    })
}
