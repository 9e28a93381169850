//! Lines for people: what is in a field or a message cannot move the cursor, begin another line or
//! turn the text around.

use std::fmt::{self, Debug, Write};

use tracing::field::Field;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

/// Writes the fields of events and spans.
pub(super) fn fields() -> impl for<'writer> FormatFields<'writer> + 'static {
    debug_fn(field).delimited(" ")
}

fn field(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    match (field.name(), writer.has_ansi_escapes()) {
        ("message", _) => {}
        (name, true) => write!(writer, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m")?,
        (name, false) => write!(writer, "{name}=")?,
    }
    write!(Harmless(writer), "{value:?}")
}

struct Harmless<'a, 'w>(&'a mut Writer<'w>);

impl Write for Harmless<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(is_harmful) {
            let harmful = part.chars().next_back().filter(|last| is_harmful(*last));
            let rest = &part[..part.len() - harmful.map_or(0, char::len_utf8)];
            self.0.write_str(rest)?;
            if let Some(harmful) = harmful {
                write!(self.0, "{}", harmful.escape_default())?;
            }
        }
        Ok(())
    }
}

/// Control characters, separators of lines, and what changes the direction of text.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;
    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::SubscriberExt;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const HOSTILE: &str = "a\r\n2026 INFO forged \u{1b}[31m\u{9b}31m\u{202e}\u{7}\"}\n{";

    /// What is written of hostile texts, in every place where a text can stand.
    fn written(ansi: bool, json: bool) -> String {
        let paper = Paper::default();
        let out = paper.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || out.clone());
        let layer = if json {
            layer.json().flatten_event(true).boxed()
        } else {
            layer.fmt_fields(fields()).with_ansi(ansi).boxed()
        };
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::error_span!("request", shown = %HOSTILE, text = HOSTILE);
            let _inside = span.enter();
            tracing::error!(shown = %HOSTILE, debugged = ?HOSTILE, text = HOSTILE, "{HOSTILE}");
        });
        let written = paper.0.lock().unwrap().clone();
        String::from_utf8(written).unwrap()
    }

    #[test]
    fn c39_no_text_ends_a_line_or_moves_the_cursor() {
        let plain = written(false, false);
        assert_eq!(plain.matches('\n').count(), 1, "{plain}");
        assert!(!plain.trim_end().contains(is_harmful), "{plain:?}");
        assert_eq!(plain.matches("a\\r\\n2026 INFO forged").count(), 6);
        // With colours, which are the only sequences there are.
        let coloured = written(true, false);
        assert_eq!(coloured.matches('\n').count(), 1);
        assert!(coloured.contains('\u{1b}'));
        let rest = coloured.trim_end().replace("\u{1b}[", "");
        assert!(!rest.contains(is_harmful), "{coloured:?}");
        assert!(!coloured.contains("forged \u{1b}"));
        let json = written(false, true);
        assert_eq!(json.matches('\n').count(), 1);
        let line: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(line["message"], HOSTILE);
    }
}
