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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    const SOON: Duration = Duration::from_millis(10);

    async fn changes(watch: &mut Watch) -> bool {
        timeout(20 * SOON, watch.changed(SOON)).await.is_ok()
    }

    #[tokio::test]
    async fn content_counts_and_nothing_else() {
        let folder = std::env::temp_dir().join(format!("qtb-watch-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let [one, other] = ["one", "other"].map(|name| folder.join(name));
        std::fs::write(&one, "a").unwrap();
        std::fs::write(&other, "b").unwrap();
        let mut watch = Watch::new(vec![one.clone(), other.clone()]);
        assert!(!changes(&mut watch).await);
        std::fs::write(&one, "a").unwrap();
        assert!(!changes(&mut watch).await, "touched");
        std::fs::write(&other, "c").unwrap();
        assert!(changes(&mut watch).await);
        assert!(!changes(&mut watch).await, "once");
        std::fs::write(&one, "c").unwrap();
        std::fs::write(&other, "a").unwrap();
        assert!(changes(&mut watch).await);
        std::fs::remove_file(&one).unwrap();
        assert!(changes(&mut watch).await, "gone");
        std::fs::write(&one, "").unwrap();
        assert!(changes(&mut watch).await, "empty is not gone");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn without_files_nothing_ever_changes() {
        let mut watch = Watch::new(Vec::new());
        assert!(timeout(EVERY * 1000, watch.changed(EVERY)).await.is_err());
    }
}
