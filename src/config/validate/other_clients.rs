//! A tenant's clients beside the issuing one, and what they are for.

use super::super::problem::Report;
use super::super::{OtherClient, raw};
use super::Reported;
use super::tenant::{Proofs, issued_scopes, proof, scopes};
use crate::mapping::{ProfileRules, Template};
use crate::qlik::credential::Credential;

pub struct Others {
    pub management: Result<Option<OtherClient>, Reported>,
    pub service: Result<Option<OtherClient>, Reported>,
    pub provision: Result<Option<ProfileRules>, Reported>,
}

pub fn all(report: &mut Report, path: &str, raw: &raw::Tenant) -> Others {
    for (key, is_used) in [
        ("origins_from_client", raw.origins_from_client),
        ("provision_users", raw.provision_users.is_some()),
    ] {
        if is_used && raw.management.is_none() {
            let remedy = "add the management client to the tenant";
            report.refuse(format!("{path}.{key}"), "needs `management`", remedy);
        }
    }
    Others {
        management: management(report, path, raw),
        service: service(report, path, raw),
        provision: provision(report, &format!("{path}.provision_users"), raw),
    }
}

fn management(
    report: &mut Report,
    path: &str,
    tenant: &raw::Tenant,
) -> Result<Option<OtherClient>, Reported> {
    let Some(raw) = &tenant.management else {
        return Ok(None);
    };
    let path = format!("{path}.management");
    if raw.client_id == tenant.client_id {
        let message = "is the issuing client: whoever gets its secret then administers the tenant";
        let remedy = "use a second client, with the grant client_credentials only";
        report.warn(format!("{path}.client_id"), message, remedy);
    }
    let proofs = Proofs {
        client_secret: &raw.client_secret,
        client_secrets: &raw.client_secrets,
        private_key: &raw.private_key,
    };
    let proof = proof(report, &path, &proofs);
    // Administering is what it is for.
    let scopes = scopes(report, &format!("{path}.scopes"), &raw.scopes);
    client(&raw.client_id, proof, scopes)
}

fn service(
    report: &mut Report,
    path: &str,
    tenant: &raw::Tenant,
) -> Result<Option<OtherClient>, Reported> {
    let Some(raw) = &tenant.service else {
        return Ok(None);
    };
    let path = format!("{path}.service");
    let proofs = Proofs {
        client_secret: &raw.client_secret,
        client_secrets: &raw.client_secrets,
        private_key: &raw.private_key,
    };
    let proof = proof(report, &path, &proofs);
    let scopes_path = format!("{path}.scopes");
    let scopes = issued_scopes(report, &scopes_path, &raw.scopes, raw.allow_admin_scopes);
    client(&raw.client_id, proof, scopes)
}

fn client(
    client_id: &str,
    proof: Option<crate::qlik::Proof>,
    scopes: Option<crate::tenant::ScopeSet>,
) -> Result<Option<OtherClient>, Reported> {
    let (proof, scopes) = proof.zip(scopes).ok_or(Reported)?;
    let credential = Credential {
        client_id: client_id.to_owned(),
        proof,
    };
    Ok(Some(OtherClient { credential, scopes }))
}

fn provision(
    report: &mut Report,
    path: &str,
    tenant: &raw::Tenant,
) -> Result<Option<ProfileRules>, Reported> {
    let Some(raw) = &tenant.provision_users else {
        return Ok(None);
    };
    let mut template = |key: &str, text: &str| {
        let refuse = |error: String| {
            report.refuse(
                format!("{path}.{key}"),
                error,
                "write it like {sub} or auth0|{sub}",
            );
        };
        Template::parse(text).map_err(refuse).ok()
    };
    let subject = template("subject", &raw.subject);
    let name = template("name", &raw.name);
    let email = raw.email.as_deref().map(|text| template("email", text));
    let groups = raw.groups.as_deref().map(|text| {
        let template = template("groups", text)?;
        Some(template.only_claim().map(str::to_owned))
    });
    let mut is_sound = tenant.management.is_some() && !matches!(email, Some(None));
    let is_constant = |template: &Template| !template.names_a_claim();
    if subject.as_ref().is_some_and(is_constant) {
        let message = "names no claim, so that everybody would become the same user";
        report.refuse(format!("{path}.subject"), message, "write it like {sub}");
        is_sound = false;
    }
    if matches!(groups, Some(Some(None))) {
        let message = "is not one claim, which lists the groups";
        report.refuse(format!("{path}.groups"), message, "write it like {groups}");
        is_sound = false;
    }
    match (subject, name) {
        (Some(subject), Some(name)) if is_sound => Ok(Some(ProfileRules {
            subject,
            name,
            email: email.flatten(),
            groups: groups.flatten().flatten(),
        })),
        _ => Err(Reported),
    }
}
