//! The charts of the last hour.

use maud::{Markup, html};

use super::charts::{Chart, Kind, Series, strip};
use super::history::{History, Span};
use super::words::{count, percent, seconds};

const EMPTY: &str = "nothing yet";

/// All of them.
pub fn plots(history: &History) -> Markup {
    html! {
        section aria-labelledby="hour" {
            h2 #hour { "The last hour" }
            div.charts {
                (requests(history).draw())
                (latency(history).draw())
                (tokens(history).draw())
                (lives(history).draw())
                (budgets(history))
            }
        }
    }
}

/// Counts by the minute, a series per name.
fn counted<const N: usize>(
    history: &History,
    names: [&'static str; N],
    of: impl Fn(Span<'_>) -> [u64; N],
) -> Vec<Series> {
    let minutes: Vec<_> = history.minutes().map(&of).collect();
    let [minute, hour] = [history.minute(), history.hour()].map(|span| span.map_or([0; N], &of));
    let names = names.into_iter().enumerate();
    let series = names.map(|(index, name)| Series {
        name,
        points: minutes
            .iter()
            .map(|counts| Some(counts[index] as f64))
            .collect(),
        numbers: [count(minute[index]), count(hour[index])],
    });
    series.collect()
}

fn requests(history: &History) -> Chart {
    let names = ["answered", "refused", "told to wait", "failed"];
    Chart {
        id: "requests",
        title: "Requests by outcome",
        unit: "requests per minute",
        series: counted(history, names, |span| span.requests()),
        kind: Kind::Stacked,
        empty: EMPTY,
    }
}

fn tokens(history: &History) -> Chart {
    let names = [
        "local: from memory",
        "shared: from Redis",
        "minted: by the tenant",
    ];
    Chart {
        id: "tokens",
        title: "Tokens by source",
        unit: "tokens per minute",
        series: counted(history, names, |span| span.issued()),
        kind: Kind::Stacked,
        empty: EMPTY,
    }
}

fn lives(history: &History) -> Chart {
    let names = ["over 3 h", "1 to 3 h", "10 min to 1 h", "under 10 min"];
    let mut series = counted(history, names, |span| span.lives());
    let shares: Vec<_> = history.minutes().map(|span| span.lives()).collect();
    let [minute, hour] = [history.minute(), history.hour()].map(|span| {
        let lives = span.map_or([0; 4], |span| span.lives());
        lives.map(|part| percent(part, lives.iter().sum()))
    });
    for (index, series) in series.iter_mut().enumerate() {
        let points = shares.iter().map(|lives| {
            let all: u64 = lives.iter().sum();
            (all > 0).then(|| lives[index] as f64 / all as f64)
        });
        series.points = points.collect();
        series.numbers = [minute[index].clone(), hour[index].clone()];
    }
    Chart {
        id: "lives",
        title: "Remaining life of the tokens handed out",
        unit: "share of the tokens, %",
        series,
        kind: Kind::Shares,
        empty: EMPTY,
    }
}

fn latency(history: &History) -> Chart {
    let series = [
        ("50 % within (p50)", 0.5),
        ("95 % within (p95)", 0.95),
        ("99 % within (p99)", 0.99),
    ];
    let series = series.map(|(name, share)| Series {
        name,
        points: history.minutes().map(|span| span.seconds(share)).collect(),
        numbers: [history.minute(), history.hour()]
            .map(|span| seconds(span.and_then(|span| span.seconds(share)))),
    });
    Chart {
        id: "latency",
        title: "Time to answer POST /session-token",
        unit: "seconds, in powers of ten",
        series: series.into(),
        kind: Kind::Seconds,
        empty: EMPTY,
    }
}

fn budgets(history: &History) -> Markup {
    let latest = history.latest();
    let tenants = latest.map(|sample| &sample.tenants);
    let others = latest.and_then(|sample| sample.others);
    html! {
        figure.card.wide #budgets {
            figcaption {
                h3 #budgets-title { "Budget available" }
                p.unit { "calls that the tenant could be sent at once; each from 0 to its highest, 60 min ago to now" }
            }
            div {
                table.strips aria-labelledby="budgets-title" {
                    thead {
                        tr {
                            th scope="col" { "Tenant" } th scope="col" { "last hour" }
                            th scope="col" { "now" } th scope="col" { "lowest" }
                        }
                    }
                    tbody {
                        @for tenant in tenants.into_iter().flatten() {
                            (strip(&tenant.id, &history.available(&tenant.id)))
                        }
                        @if let Some((_, rest)) = others {
                            (strip(&format!("lowest of {} others", count(rest as u64)), &history.others()))
                        }
                    }
                }
            }
            @if latest.is_none() { p.quiet { "Nothing yet." } }
        }
    }
}
