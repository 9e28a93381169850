//! The folder of the files that are made: secrets and keys of mode 0600, tables for the broker.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::Failure;
use super::plan::{Aim, Purpose};
use crate::qlik::AssertionAlgorithm;
use crate::qlik::key_pair::KeyPair;
use crate::secret::{NewFile, SecretSource, lock_folder};
use crate::tenant::TenantId;

/// Where the files are.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes nothing yet. The tables hold absolute paths, so that the broker may start anywhere.
    pub fn at(path: &Path) -> Result<Self, Failure> {
        let absolute = std::path::absolute(path);
        let failed = |error| Failure::new(format!("--out is not a path: {error}"), "name a folder");
        absolute.map(Self).map_err(failed)
    }

    /// Keeps other commands out of it for as long as it is held.
    pub(super) fn lock(&self) -> Result<File, Failure> {
        let locked = lock_folder(&self.0).map_err(|error| unwritten(&self.0, &error))?;
        locked.ok_or_else(|| Failure::at_work_in(&self.0))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes it where it is not there yet, for its owner only.
    pub fn make(&self) -> Result<(), Failure> {
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(&self.0);
        made.map_err(|error| {
            let message = format!("cannot make the folder {}: {error}", self.0.display());
            Failure::new(message, "name another folder with --out")
        })
    }

    /// The secret or private key of a client.
    pub(super) fn proof(&self, tenant: &TenantId, purpose: Purpose, is_key: bool) -> PathBuf {
        let kind = if is_key { "pem" } else { "secret" };
        self.0.join(format!("{tenant}-{}.{kind}", purpose.as_str()))
    }

    /// The table of a tenant.
    pub fn table(&self, tenant: &TenantId) -> PathBuf {
        self.0.join(format!("{tenant}.toml"))
    }
}

/// The private key of a client that has one, if it is there.
pub(super) fn key_of(aim: &Aim) -> Result<Option<KeyPair>, Failure> {
    if !aim.private_key || !aim.file.exists() {
        return Ok(None);
    }
    let refuse = |why: String| {
        let message = format!("{} cannot be used: {why}", aim.file.display());
        let remedy = "move it away: the next run makes a new key and tells the tenant of it";
        Failure::new(message, remedy)
    };
    let pem = SecretSource::File(aim.file.clone()).read();
    let pem = pem.map_err(|error| refuse(error.to_string()))?;
    let key =
        KeyPair::read(AssertionAlgorithm::Es384, pem).map_err(|error| refuse(error.to_string()))?;
    Ok(Some(key))
}

/// The same, made where it is not there yet.
pub(super) fn make_key(aim: &Aim) -> Result<Option<KeyPair>, Failure> {
    if !aim.private_key || aim.file.exists() {
        return key_of(aim);
    }
    let file = new_file(&aim.file)?;
    let key = KeyPair::generate(AssertionAlgorithm::Es384);
    let key = key.map_err(|error| Failure::new(error.to_string(), "run the command again"))?;
    file.fill(&key.pem)
        .map_err(|error| unwritten(&aim.file, &error))?;
    Ok(Some(key))
}

/// A file of mode 0600 to be.
pub(super) fn new_file(path: &Path) -> Result<NewFile, Failure> {
    NewFile::at(path).map_err(|error| unwritten(path, &error))
}

/// A file that cannot be written.
pub(super) fn unwritten(path: &Path, error: &std::io::Error) -> Failure {
    let message = format!("cannot write {}: {error}", path.display());
    let remedy = "make room there, or name another folder with --out, and run the command again";
    Failure::new(message, remedy)
}
