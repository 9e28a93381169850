//! The page: what is wrong, the last hour, the tenants, the last errors.

use maud::{DOCTYPE, Markup, html};

use super::charts::patterns;
use super::findings::{Finding, Level, findings};
use super::plots::plots;
use super::tables::{errors, process, tenants};
use super::view::View;
use super::words::{count, counted, percent, seconds, time};

/// All of it.
pub fn page(view: &View<'_>) -> String {
    let found = findings(view);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex";
                title { (headline(view, &found)) " – qlik-token-broker" }
                link rel="icon" href="status.svg" type="image/svg+xml";
                link rel="stylesheet" href="status.css";
            }
            body {
                (patterns())
                header {
                    p.brand { "qlik-token-broker" }
                    p.quiet { "as of " time.number { (time(view.now)) } " UTC" }
                    a href="" { "Reload" }
                }
                main {
                    (state(view, &found))
                    (figures(view))
                    (plots(view.history))
                    (tenants(view))
                    (errors(view))
                    (process(view))
                }
                footer {
                    p.quiet {
                        "Of this replica alone, since it started. Charts: a sample every 15 s, counted over the minute \
                         before it. "
                        a href="readyz" { "readyz" } " · " a href="metrics" { "metrics" }
                    }
                }
            }
        }
    };
    page.into_string()
}

fn headline(view: &View<'_>, found: &[Finding]) -> String {
    let needed = found.iter().filter(|one| one.level < Level::Note).count();
    match needed {
        0 => {
            let (tenants, users) = (view.tenants.len(), view.app.broker.cached_users());
            let (tenants, users) = (
                counted(tenants as u64, "tenant is", "tenants are"),
                counted(users, "user has", "users have"),
            );
            format!("All is well: {tenants} ready, {users} a token at hand.")
        }
        1 => "1 thing needs attention".into(),
        needed => format!("{needed} things need attention"),
    }
}

fn state(view: &View<'_>, found: &[Finding]) -> Markup {
    let mood = match found.first().map(|finding| finding.level) {
        Some(Level::Bad) => "bad",
        Some(Level::Warning) => "warning",
        _ => "fine",
    };
    html! {
        section.state data-mood=(mood) {
            h1 { (headline(view, found)) }
            @if !found.is_empty() {
                ul.findings {
                    @for Finding { level, what, remedy } in found {
                        li.(class(*level)) {
                            strong { span.tag { (word(*level)) } " " (what) }
                            p { (remedy) }
                        }
                    }
                }
            }
        }
    }
}

fn class(level: Level) -> &'static str {
    match level {
        Level::Bad => "bad",
        Level::Warning => "warning",
        Level::Note => "note",
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Bad => "urgent",
        Level::Warning => "warning",
        Level::Note => "note",
    }
}

/// The few numbers to look at first.
fn figures(view: &View<'_>) -> Markup {
    let (minute, hour) = (view.history.minute(), view.history.hour());
    let requests = minute.map_or([0; 4], |span| span.requests());
    let issued = hour.map_or([0; 3], |span| span.issued());
    let kept = issued[0] + issued[1];
    let waiting: usize = view.tenants.iter().map(|tenant| tenant.waiting).sum();
    let slow = minute.and_then(|span| span.seconds(0.95));
    let figures = [
        ("Requests, last minute", count(requests.iter().sum())),
        ("95 % answered within, last minute", seconds(slow)),
        ("Tokens, last hour", count(issued.iter().sum())),
        (
            "Tokens without a mint, last hour",
            percent(kept, issued.iter().sum()),
        ),
        ("Users with a token", count(view.app.broker.cached_users())),
        ("Waiting for a turn", count(waiting as u64)),
    ];
    html! {
        dl.figures {
            @for (name, number) in figures { div { dt { (name) } dd { (number) } } }
        }
    }
}
