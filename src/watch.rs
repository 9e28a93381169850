//! Files whose content may change while the process runs.
//!
//! They are polled and compared by content: an orchestrator that mounts secrets swaps a symbolic
//! link two folders above, which notifications about a file do not tell.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::digest::Parts;
use crate::secret::read_file;

/// How often files are looked at. A mounted secret takes a minute to arrive; this adds little.
pub const EVERY: Duration = Duration::from_secs(10);
/// Files that changed are taken as they are once they stayed the same for so long: who writes one may
/// be half way through it.
const SETTLED: Duration = Duration::from_secs(1);
/// After so many looks a file is taken as it is: one that never stays the same must not keep the
/// others from being read.
const LOOKS: usize = 10;

/// Some files, and what they held at the last look.
#[derive(Debug)]
pub struct Watch {
    files: Arc<[PathBuf]>,
    seen: [u8; 32],
}

impl Watch {
    /// Takes the first look, and blocks meanwhile. Of a directory, the names of the `*.toml` in it are
    /// looked at.
    pub fn new(files: Vec<PathBuf>) -> Self {
        let seen = digest(&files);
        let files = files.into();
        Self { files, seen }
    }

    /// Returns when some file holds something else than at the last look. Looks `every` so often.
    pub async fn changed(&mut self, every: Duration) {
        loop {
            sleep(every).await;
            if self.has_changed(every).await {
                return;
            }
        }
    }

    /// Looks whether some file holds something else than at the last look. If so, waits a while for them
    /// to stay as they are, for looks that come `every` so often.
    pub async fn has_changed(&mut self, every: Duration) -> bool {
        let mut now = self.look().await;
        for _ in 0..LOOKS {
            if now == self.seen {
                return false;
            }
            sleep(every.min(SETTLED)).await;
            let before = std::mem::replace(&mut now, self.look().await);
            if now == before {
                break;
            }
        }
        std::mem::replace(&mut self.seen, now) != now
    }

    async fn look(&self) -> [u8; 32] {
        if self.files.is_empty() {
            return self.seen;
        }
        // A file may be on a disk that is far away.
        let files = Arc::clone(&self.files);
        let looking = tokio::task::spawn_blocking(move || digest(&files));
        looking.await.unwrap_or(self.seen)
    }
}

/// A file that cannot be read differs from every one that can.
fn digest(files: &[PathBuf]) -> [u8; 32] {
    let mut parts = Parts::of("files");
    for file in files {
        match read_file(file) {
            Ok(content) => {
                parts.add(b"content");
                parts.add(&content);
            }
            Err(_) => match names(file) {
                Ok(names) => {
                    parts.add(b"directory");
                    parts.add(&names.len().to_be_bytes());
                    for name in &names {
                        parts.add(name);
                    }
                }
                Err(_) => parts.add(b"unreadable"),
            },
        }
    }
    parts.digest()
}

/// The names of the `*.toml` in a directory.
fn names(directory: &Path) -> std::io::Result<Vec<Vec<u8>>> {
    let paths = std::fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path()));
    let mut names = Vec::new();
    for path in paths {
        let path = path?;
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            names.push(path.into_os_string().into_encoded_bytes());
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    const SOON: Duration = Duration::from_millis(10);

    async fn changes(watch: &mut Watch) -> bool {
        timeout(20 * SOON, watch.changed(SOON)).await.is_ok()
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("qtb-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[tokio::test]
    async fn content_counts_and_nothing_else() {
        let folder = folder("watch");
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

    #[tokio::test]
    async fn of_a_directory_the_names_of_configuration_files_count() {
        let folder = folder("watch-directory");
        let mut watch = Watch::new(vec![folder.clone()]);
        std::fs::write(folder.join(".a.toml.swp"), "").unwrap();
        assert!(!changes(&mut watch).await);
        std::fs::write(folder.join("a.toml"), "").unwrap();
        assert!(changes(&mut watch).await);
        std::fs::rename(folder.join("a.toml"), folder.join("b.toml")).unwrap();
        assert!(changes(&mut watch).await);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    /// What is still being written is not read, and what is as it was before is no change.
    #[tokio::test]
    async fn a_change_counts_once_it_is_complete() {
        let folder = folder("watch-half");
        let file = folder.join("file");
        std::fs::write(&file, "").unwrap();
        let mut watch = Watch::new(vec![file.clone()]);
        let writing = async {
            for length in 1..=20 {
                std::fs::write(&file, "x".repeat(length)).unwrap();
                sleep(SOON / 2).await;
            }
        };
        let seen = async {
            watch.changed(20 * SOON).await;
            std::fs::read(&file).unwrap().len()
        };
        let ((), seen) = tokio::join!(writing, seen);
        assert_eq!(seen, 20);
        std::fs::write(&file, "y").unwrap();
        let mended = async {
            sleep(SOON).await;
            std::fs::write(&file, "x".repeat(20)).unwrap();
        };
        let (changed, ()) = tokio::join!(watch.has_changed(10 * SOON), mended);
        assert!(!changed);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    /// Nobody waits for ever for a file that never stays the same.
    #[tokio::test]
    async fn what_changes_without_end_is_taken_as_it_is() {
        let folder = folder("watch-endless");
        let file = folder.join("file");
        std::fs::write(&file, "start").unwrap();
        let mut watch = Watch::new(vec![file.clone()]);
        // Before the first look, which else may find it as it was.
        std::fs::write(&file, "").unwrap();
        let writing = async {
            for length in 1.. {
                std::fs::write(&file, "x".repeat(length)).unwrap();
                sleep(SOON / 4).await;
            }
        };
        tokio::select! {
            changed = timeout(100 * SOON, watch.has_changed(SOON)) => assert_eq!(changed, Ok(true)),
            () = writing => unreachable!(),
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn without_files_nothing_ever_changes() {
        let mut watch = Watch::new(Vec::new());
        assert!(timeout(EVERY * 1000, watch.changed(EVERY)).await.is_err());
    }
}
