//! The pages: the origins of the OAuth client and ours, compared both ways; and the tenant's CSP origins.

use super::fault::Fault;
use super::finding::Findings;
use super::tenant::{Desk, Look};
use crate::qlik::admin::OauthClient;
use crate::tenant::Origin;

/// Where nobody shows the list, so many pages are tried one by one: each costs a call of the budget.
const TRIED: usize = 5;

/// Compares the pages. Without an administrator's eye the tenant is asked as a page would; that says
/// nothing unless the client `is_proven`.
pub(super) async fn check(
    look: &Look<'_>,
    desk: Option<&Desk>,
    seen: Option<&OauthClient>,
    is_proven: bool,
    found: &mut Findings,
) {
    match seen.and_then(|client| client.allowed_origins.as_ref()) {
        Some(theirs) => compare(look, theirs, found),
        // An administrator sees the whole client, but for what is empty.
        None if seen.is_some() => compare(look, &[], found),
        None if is_proven => ask(look, found).await,
        None => {}
    }
    if let Some(desk) = desk.filter(|_| seen.is_some()) {
        csp(look, desk, found).await;
    }
}

fn places<'a>(look: &'a Look<'_>) -> impl Iterator<Item = (String, &'a Origin)> {
    let origins = look.config.tenant.allowed_origins.iter().enumerate();
    origins.map(|(index, origin)| (format!("{}.allowed_origins[{index}]", look.path), origin))
}

fn compare(look: &Look<'_>, theirs: &[String], found: &mut Findings) {
    let before = found.0.len();
    for (place, origin) in places(look) {
        if !theirs.iter().any(|listed| listed == origin.as_str()) {
            missing(place, origin, found);
        }
    }
    let path = format!("{}.allowed_origins", look.path);
    // With `origins_from_client` the broker lets them in as well.
    let is_extra = |listed: &&String| {
        let mut ours = look.config.tenant.allowed_origins.iter();
        !look.config.origins_from_client && !ours.any(|origin| origin.as_str() == *listed)
    };
    for extra in theirs.iter().filter(is_extra) {
        let message = match Origin::parse(extra) {
            Ok(origin) => format!(
                "the OAuth client allows {}, which is not listed here",
                origin.as_str()
            ),
            Err(_) => "the OAuth client allows something that no browser sends as an origin".into(),
        };
        found.add(Fault::OriginExtra, &path, message);
    }
    if found.0.len() == before {
        found.ok(path, "the OAuth client allows the same pages");
    }
}

fn missing(place: String, origin: &Origin, found: &mut Findings) {
    let message = format!("the OAuth client does not allow {}", origin.as_str());
    found.add(Fault::OriginMissing, place, message);
}

async fn ask(look: &Look<'_>, found: &mut Findings) {
    let Ok(client) = look.clients.issuing() else {
        return;
    };
    let before = found.0.len();
    for (place, origin) in places(look).take(TRIED) {
        let asked = async {
            let (_turn, _) = look.turn().await?;
            client.allows_origin(origin.as_str()).await
        };
        match asked.await {
            Ok(true) => {}
            Ok(false) => missing(place, origin, found),
            Err(error) => return found.add(Fault::TenantFailed, place, error.to_string()),
        }
    }
    let path = format!("{}.allowed_origins", look.path);
    let count = look.config.tenant.allowed_origins.len();
    let tried = count.min(TRIED);
    if found.0.len() == before && tried > 0 {
        found.ok(&path, format!("the tenant refuses none of {tried} pages"));
    }
    let message = if count > TRIED {
        "which pages the OAuth client allows is not shown; of these only the first were tried"
    } else {
        "whether the OAuth client allows more pages is not shown"
    };
    found.add(Fault::NotSeen, path, message);
}

/// Embedding by iframe needs an entry, qlik-embed needs none. So pages without one are worth a word
/// only where others have one.
async fn csp(look: &Look<'_>, desk: &Desk, found: &mut Findings) {
    let path = format!("{}.allowed_origins", look.path);
    let admin = desk.management.admin(&desk.bot.token);
    let Ok(entries) = admin.csp_origins().await else {
        return found.add(
            Fault::NotSeen,
            path,
            "the tenant's CSP origins are not shown",
        );
    };
    let is_listed = |origin: &Origin| entries.iter().any(|entry| covers(entry, origin.as_str()));
    let (listed, without): (Vec<_>, Vec<_>) =
        places(look).partition(|(_, origin)| is_listed(origin));
    if listed.is_empty() {
        return found.ok(
            path,
            "no page is a CSP origin of the tenant, which only iframes need",
        );
    }
    if without.is_empty() {
        return found.ok(path, "every page is a CSP origin of the tenant");
    }
    for (place, origin) in without {
        let message = format!(
            "{} is no CSP origin of the tenant, and other pages are",
            origin.as_str()
        );
        found.add(Fault::CspMissing, place, message);
    }
}

/// Whether a CSP source expression (CSP 3, 2.3.1) is for an origin: with or without a scheme, `*.` for
/// any host below.
fn covers(entry: &str, origin: &str) -> bool {
    let entry = entry.trim_end_matches('/');
    let Some((scheme, host)) = origin.split_once("://") else {
        return false;
    };
    let entry_host = match entry.split_once("://") {
        Some((entry_scheme, _)) if entry_scheme != scheme => return false,
        Some((_, entry_host)) => entry_host,
        None => entry,
    };
    match entry_host.strip_prefix("*.") {
        Some(domain) => host
            .strip_suffix(domain)
            .is_some_and(|rest| rest.ends_with('.')),
        None => entry_host == host,
    }
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn a_csp_entry_is_for_an_origin_or_for_the_hosts_below() {
        let origin = "https://portal.acme.test";
        for entry in [
            "https://portal.acme.test",
            "portal.acme.test",
            "https://portal.acme.test/",
            "*.acme.test",
        ] {
            assert!(covers(entry, origin), "{entry}");
        }
        for entry in [
            "http://portal.acme.test",
            "acme.test",
            "*.portal.acme.test",
            "*.cme.test",
            "https://portal.acme.test:8443",
            "",
        ] {
            assert!(!covers(entry, origin), "{entry}");
        }
    }
}
