//! Numbers, times and lists as people read them.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

/// Names that are written out; of more than these only the number is said.
const NAMES: usize = 5;

/// A count, from 10 000 on with a narrow space between the thousands.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    if digits.len() < 5 {
        return digits;
    }
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

/// How long: the two units that matter.
pub fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, ..) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// How long an answer took.
pub fn seconds(seconds: Option<f64>) -> String {
    match seconds {
        None => "–".into(),
        Some(seconds) if seconds < 0.001 => format!("{:.2} ms", seconds * 1000.0),
        Some(seconds) if seconds < 0.01 => format!("{:.1} ms", seconds * 1000.0),
        Some(seconds) if seconds < 1.0 => format!("{:.0} ms", seconds * 1000.0),
        Some(seconds) => format!("{seconds:.1} s"),
    }
}

/// A part of all. Never rounded up: 100 % is all of it.
pub fn percent(part: u64, all: u64) -> String {
    match (part, part.saturating_mul(100).checked_div(all)) {
        (_, None) => "–".into(),
        (1.., Some(0)) => "< 1 %".into(),
        (_, Some(whole)) => format!("{whole} %"),
    }
}

/// A count of things, with the right form of the word.
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// A time of day, with its date.
pub fn time(at: SystemTime) -> String {
    let at = Timestamp::try_from(at).unwrap_or_default();
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// The first names, and how many more there are.
pub fn listed(names: &[&str]) -> String {
    let shown = &names[..names.len().min(NAMES)];
    let mut text = shown.join(", ");
    if names.len() > NAMES {
        // Writing to a string never fails.
        let _ = write!(text, " and {} more", count((names.len() - NAMES) as u64));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_read_well() {
        assert_eq!(count(9999), "9999");
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        let spans = [0, 59, 60, 3599, 3660, 90_000].map(|time| span(Duration::from_secs(time)));
        assert_eq!(
            spans,
            ["0 s", "59 s", "1 min", "59 min", "1 h 1 min", "1 d 1 h"]
        );
        let times = [0.000_25, 0.0034, 0.25, 2.5].map(|time| seconds(Some(time)));
        assert_eq!(times, ["0.25 ms", "3.4 ms", "250 ms", "2.5 s"]);
        let shares = [(1, 3), (999, 1000), (1, 1000), (0, 9), (9, 9), (0, 0)];
        let shares = shares.map(|(part, all)| percent(part, all));
        assert_eq!(shares, ["33 %", "99 %", "< 1 %", "0 %", "100 %", "–"]);
        assert_eq!(counted(1, "user has", "users have"), "1 user has");
        assert_eq!(listed(&["a", "b"]), "a, b");
        assert_eq!(listed(&["x"; 8]), "x, x, x, x, x and 3 more");
        assert_eq!(time(SystemTime::UNIX_EPOCH), "1970-01-01 00:00:00");
    }
}
