//! Values that must never be shown: client secrets, signing keys, access tokens.
//!
//! A [`Secret`] has no `Display` and no `Serialize`, its `Debug` is a constant, and its memory is
//! wiped when dropped. [`SecretSource`] remembers where a secret comes from, so that a rotated
//! file can be read again.

mod new_file;

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use aws_lc_rs::constant_time::verify_slices_are_equal;
pub use new_file::{NewFile, lock_folder, move_over, replace_file, replace_private_file};
pub use zeroize::Zeroizing;

/// Larger than any PEM key; a path that names a log or a device by mistake is refused.
const MAX_BYTES: usize = 64 * 1024;
/// Larger than a key set, the certificates of a whole system, or the tables of a thousand tenants.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// A value that is wiped on drop and cannot be printed or serialised.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes ownership of the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself. Every call site is a place to review.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Compares in constant time.
    pub fn matches(&self, other: &str) -> bool {
        verify_slices_are_equal(self.0.as_bytes(), other.as_bytes()).is_ok()
    }
}

/// In constant time.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other.expose())
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where a secret comes from: exactly one of a value, a file or an environment variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// Written in the configuration itself.
    Value(Secret),
    /// A file, read again when the tenant refuses what was read before.
    File(PathBuf),
    /// An environment variable of this process.
    Env(String),
}

/// Why a secret could not be read. Names the place, never the content.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SecretError {
    /// The file could not be opened or read.
    #[error("cannot read the file {path}: {reason}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the operating system said.
        reason: String,
    },
    /// The file is larger than any secret.
    #[error("the file {0} is larger than 64 KiB, which no secret is")]
    TooLarge(String),
    /// Nothing but white space.
    #[error("{0} is empty")]
    Empty(String),
    /// The variable is not set, or is not UTF-8.
    #[error("the environment variable {0} is not set")]
    NotSet(String),
    /// It was read, and is no private key.
    #[error("the private key cannot be used: {0}")]
    NotAKey(String),
}

impl SecretSource {
    /// Reads the secret as it is now. Line ends at the end of a file are not part of it.
    pub fn read(&self) -> Result<Secret, SecretError> {
        match self {
            Self::Value(secret) if secret.expose().is_empty() => {
                Err(SecretError::Empty("the value".into()))
            }
            Self::Value(secret) => Ok(secret.clone()),
            Self::File(path) => read_secret(path),
            Self::Env(name) => read_env(name),
        }
    }
}

fn read_secret(path: &Path) -> Result<Secret, SecretError> {
    let shown = path.display().to_string();
    let unreadable = |error: io::Error| match error.kind() {
        ErrorKind::FileTooLarge => SecretError::TooLarge(shown.clone()),
        _ => SecretError::Unreadable {
            path: shown.clone(),
            reason: error.to_string(),
        },
    };
    let bytes = read_file(path).map_err(unreadable)?;
    if bytes.len() > MAX_BYTES {
        return Err(SecretError::TooLarge(shown));
    }
    let text = std::str::from_utf8(&bytes);
    let text = text.map_err(|_| unreadable(ErrorKind::InvalidData.into()))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(SecretError::Empty(format!("the file {shown}"))),
        text => Ok(Secret::new(text)),
    }
}

/// The content of any file that a configuration names, of which every one may be a secret. A device
/// has no end and tells no length, so no more is read than there may be: 4 MiB.
pub fn read_file(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path)?;
    let told = file.metadata()?.len().min(MAX_FILE_BYTES);
    // Room for all of it: where it grows, a part is left behind.
    let room = usize::try_from(told).unwrap_or_default() + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    let read = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if read as u64 > MAX_FILE_BYTES {
        return Err(ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads a secret from the environment"
)]
fn read_env(name: &str) -> Result<Secret, SecretError> {
    match std::env::var(name) {
        Ok(text) if text.is_empty() => Err(SecretError::Empty(format!("the variable {name}"))),
        Ok(text) => Ok(Secret::new(text)),
        Err(_) => Err(SecretError::NotSet(name.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_the_text() {
        let source = SecretSource::Value(Secret::new("canary"));
        assert!(!format!("{source:?}").contains("canary"));
    }

    #[test]
    fn a_device_is_no_secret() {
        let source = SecretSource::File("/dev/zero".into());
        assert!(matches!(source.read(), Err(SecretError::TooLarge(_))));
    }

    #[test]
    fn line_ends_of_a_file_are_not_part_of_the_secret() {
        let path = std::env::temp_dir().join(format!("qtb-secret-{}", std::process::id()));
        std::fs::write(&path, "s3cret \r\n\n").unwrap();
        let secret = SecretSource::File(path.clone()).read().unwrap();
        assert!(secret.matches("s3cret "));
        std::fs::write(&path, "\n").unwrap();
        assert!(matches!(
            SecretSource::File(path.clone()).read(),
            Err(SecretError::Empty(_))
        ));
        std::fs::remove_file(path).unwrap();
    }
}
