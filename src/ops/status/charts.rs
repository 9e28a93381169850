//! Charts as inline SVG. Only the plot is drawn, stretched to the width there is; all words stand
//! beside it as HTML, so that they keep their size on a phone. Colours come from the style sheet, and
//! every series has a pattern or a dash of its own besides.

use std::fmt::Write;

use maud::{Markup, html};

use super::paths::{HEIGHT, WIDTH, area, grid, line};

/// A series of points, one per sample; the last is now, and `None` where there is nothing to tell.
pub struct Series {
    /// As the legend has it.
    pub name: &'static str,
    /// The points.
    pub points: Vec<Option<f64>>,
    /// The legend's columns: of the last minute, and of the last hour.
    pub numbers: [String; 2],
}

/// How the series are drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One on top of the other, from nothing on.
    Stacked,
    /// Stacked, and the whole is always 100 %.
    Shares,
    /// Lines of seconds, from 0.1 ms to 10 s in powers of ten.
    Seconds,
}

/// A chart. The id is for the page alone.
pub struct Chart {
    /// Unique in the page.
    pub id: &'static str,
    /// What is shown.
    pub title: &'static str,
    /// The vertical axis: what is counted, in which unit.
    pub unit: &'static str,
    /// In the legend's order, which is that of the stack from bottom to top.
    pub series: Vec<Series>,
    /// How.
    pub kind: Kind,
    /// What stands there while there is nothing.
    pub empty: &'static str,
}

impl Chart {
    /// The chart with its legend, which tells the same in numbers.
    pub fn draw(&self) -> Markup {
        let (top, labels) = self.axis();
        let title = format!("{}-title", self.id);
        let about = format!("{}-about", self.id);
        let is_empty = self.series.iter().all(|series| {
            series
                .points
                .iter()
                .all(|point| point.unwrap_or(0.0) <= 0.0)
        });
        html! {
            figure.card id=(self.id) {
                figcaption { h3 { (self.title) } p.unit { (self.unit) } }
                div.chart {
                    div.y aria-hidden="true" { @for label in &labels { span { (label) } } }
                    div.plot {
                        svg role="img" aria-labelledby={ (title) " " (about) } preserveAspectRatio="none"
                            viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } {
                            title id=(title) { (self.title) ", " (self.unit) }
                            desc id=(about) { (self.about()) }
                            path.grid d=(grid(labels.len())) {}
                            @if self.kind == Kind::Seconds { (self.lines()) } @else { (self.areas(top)) }
                        }
                        @if is_empty { p.empty { (self.empty) } }
                    }
                    div.x aria-hidden="true" {
                        span { "60 min" } span { "45" } span { "30" } span { "15" } span { "now" }
                    }
                }
                (self.legend())
            }
        }
    }

    /// The legend in one sentence.
    fn about(&self) -> String {
        let mut about = "The last hour until now.".to_owned();
        for Series { name, numbers, .. } in &self.series {
            // Writing to a string never fails.
            let [minute, hour] = numbers;
            let _ = write!(
                about,
                " {name}: {minute} in the last minute, {hour} in the hour."
            );
        }
        about
    }

    fn legend(&self) -> Markup {
        let is_line = self.kind == Kind::Seconds;
        html! {
            table.legend {
                thead {
                    tr { th scope="col" { "Series" } th scope="col" { "last minute" } th scope="col" { "last hour" } }
                }
                tbody {
                    // The topmost of a stack first.
                    @for (index, series) in self.series.iter().enumerate().rev() {
                        tr {
                            th scope="row" { (key(index, is_line)) (series.name) }
                            @for number in &series.numbers { td { (number) } }
                        }
                    }
                }
            }
        }
    }

    /// The value at the top of the plot, and the labels from there down to its bottom.
    fn axis(&self) -> (f64, Vec<String>) {
        match self.kind {
            Kind::Seconds => {
                let labels = ["10 s", "1 s", "100 ms", "10 ms", "1 ms", "0.1 ms"];
                (0.0, labels.map(str::to_owned).to_vec())
            }
            Kind::Shares => {
                let labels = ["100 %", "50 %", "0 %"];
                (1.0, labels.map(str::to_owned).to_vec())
            }
            Kind::Stacked => {
                let all = self.series.iter().map(|series| series.points.len()).max();
                let totals = (0..all.unwrap_or(0)).map(|index| self.total(index));
                let top = round_up(totals.fold(0.0, f64::max));
                let labels = [top, top / 2.0, 0.0].map(|value| value.to_string());
                (top, labels.to_vec())
            }
        }
    }

    fn total(&self, index: usize) -> f64 {
        let points = self
            .series
            .iter()
            .filter_map(|series| *series.points.get(index)?);
        points.sum()
    }

    /// Each series between the sum of those below it and the sum that includes it.
    fn areas(&self, top: f64) -> Markup {
        let count = self.series.first().map_or(0, |series| series.points.len());
        let mut below = vec![Some(0.0); count];
        let mut areas = Vec::new();
        for series in &self.series {
            let above: Vec<_> = std::iter::zip(&below, &series.points)
                .map(|(below, point)| Some((*below)? + (*point)?))
                .collect();
            // Where there is nothing of it there is no line either; and be it little, it is seen.
            let drawn = std::iter::zip(&above, &series.points)
                .map(|(above, point)| above.filter(|_| point.is_some_and(|point| point > 0.0)));
            areas.push(area(&below, &drawn.collect::<Vec<_>>(), top));
            below = above;
        }
        html! {
            @for (index, area) in areas.iter().enumerate() {
                @if !area.is_empty() {
                    path class={ "series-" (index) } d=(area) {}
                    @if index > 0 { path fill={ "url(#pattern-" (index) ")" } d=(area) {} }
                }
            }
        }
    }

    fn lines(&self) -> Markup {
        let scaled = |series: &Series| -> Vec<_> {
            let scale = |seconds: &f64| (seconds.max(1e-4).log10() + 4.0) / 5.0;
            series
                .points
                .iter()
                .map(|point| point.as_ref().map(scale))
                .collect()
        };
        html! {
            @for (index, series) in self.series.iter().enumerate() {
                path class={ "line series-" (index) } d=(line(&scaled(series), 1.0)) {}
            }
        }
    }
}

/// One tenant's gauge in a row of its own: too many to be told apart in one plot.
pub fn strip(name: &str, points: &[Option<f64>]) -> Markup {
    let top = points.iter().flatten().copied().fold(1.0, f64::max);
    let known = points.iter().flatten();
    let lowest = known.copied().min_by(f64::total_cmp).unwrap_or(0.0);
    let now = points.last().copied().flatten().unwrap_or(0.0);
    html! {
        tr {
            th scope="row" { (name) }
            td.strip {
                svg role="img" aria-label={ (name) ": " (now) " now, at least " (lowest) " and at most " (top) " in the last hour" }
                    preserveAspectRatio="none" viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } {
                    path.series-0 d=(area(&vec![Some(0.0); points.len()], points, top)) {}
                    path.line.series-0 d=(line(points, top)) {}
                }
            }
            td { (now) } td { (lowest) }
        }
    }
}

/// The key of a legend: the same fill or dash as in the plot.
fn key(index: usize, is_line: bool) -> Markup {
    html! {
        svg.key aria-hidden="true" viewBox="0 0 24 12" {
            @if is_line {
                path class={ "line series-" (index) } d="M0 6H24" {}
            } @else {
                path class={ "series-" (index) } d="M0 0H24V12H0Z" {}
                @if index > 0 { path fill={ "url(#pattern-" (index) ")" } d="M0 0H24V12H0Z" {} }
            }
        }
    }
}

/// What areas are filled with besides their colour; once in the page.
pub fn patterns() -> Markup {
    html! {
        svg.patterns aria-hidden="true" width="0" height="0" {
            defs {
                pattern #pattern-1 patternUnits="userSpaceOnUse" width="4" height="4" {
                    path.ink d="M-1 1L1 -1M0 4L4 0M3 5L5 3" {}
                }
                pattern #pattern-2 patternUnits="userSpaceOnUse" width="4" height="5" { path.ink d="M0 2.5H4" {} }
                pattern #pattern-3 patternUnits="userSpaceOnUse" width="4" height="4" {
                    path.ink d="M0 0L4 4M4 0L0 4" {}
                }
            }
        }
    }
}

/// The next of 2, 4, 10, 20, 40, 100, …, so that the half of it is a whole number.
fn round_up(value: f64) -> f64 {
    let mut top = 2.0;
    for factor in [2.0, 2.5, 2.0].into_iter().cycle().take(40) {
        if value <= top {
            break;
        }
        top *= factor;
    }
    top
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        let values = [0.0, 2.0, 3.0, 5.0, 11.0, 21.0, 41.0, 399.0, 401.0];
        let tops = values.map(|value| round_up(value).to_string());
        assert_eq!(
            tops,
            ["2", "2", "4", "10", "20", "40", "100", "400", "1000"]
        );
    }
}
