//! What this program was built from.

use std::sync::LazyLock;

use jiff::Timestamp;

/// The version, as in `Cargo.toml`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit, or `unknown` where neither `QTB_BUILD_COMMIT` nor git said it. Changes that were not committed
/// do not show.
pub const COMMIT: &str = env!("QTB_COMMIT");
/// Version and commit, in one line.
pub const SHORT: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("QTB_COMMIT"), ")");

const TARGET: &str = env!("QTB_TARGET");
const FEATURES: &str = if cfg!(feature = "simulator") {
    "simulator"
} else {
    "none"
};
/// Set by whoever wants a date. Without it there is none, so that the same sources make the same program.
const SOURCE_DATE_EPOCH: Option<&str> = option_env!("SOURCE_DATE_EPOCH");

/// All that is known, in several lines.
pub fn long() -> &'static str {
    static LONG: LazyLock<String> = LazyLock::new(|| describe(SOURCE_DATE_EPOCH));
    &LONG
}

fn describe(epoch: Option<&str>) -> String {
    let date = epoch
        .and_then(|text| text.parse().ok())
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .map(|date| format!("\ndate      {date}"))
        .unwrap_or_default();
    format!("{VERSION}\ncommit    {COMMIT}\ntarget    {TARGET}\nfeatures  {FEATURES}{date}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_told_only_where_it_is_given() {
        assert!(describe(Some("1763712000")).ends_with("\ndate      2025-11-21T08:00:00Z"));
        for without in [None, Some(""), Some("yesterday"), Some("99999999999999")] {
            assert!(!describe(without).contains("date"), "{without:?}");
        }
    }
}
