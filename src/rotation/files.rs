//! The file of a secret or key, and what a rotation keeps beside it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::digest;
use crate::provision::{Before, Failure};
use crate::secret::{
    NewFile, Secret, SecretSource, lock_folder, move_over, read_file, replace_private_file,
};

/// The files of one rotation. Nobody else has them meanwhile.
#[derive(Debug)]
pub struct Files {
    /// What the broker reads.
    pub(super) current: PathBuf,
    /// The new one, until it is put in place.
    pub(super) next: PathBuf,
    journal: PathBuf,
    _lock: File,
}

/// What a rotation knows from its beginning. Whatever it did since, the files show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Journal {
    pub client_id: String,
    /// What names the old one, if that could be told.
    pub old: Option<String>,
    /// All that were there.
    pub known: Vec<String>,
    /// The digest of the old one: as long as the file has it, the new one is not in place.
    pub digest: String,
    pub began: Timestamp,
}

impl Journal {
    /// The client's secrets before this rotation added one.
    pub fn before(&self) -> Before<'_> {
        Before {
            known: &self.known,
            at: Some(self.began),
        }
    }
}

impl Files {
    /// Changes nothing.
    pub fn open(current: &Path) -> Result<Self, Failure> {
        let shown = current.display();
        let file = fs::symlink_metadata(current);
        let file = file.map_err(|error| unread(current, &error))?;
        if !file.is_file() {
            let message = format!("{shown} is a link, or no file: something else puts it in place");
            let remedy = "rotate where the secret is kept, with a file of its own, and bring it here as before";
            return Err(Failure::new(message, remedy));
        }
        let beside = |ending: &str| {
            let mut name = OsString::from(current);
            name.push(ending);
            PathBuf::from(name)
        };
        Ok(Self {
            current: current.into(),
            next: beside(".next"),
            journal: beside(".rotation"),
            _lock: lock(current)?,
        })
    }

    pub(super) fn current(&self) -> Result<Secret, Failure> {
        let read = SecretSource::File(self.current.clone()).read();
        read.map_err(|error| super::unusable(&error.to_string()))
    }

    /// Of what the broker reads.
    pub(super) fn digest(&self) -> Result<String, Failure> {
        let secret = self.current()?;
        Ok(hex::encode(digest::of("rotation", [secret.expose()])))
    }

    pub(super) fn journal(&self) -> Result<Option<Journal>, Failure> {
        let text = match read_file(&self.journal) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|error| unread(&self.journal, &error))?,
        };
        let journal = serde_json::from_slice(&text);
        journal.map(Some).map_err(|_| {
            let message = format!("{} is not as it was written", self.journal.display());
            Failure::new(message, self.to_do_by_hand())
        })
    }

    /// What a person has to look at before the command starts anew.
    pub(super) fn to_do_by_hand(&self) -> String {
        format!(
            "see which secrets the client has and which one is in {}, then move {} and {} away",
            self.current.display(),
            self.next.display(),
            self.journal.display()
        )
    }

    pub(super) fn begin(&self, journal: &Journal) -> Result<(), Failure> {
        let text = serde_json::to_string(journal).map_err(|error| unwritten(&self.journal, &error));
        let written = replace_private_file(&self.journal, &text?);
        written.map_err(|error| unwritten(&self.journal, &error))
    }

    /// A place for the new one that is known to be writable, and readable for whoever reads the old one.
    pub(super) fn new_next(&self) -> Result<NewFile, Failure> {
        let file = NewFile::at(&self.next).and_then(|file| file.like(&self.current));
        file.map_err(|error| unwritten(&self.next, &error))
    }

    pub(super) fn swap(&self) -> Result<(), Failure> {
        move_over(&self.next, &self.current).map_err(|error| unwritten(&self.current, &error))
    }

    pub(super) fn end(&self) -> Result<(), Failure> {
        fs::remove_file(&self.journal).map_err(|error| unwritten(&self.journal, &error))
    }
}

/// Of the folder: the files in it are replaced.
fn lock(current: &Path) -> Result<File, Failure> {
    let folder = current.parent().filter(|folder| *folder != Path::new(""));
    let folder = folder.unwrap_or(Path::new("."));
    let locked = lock_folder(folder).map_err(|error| unread(folder, &error))?;
    locked.ok_or_else(|| Failure::at_work_in(folder))
}

fn unread(path: &Path, error: &std::io::Error) -> Failure {
    let message = format!("cannot read {}: {error}", path.display());
    Failure::new(message, "correct that, then run the command again")
}

pub(super) fn unwritten(path: &Path, error: &impl std::fmt::Display) -> Failure {
    let message = format!("cannot write {}: {error}", path.display());
    let remedy = "make room there, or run the command as whoever may write there";
    Failure::new(message, remedy)
}
