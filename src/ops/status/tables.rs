//! Tenants, errors and the process, as tables.

use maud::{Markup, html};

use super::view::View;
use super::words::{count, listed, span, time};
use crate::app::standing::Standing;
use crate::telemetry::build;

/// Tenants that are shown: those that need attention, then the busiest.
const ROWS: usize = 40;

/// A table that may be wider than a phone, and is then moved in its own frame: also by keyboard.
fn scrolling(id: &str, title: &str, table: &Markup) -> Markup {
    html! {
        section {
            h2 id=(id) { (title) }
            div.card.scroll tabindex="0" role="region" aria-labelledby=(id) { (table) }
        }
    }
}

/// The tenants and how they stand.
pub fn tenants(view: &View<'_>) -> Markup {
    let shown = &view.tenants[..view.tenants.len().min(ROWS)];
    let hidden = view.tenants.len() - shown.len();
    let table = html! {
        table {
            thead {
                tr {
                    th scope="col" { "Tenant" } th scope="col" { "Health" }
                    th.right scope="col" { "Tokens, last hour" } th.right scope="col" { "Budget now" }
                    th.right scope="col" { "Waiting" }
                    th scope="col" { "Secret in use" } th scope="col" { "Allowed origins" }
                }
            }
            tbody { @for tenant in shown { (row(view, tenant)) } }
            @if hidden > 0 {
                tfoot { tr { td colspan="7" { "and " (count(hidden as u64)) " less busy tenants" (rest(view)) } } }
            }
        }
    };
    scrolling("tenants", "Tenants", &table)
}

/// Those that are not shown are well, unless there are too many in trouble.
fn rest(view: &View<'_>) -> &'static str {
    match view.tenants.get(ROWS).map(Standing::rank) {
        Some(..4) => ", not all of them well",
        _ => ", all of them ready",
    }
}

fn row(view: &View<'_>, tenant: &Standing) -> Markup {
    let issued = view.history.issued(tenant.id());
    html! {
        tr {
            th scope="row" { (tenant.id()) }
            td { (health(tenant)) }
            td.right { (issued.map_or("–".into(), count)) }
            td.right { (tenant.available) }
            td.right { (tenant.waiting) }
            td { @for (client, secret) in &tenant.secrets {
                div {
                    (client) " "
                    @if secret.place == 0 { span.tag.warning { "not listed" } } @else { "no. " (secret.place) }
                    span.quiet { ", generation " (secret.generation) ", for " (span(secret.since.elapsed())) }
                }
            } }
            td.free { (origins(tenant)) }
        }
    }
}

fn health(tenant: &Standing) -> Markup {
    html! {
        @match &tenant.trouble {
            Some(trouble) => {
                div { span.tag.bad { (trouble.reason) } } div.quiet { "asked again in " (span(trouble.left)) }
            }
            None if tenant.is_used_up() => span.tag.warning { "budget used up" },
            None => span.tag.fine { "ready" },
        }
    }
}

fn origins(tenant: &Standing) -> Markup {
    let read = (
        tenant.only_here(),
        tenant.only_at_client(),
        tenant.list_age(),
    );
    let (Some(here), Some(there), Some(age)) = read else {
        let configured = tenant.tenant.allowed_origins.len();
        let why = if tenant.follows_client {
            ", the client's list could not be read yet"
        } else {
            ", the client's list is not read"
        };
        return html! { (configured) " here" span.quiet { (why) } };
    };
    let there: Vec<_> = there.iter().map(String::as_str).collect();
    html! {
        @if here.is_empty() && there.is_empty() { "same here and at the client" }
        @if !here.is_empty() { div { span.tag.warning { "only here" } " " (listed(&here)) } }
        @if !there.is_empty() { div { span.tag.note { "only at the client" } " " (listed(&there)) } }
        div.quiet { "as of " (span(age)) " ago" }
    }
}

/// The last requests that failed.
pub fn errors(view: &View<'_>) -> Markup {
    let table = html! {
        @if view.recent.is_empty() {
            p.quiet { "None since the broker started." }
        } @else {
            table {
                thead {
                    tr {
                        th scope="col" { "Last, UTC" } th.right scope="col" { "Count" } th scope="col" { "Code" }
                        th scope="col" { "Route" } th scope="col" { "Tenant" } th scope="col" { "Why" }
                        th scope="col" { "Last request id" } th scope="col" { "Origin" }
                    }
                }
                tbody {
                    @for failures in &view.recent {
                        tr {
                            td.number { (time(failures.at)) }
                            td.right { (count(failures.count)) }
                            th scope="row" { (failures.status) " " (failures.code) }
                            td { (failures.route) }
                            td { (failures.tenant) }
                            td.free { (failures.why) }
                            td { code { (failures.request_id) } }
                            td { (failures.origin) }
                        }
                    }
                }
            }
        }
    };
    scrolling("errors", "Last errors", &table)
}

/// What runs here.
pub fn process(view: &View<'_>) -> Markup {
    let app = &view.app;
    let [done, failed] = view.history.hour().map_or([0; 2], |span| span.shared());
    html! {
        section aria-labelledby="process" {
            h2 #process { "This broker" }
            dl.card.facts {
                dt { "Version" } dd { (build::SHORT) }
                dt { "Up for" } dd { (span(view.live.started().elapsed())) }
                dt { "Configuration" }
                dd {
                    "generation " (app.generation) ", loaded " (span(app.loaded.elapsed())) " ago"
                    @if view.live.refused().is_some() { " " span.tag.warning { "last reload refused" } }
                }
                dt { "Shared tier" }
                dd {
                    @match &app.shared {
                        None => "not configured",
                        Some(shared) => {
                            @if shared.is_up() { span.tag.fine { "in reach" } } @else { span.tag.bad { "out of reach" } }
                            " " (count(done)) " operations in the last hour, " (count(failed)) " failed"
                        }
                    }
                }
                dt { "Tenants" } dd { (count(view.tenants.len() as u64)) }
            }
        }
    }
}
