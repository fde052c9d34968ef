//! A folder in the making: written under another name beside its own, and renamed when it is whole. Knows nothing of its files.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{ExportError, Exported};

/// Begins the name of a folder that is still being written.
const UNFINISHED: &str = ".unfinished-";
/// Bytes that go to the operating system at a time.
const BUFFER: usize = 1 << 20;

/// The folder, until [`Draft::finish`]. Dropped before, it goes.
pub(super) struct Draft {
    target: PathBuf,
    path: PathBuf,
    /// Held against other processes; the system lets go of it when we die.
    _lock: File,
    files: Vec<(String, u64)>,
    finished: bool,
}

impl Draft {
    /// Begins the folder `target`, for which `bytes` must be free on the disk. What an earlier try has left is removed.
    pub(super) fn begin(target: &Path, bytes: u64) -> Result<Self, ExportError> {
        let absolute = std::path::absolute(target).map_err(|e| ExportError::write(target, e))?;
        // A link to an empty folder is that folder.
        let target = fs::canonicalize(&absolute).unwrap_or(absolute);
        let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else { return Err(ExportError::NoName(target)) };
        if !is_free(&target).map_err(|e| ExportError::write(&target, e))? {
            return Err(ExportError::Occupied(target));
        }
        fs::create_dir_all(parent).map_err(|e| ExportError::write(parent, e))?;
        let path = parent.join(format!("{UNFINISHED}{}", name.to_string_lossy()));
        fs::create_dir_all(&path).map_err(|e| ExportError::write(&path, e))?;
        let lock = File::open(&path).map_err(|e| ExportError::write(&path, e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ExportError::Busy(target)),
            Err(TryLockError::Error(e)) => return Err(ExportError::write(&path, e)),
        }
        let draft = Self { target, path, _lock: lock, files: Vec::new(), finished: false };
        draft.clear()?;
        draft.check_space(bytes)?;
        Ok(draft)
    }

    /// Writes a file and forces it to the disk.
    pub(super) fn write(&mut self, name: &str, content: impl FnOnce(&mut dyn Write) -> Result<(), ExportError>) -> Result<(), ExportError> {
        let path = self.path.join(name);
        let failed = |e| ExportError::write(&self.target.join(name), e);
        let mut file = BufWriter::with_capacity(BUFFER, File::create(&path).map_err(failed)?);
        content(&mut file)?;
        let file = file.into_inner().map_err(|e| failed(e.into_error()))?;
        file.sync_all().map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        self.files.push((name.to_owned(), bytes));
        Ok(())
    }

    /// Writes a file of these bytes.
    pub(super) fn write_bytes(&mut self, name: &str, bytes: &[u8]) -> Result<(), ExportError> {
        let path = self.target.join(name);
        self.write(name, |file| file.write_all(bytes).map_err(|e| ExportError::write(&path, e)))
    }

    /// Writes a JSON file for people to read.
    pub(super) fn write_json(&mut self, name: &str, value: &Value) -> Result<(), ExportError> {
        self.write_bytes(name, format!("{value:#}\n").as_bytes())
    }

    /// Where a file will be: what messages call it.
    pub(super) fn place(&self, name: &str) -> PathBuf {
        self.target.join(name)
    }

    /// Gives the folder its name.
    pub(super) fn finish(mut self) -> Result<Exported, ExportError> {
        let failed = |e| ExportError::write(&self.target, e);
        File::open(&self.path).and_then(|folder| folder.sync_all()).map_err(failed)?;
        fs::rename(&self.path, &self.target).map_err(failed)?;
        self.finished = true;
        if let Some(parent) = self.target.parent() {
            File::open(parent).and_then(|folder| folder.sync_all()).map_err(failed)?;
        }
        Ok(Exported { folder: self.target.clone(), files: std::mem::take(&mut self.files) })
    }

    fn clear(&self) -> Result<(), ExportError> {
        let clear = || -> io::Result<()> {
            for entry in fs::read_dir(&self.path)? {
                fs::remove_file(entry?.path())?;
            }
            Ok(())
        };
        clear().map_err(|e| ExportError::write(&self.path, e))
    }

    fn check_space(&self, needed: u64) -> Result<(), ExportError> {
        // A disk that does not tell is found full when it is.
        let Ok(stat) = rustix::fs::statvfs(&self.path) else { return Ok(()) };
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if free < needed { Err(ExportError::NoSpace { path: self.target.clone(), needed, free }) } else { Ok(()) }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.finished {
            // The error that brings us here is told already; a rest goes with the next try.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Whether nothing, or an empty folder, has this name.
fn is_free(path: &Path) -> io::Result<bool> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(!path.is_symlink()),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => Ok(false),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("new/model");
        let mut draft = Draft::begin(&out, 10).unwrap();
        draft.write_bytes("a", b"abc").unwrap();
        assert!(!out.exists());
        assert!(matches!(Draft::begin(&out, 10), Err(ExportError::Busy(_))));
        drop(draft);
        assert_eq!(fs::read_dir(folder.path().join("new")).unwrap().count(), 0, "a failed export leaves nothing");

        // What a killed process leaves behind goes with the next try.
        let left = folder.path().join("new/.unfinished-model");
        fs::create_dir(&left).unwrap();
        fs::write(left.join("old"), "x").unwrap();
        let mut draft = Draft::begin(&out, 10).unwrap();
        draft.write_bytes("a", b"abc").unwrap();
        let exported = draft.finish().unwrap();
        assert_eq!(exported.files, [("a".to_owned(), 3)]);
        let names: Vec<_> = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["a"]);
        assert!(matches!(Draft::begin(&out, 10), Err(ExportError::Occupied(_))));
        assert_eq!(fs::read(out.join("a")).unwrap(), b"abc");
    }

    #[test]
    fn only_free_names_and_enough_space_will_do() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(Draft::begin(&file, 0), Err(ExportError::Occupied(_))));
        assert!(matches!(Draft::begin(Path::new("/"), 0), Err(ExportError::NoName(_) | ExportError::Occupied(_))));
        let error = Draft::begin(&folder.path().join("huge"), u64::MAX).err().unwrap().to_string();
        assert!(error.contains("not enough disk space") && error.contains("make room"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

        let empty = folder.path().join("empty");
        fs::create_dir(&empty).unwrap();
        std::os::unix::fs::symlink(&empty, folder.path().join("link")).unwrap();
        let mut draft = Draft::begin(&folder.path().join("link"), 0).unwrap();
        draft.write_json("b.json", &serde_json::json!({})).unwrap();
        draft.finish().unwrap();
        assert!(empty.join("b.json").exists());
    }
}
