//! What is wrong, in words, and what to do about it.

use std::time::{Duration, SystemTime};

use super::view::View;
use super::words::{counted, listed, span};
use crate::app::standing::Standing;

/// Different answers of tenants that are quoted.
const SAID: usize = 3;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// People get no tokens.
    Bad,
    /// It heals by itself, or hurts later.
    Warning,
    /// Good to know.
    Note,
}

/// One thing that is not as it should be.
#[derive(Debug)]
pub struct Finding {
    /// How bad.
    pub level: Level,
    /// What.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// Everything that is not as it should be, the worst first.
pub fn findings(view: &View<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    of_process(view, &mut found);
    of_tenants(view, &mut found);
    of_settings(view, &mut found);
    of_lists(view, &mut found);
    of_requests(view, &mut found);
    found.sort_by_key(|finding| finding.level);
    found
}

fn add(found: &mut Vec<Finding>, level: Level, what: String, remedy: impl Into<String>) {
    let remedy = remedy.into();
    found.push(Finding {
        level,
        what,
        remedy,
    });
}

/// The tenants of which this is true.
fn named<'a>(view: &'a View<'_>, is_meant: &dyn Fn(&Standing) -> bool) -> Vec<&'a str> {
    let tenants = view.tenants.iter().filter(|tenant| is_meant(tenant));
    tenants.map(Standing::id).collect()
}

fn of_process(view: &View<'_>, found: &mut Vec<Finding>) {
    let app = &view.app;
    if view.live.is_stopping() {
        let what = "The broker is stopping.".into();
        let remedy = "Requests in flight are finished; new ones belong to another replica.";
        add(found, Level::Bad, what, remedy);
    }
    if let Some(problems) = view.live.refused()
        && let Some(first) = problems.0.first()
    {
        let rest = problems.0.len() - 1;
        let more = match rest {
            0 => String::new(),
            rest => format!(" The log has {rest} more."),
        };
        let what = format!(
            "The last reload was refused; configuration {} is used on.",
            app.generation
        );
        add(found, Level::Warning, what, format!("{first}.{more}"));
    }
    for table in app.admissions.sessions().troubles() {
        let what = format!("Nobody answers about the sessions of table {table}.");
        let remedy = "Bring its issuer or portal back. Until then people whose sessions were not verified lately \
            get 503; pages must not send them to log in.";
        add(found, Level::Bad, what, remedy);
    }
    if app.shared.as_ref().is_some_and(|shared| !shared.is_up()) {
        let what = "The shared tier is out of reach.".into();
        let remedy = "This replica serves alone, within its share of the budget. Bring Redis back, and restart no \
            replica meanwhile: logouts that were not told yet would be lost.";
        add(found, Level::Bad, what, remedy);
    }
    if app.metrics.is_none() {
        let what = "There are no numbers to draw charts of.".into();
        let remedy = "Another metrics recorder is installed in this process.";
        add(found, Level::Note, what, remedy);
    }
}

fn of_tenants(view: &View<'_>, found: &mut Vec<Finding>) {
    let refused = named(view, &|tenant| tenant.is_in("client_refused"));
    if !refused.is_empty() {
        let what = format!("{}: refuses the broker's OAuth client.", listed(&refused));
        add(found, Level::Bad, what, remedy_of_refusal(view));
    }
    let throttled = named(view, &|tenant| tenant.is_in("throttled"));
    if !throttled.is_empty() {
        let left = view.tenants.iter().filter_map(Standing::throttled);
        let left = left.max().unwrap_or_default();
        let what = format!(
            "{}: throttles the broker, for another {}.",
            listed(&throttled),
            span(left)
        );
        let remedy = "It is left alone until then; people with a live token notice nothing. The budget should \
            prevent this: who else uses this client's share of the tenant's limit?";
        add(found, Level::Bad, what, remedy);
    }
    let waiting = named(view, &Standing::is_used_up);
    if !waiting.is_empty() {
        let tenants = view.tenants.iter().filter(|tenant| tenant.is_used_up());
        let people: usize = tenants.map(|tenant| tenant.waiting).sum();
        let callers = counted(people as u64, "caller waits", "callers wait");
        let what = format!(
            "{}: the budget is used up, and {callers} for a token.",
            listed(&waiting)
        );
        let remedy = "Everybody keeps the place in the queue, and it empties by itself. Is a key minting that need not?";
        add(found, Level::Warning, what, remedy);
    }
}

/// What hurts later, or some pages only.
fn of_settings(view: &View<'_>, found: &mut Vec<Finding>) {
    let unlisted = named(view, &Standing::is_on_old_secret);
    if !unlisted.is_empty() {
        let what = format!(
            "{}: uses a secret that is not in its list any more.",
            listed(&unlisted)
        );
        let remedy = "The tenant refuses the new one. Keep the old one there, and put the right one in place.";
        add(found, Level::Warning, what, remedy);
    }
    let adrift = named(view, &|tenant| {
        tenant.only_here().is_some_and(|pages| !pages.is_empty())
    });
    if !adrift.is_empty() {
        let pages = view.tenants.iter().filter_map(Standing::only_here);
        let pages: Vec<_> = pages.flatten().collect();
        let what = format!(
            "{}: has pages that its OAuth client does not allow.",
            listed(&adrift)
        );
        let remedy = format!(
            "Embeds of {} stay blank. Add them to the client's allowed origins in the tenant, or take them out of \
             allowed_origins here.",
            listed(&pages)
        );
        add(found, Level::Warning, what, remedy);
    }
}

/// What is drawn from a list of old is true of that time only.
fn of_lists(view: &View<'_>, found: &mut Vec<Finding>) {
    let overdue = named(view, &Standing::is_list_overdue);
    if overdue.is_empty() {
        return;
    }
    let ages = view
        .tenants
        .iter()
        .filter(|tenant| tenant.is_list_overdue());
    let oldest = ages
        .map(Standing::list_age)
        .max_by_key(|age| age.unwrap_or(Duration::MAX));
    let since = match oldest.flatten() {
        Some(age) => format!("for {}", span(age)),
        None => "at all since the broker started".into(),
    };
    let what = format!(
        "{}: the allowed origins of its OAuth client could not be read {since}.",
        listed(&overdue)
    );
    let remedy = "What was read before counts on; a page that was added there since then is refused. Does the \
        management client still work, and still have the scope admin_classic? Run check --live.";
    add(found, Level::Warning, what, remedy);
}

/// The tenant's code tells what to do, where it is a known one.
fn remedy_of_refusal(view: &View<'_>) -> String {
    let tenants = view.tenants.iter();
    let mut said: Vec<_> = tenants.filter_map(Standing::refusal).collect();
    said.sort();
    said.dedup();
    let has = |code: &str| said.iter().any(|said| said.ends_with(code));
    let mut remedy = "People without a live token get 502.".to_owned();
    for said in said.iter().take(SAID) {
        remedy.push(' ');
        remedy.push_str(&capitalised(said));
        remedy.push('.');
    }
    remedy.push_str(match (has("OAUTH-22"), has("OAUTH-14")) {
        (true, _) => " OAUTH-22 is a wrong secret: put the right one in place, its file is read again by itself.",
        (_, true) => " OAUTH-14 is a missing consent: set that of the OAuth client to trusted.",
        _ => " Compare the grant and the scopes of the OAuth client.",
    });
    remedy + " Run check --live to learn more."
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

fn of_requests(view: &View<'_>, found: &mut Vec<Finding>) {
    let hour_ago = view.now.checked_sub(Duration::from_secs(3600));
    let is_late = |at: SystemTime| hour_ago.is_none_or(|hour_ago| at >= hour_ago);
    let recent = view.recent.iter();
    let bugs = recent.filter(|failures| failures.code == "internal" && is_late(failures.at));
    let bugs: Vec<_> = bugs.map(|failures| failures.request_id.as_str()).collect();
    if !bugs.is_empty() {
        let what = "The broker itself failed within the last hour.".into();
        let remedy = format!(
            "Look for \"panicked\" and for {} in the log, and report it.",
            listed(&bugs)
        );
        add(found, Level::Bad, what, remedy);
    }
    let failed = view.history.minute().map_or(0, |span| span.requests()[3]);
    if failed > 0 {
        let requests = counted(failed, "request has", "requests have");
        let what = format!("{requests} failed in the last minute.");
        let remedy = "The last errors below say which, and why.";
        add(found, Level::Bad, what, remedy);
    }
}
