//! Files whose content may change while the process runs.
//!
//! They are polled and compared by content: an orchestrator that mounts secrets swaps a symbolic
//! link two folders above, which notifications about a file do not tell.

use std::path::PathBuf;
use std::time::Duration;

use crate::digest::Parts;

/// How often files are looked at. A mounted secret takes a minute to arrive; this adds little.
pub const EVERY: Duration = Duration::from_secs(10);

/// Some files, and what they held at the last look.
#[derive(Debug)]
pub struct Watch {
    files: Vec<PathBuf>,
    seen: [u8; 32],
}

impl Watch {
    /// Takes the first look.
    pub fn new(files: Vec<PathBuf>) -> Self {
        let seen = digest(&files);
        Self { files, seen }
    }

    /// Returns when some file holds something else than at the last look. Looks `every` so often.
    pub async fn changed(&mut self, every: Duration) {
        if self.files.is_empty() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(every).await;
            let now = digest(&self.files);
            if now != self.seen {
                self.seen = now;
                return;
            }
        }
    }
}

/// A file that cannot be read differs from every one that can.
fn digest(files: &[PathBuf]) -> [u8; 32] {
    let mut parts = Parts::of("files");
    for file in files {
        match std::fs::read(file) {
            Ok(content) => {
                parts.add(b"content");
                parts.add(&content);
            }
            Err(_) => parts.add(b"unreadable"),
        }
    }
    parts.digest()
}
