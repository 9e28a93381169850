//! The OAuth clients as the tenant has them: grants, scopes, consent.

use super::fault::Fault;
use super::finding::Findings;
use super::tenant::{Desk, Look};
use crate::qlik::admin::{Admin, AdminError, OauthClient};
use crate::qlik::{CLIENT_CREDENTIALS, IMPERSONATION, Role};
use crate::tenant::ScopeSet;

/// What an administrator's eye saw.
#[derive(Default)]
pub(super) struct Seen {
    /// The issuing client, if it is shown.
    pub issuing: Option<OauthClient>,
    /// The clients that cannot work as they are.
    unsound: Vec<Role>,
}

impl Seen {
    /// Whether nothing is known that keeps a client from working.
    pub fn is_sound(&self, role: Role) -> bool {
        !self.unsound.contains(&role)
    }
}

/// A client of the configuration.
struct Ours<'a> {
    role: Role,
    /// Of the table or the part of it that has its `client_id`.
    path: String,
    client_id: &'a str,
    grant: &'static str,
    /// What it is asked for, and where that stands.
    scopes: Vec<(String, &'a ScopeSet)>,
}

/// Compares all of a tenant's clients with their tables.
pub(super) async fn check(look: &Look<'_>, desk: &Desk, found: &mut Findings) -> Seen {
    let admin = desk.management.admin(&desk.bot.token);
    let mut seen = Seen::default();
    for ours in ours(look) {
        let path = format!("{}.client_id", ours.path);
        let before = found.errors();
        match admin.client(ours.client_id).await {
            Ok(client) if is_whole(&client) => {
                compare(&admin, &ours, &client, found).await;
                if ours.role == Role::Issuing {
                    seen.issuing = Some(client);
                }
            }
            Err(error) if error.status() == Some(404) => {
                let message = "the tenant has no such OAuth client";
                found.add(Fault::ClientUnknown, path, message);
            }
            // To see clients takes more than to manage users, and what is not allowed is not wrong.
            Ok(_)
            | Err(AdminError::Refused {
                status: 401 | 403, ..
            }) => {
                let message = "grants, scopes and consent are not shown to the management client";
                found.add(Fault::NotSeen, path, message);
                return seen;
            }
            Err(error) => found.add(Fault::TenantFailed, path, error.to_string()),
        }
        if found.errors() > before {
            seen.unsound.push(ours.role);
        }
    }
    seen
}

/// A tenant shows less to those who are no administrators.
fn is_whole(client: &OauthClient) -> bool {
    client.allowed_grant_types.is_some() || client.allowed_scopes.is_some()
}

/// The issuing client first.
fn ours<'a>(look: &'a Look<'_>) -> Vec<Ours<'a>> {
    let (config, path) = (look.config, &look.path);
    let tenant = &config.tenant;
    let optional = tenant.optional_scopes.iter().enumerate();
    let optional = optional.map(|(index, set)| (format!("{path}.optional_scopes[{index}]"), set));
    let mut all = vec![Ours {
        role: Role::Issuing,
        path: path.clone(),
        client_id: &tenant.client_id,
        grant: IMPERSONATION,
        scopes: std::iter::once((format!("{path}.scopes"), &tenant.scopes))
            .chain(optional)
            .collect(),
    }];
    for (role, other) in [
        (Role::Management, &config.management),
        (Role::Service, &config.service),
    ] {
        let key = role.as_str();
        all.extend(other.iter().map(|other| Ours {
            role,
            path: format!("{path}.{key}"),
            client_id: &other.credential.client_id,
            grant: CLIENT_CREDENTIALS,
            scopes: vec![(format!("{path}.{key}.scopes"), &other.scopes)],
        }));
    }
    all
}

async fn compare(admin: &Admin, ours: &Ours<'_>, client: &OauthClient, found: &mut Findings) {
    let path = format!("{}.client_id", ours.path);
    let before = found.0.len();
    grants(ours, client, &path, found);
    scopes(ours, client, &path, found);
    match admin.is_trusted(&client.client_id).await {
        Ok(true) => {}
        Ok(false) => {
            let message = "the OAuth client asks each user for consent, whom nobody can ask here";
            found.add(Fault::ConsentRequired, &path, message);
        }
        Err(error) => found.add(Fault::TenantFailed, &path, error.to_string()),
    }
    if found.0.len() == before {
        found.ok(
            path,
            "the OAuth client has its one grant, its scopes and trusted consent",
        );
    }
}

fn grants(ours: &Ours<'_>, client: &OauthClient, path: &str, found: &mut Findings) {
    let held = client.allowed_grant_types.iter().flatten();
    let known = [IMPERSONATION, CLIENT_CREDENTIALS];
    if !held.clone().any(|grant| grant == ours.grant) {
        let message = format!("the OAuth client has no grant {}", ours.grant);
        found.add(Fault::GrantMissing, path, message);
    }
    for grant in held.filter(|grant| *grant != ours.grant) {
        // Only what is known is repeated.
        let grant = known.into_iter().find(|known| known == grant);
        let message = format!(
            "the OAuth client has the grant {} as well",
            grant.unwrap_or("of another kind")
        );
        found.add(Fault::GrantExtra, path, message);
    }
}

fn scopes(ours: &Ours<'_>, client: &OauthClient, path: &str, found: &mut Findings) {
    for (place, set) in &ours.scopes {
        for scope in set.as_str().split(' ') {
            if client.holds_scope(scope) == Some(false) {
                let message = format!("the OAuth client does not have the scope {scope}");
                found.add(Fault::ScopeMissing, place, message);
            }
        }
    }
    // To administer is what that client is for.
    if ours.role == Role::Management {
        return;
    }
    let asked: Vec<_> = ours
        .scopes
        .iter()
        .flat_map(|(_, set)| set.as_str().split(' '))
        .collect();
    let held = client.allowed_scopes.iter().flatten();
    let held: Vec<_> = held
        .filter_map(|scope| ScopeSet::parse(scope).ok())
        .collect();
    for scope in held
        .iter()
        .flat_map(ScopeSet::risky)
        .filter(|scope| !asked.contains(scope))
    {
        let shown: String = scope.chars().take(64).collect();
        let message = format!("the OAuth client has the scope {shown}, which is not asked for");
        found.add(Fault::ScopeExtra, path, message);
    }
}
