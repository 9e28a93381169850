//! Files that are there as a whole or not at all: a secret that is shown once must not get lost in
//! the middle of its way to the disk.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use super::Secret;

const OWNER_ONLY: u32 = 0o600;
const FOR_ALL: u32 = 0o644;

/// A file of mode 0600 to be: its place is known to be writable before there is anything to write.
/// Dropped unfilled, it leaves nothing behind.
#[derive(Debug)]
pub struct NewFile {
    path: PathBuf,
    draft: PathBuf,
    file: File,
}

impl NewFile {
    /// Refuses a path where there is something already.
    pub fn at(path: &Path) -> io::Result<Self> {
        if fs::symlink_metadata(path).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let draft = draft_of(path)?;
        let file = create(&draft, OWNER_ONLY)?;
        Ok(Self {
            path: path.into(),
            draft,
            file,
        })
    }

    /// Whoever may read the file that it is going to replace may read it as well, and nobody else.
    pub fn like(self, model: &Path) -> io::Result<Self> {
        let (model, own) = (fs::metadata(model)?, self.file.metadata()?);
        if (model.uid(), model.gid()) != (own.uid(), own.gid()) {
            fchown(&self.file, Some(model.uid()), Some(model.gid()))?;
        }
        self.file.set_permissions(model.permissions())?;
        Ok(self)
    }

    /// Writes the secret to the disk itself before the file gets its name. Replaces nothing.
    pub fn fill(mut self, secret: &Secret) -> io::Result<()> {
        write(&mut self.file, secret.expose())?;
        match fs::hard_link(&self.draft, &self.path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(error),
            // Not every file system has links.
            Err(_) => fs::rename(&self.draft, &self.path)?,
            Ok(()) => {}
        }
        sync_folder(&self.path)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.draft));
    }
}

/// Writes what is no secret, in the place of what is there.
pub fn replace_file(path: &Path, text: &str) -> io::Result<()> {
    replace(path, text, FOR_ALL)
}

/// The same for its owner only.
pub fn replace_private_file(path: &Path, text: &str) -> io::Result<()> {
    replace(path, text, OWNER_ONLY)
}

/// Gives a file the place of another, in one step.
pub fn move_over(path: &Path, other: &Path) -> io::Result<()> {
    fs::rename(path, other)?;
    sync_folder(other)
}

fn replace(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let draft = draft_of(path)?;
    let mut file = create(&draft, mode)?;
    let replaced = write(&mut file, text).and_then(|()| fs::rename(&draft, path));
    if replaced.is_err() {
        drop(fs::remove_file(&draft));
    }
    replaced?;
    sync_folder(path)
}

/// Keeps other commands that ask for it out of a folder for as long as it is held; `None` if one of them
/// has it. A file system without locks keeps nobody out.
pub fn lock_folder(folder: &Path) -> io::Result<Option<File>> {
    let file = File::open(folder)?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Ok(None),
        _ => Ok(Some(file)),
    }
}

/// Beside the file, so that it can be renamed; hidden, so that nobody takes it for one.
fn draft_of(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
    let mut draft = OsString::from(".");
    draft.push(name);
    draft.push(".new");
    Ok(path.with_file_name(draft))
}

fn create(draft: &Path, mode: u32) -> io::Result<File> {
    match fs::remove_file(draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode).open(draft)
}

fn write(file: &mut File, text: &str) -> io::Result<()> {
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// The name is on the disk only when its folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_new_file_replaces_nothing_and_leaves_no_draft() {
        let folder = std::env::temp_dir().join(format!("qtb-new-file-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let path = folder.join("a.secret");
        drop(NewFile::at(&path).unwrap());
        NewFile::at(&path).unwrap().fill(&Secret::new("x")).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = NewFile::at(&path).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AlreadyExists);
        replace_file(&path, "y").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "y");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(folder).unwrap();
    }
}
