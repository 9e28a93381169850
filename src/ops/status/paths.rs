//! The paths of a plot, as SVG has them.

use std::fmt::Write;

use super::history::HOUR;

/// The plot, in its own units: a sample is one wide.
pub const WIDTH: f64 = HOUR as f64;
/// Its height.
pub const HEIGHT: f64 = 100.0;

/// So many level lines, from the top to the bottom.
pub fn grid(lines: usize) -> String {
    let step = HEIGHT / (lines.max(2) - 1) as f64;
    let mut d = String::new();
    for line in 0..lines {
        // Writing to a string never fails.
        let _ = write!(d, "M0 {}H{WIDTH}", round(line as f64 * step));
    }
    d
}

/// The points that are there, in pieces without gaps; as places in the plot.
fn pieces(points: &[Option<f64>], top: f64) -> Vec<Vec<(f64, f64)>> {
    let first = (HOUR + 1).saturating_sub(points.len());
    let places = points.iter().enumerate().map(|(index, point)| {
        let share = (*point)? / top.max(f64::MIN_POSITIVE);
        Some((
            (first + index) as f64,
            HEIGHT * (1.0 - share.clamp(0.0, 1.0)),
        ))
    });
    let places: Vec<_> = places.collect();
    let pieces = places.split(Option::is_none);
    let pieces = pieces.map(|piece| piece.iter().flatten().copied().collect::<Vec<_>>());
    pieces.filter(|piece| !piece.is_empty()).collect()
}

/// A line through the points, with gaps where there are none.
pub fn line(points: &[Option<f64>], top: f64) -> String {
    let mut d = String::new();
    for piece in pieces(points, top) {
        draw(&mut d, 'M', piece.iter());
        if piece.len() == 1 {
            // A line of no length is seen by its round ends.
            d.push_str("h0");
        }
    }
    d
}

/// What lies between two lines, where the upper one has points.
pub fn area(below: &[Option<f64>], above: &[Option<f64>], top: f64) -> String {
    let common = std::iter::zip(below, above).map(|(below, above)| above.and(*below));
    let below: Vec<_> = common.collect();
    let mut d = String::new();
    for (below, above) in std::iter::zip(pieces(&below, top), pieces(above, top)) {
        draw(&mut d, 'M', above.iter());
        draw(&mut d, 'L', below.iter().rev());
        d.push('Z');
    }
    d
}

/// Leaves out what lies within a level stretch.
fn draw<'a>(d: &mut String, first: char, places: impl Iterator<Item = &'a (f64, f64)>) {
    let places: Vec<_> = places.collect();
    for (index, (x, y)) in places.iter().enumerate() {
        let level = |other: Option<&&(f64, f64)>| {
            other.is_some_and(|other| (round(other.1) - round(*y)).abs() < 0.05)
        };
        if level(index.checked_sub(1).and_then(|index| places.get(index)))
            && level(places.get(index + 1))
        {
            continue;
        }
        let command = if index == 0 { first } else { 'L' };
        let _ = write!(d, "{command}{x} {}", round(*y));
    }
}

/// A tenth of a unit is a sixth of a pixel.
fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_stay_gaps_and_level_stretches_are_short() {
        let points = [Some(1.0), Some(1.0), Some(1.0), None, Some(0.0), Some(1.0)];
        assert_eq!(line(&points, 1.0), "M235 0L237 0M239 100L240 0");
        let floor = [Some(0.0); 6];
        assert_eq!(
            area(&floor, &points, 1.0),
            "M235 0L237 0L237 100L235 100ZM239 100L240 0L240 100L239 100Z"
        );
        assert_eq!(line(&[Some(1.0)], 2.0), "M240 50h0");
    }
}
