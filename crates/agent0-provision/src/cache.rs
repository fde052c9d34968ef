//! The user's cache folder: where things live in it, locks between processes, and the free space on its disk.
//!
//! Layout: `models/FILE` (complete and verified), `models/FILE.part` and friends (downloads under way), `models/hub/` (hub
//! repositories, laid out as `hub_layout.rs` says; `COMMIT.verified` marks a complete one), `datasets/` (those of datasets; of each
//! commit the files asked for, `COMMIT.DIGEST.verified` marks that those of one pattern are complete), `python/NAME/`.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use crate::{Event, Progress, ProvisionError};

/// A folder that holds everything that was fetched or built once and can be fetched or built again.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
    free_bytes: fn(&Path) -> std::io::Result<u64>,
}

impl Cache {
    /// The user's cache: `$AGENT0_CACHE`, else `$XDG_CACHE_HOME/agent0`, else `~/.cache/agent0`. Made if it is missing.
    ///
    /// # Errors
    /// When no folder can be named, or it cannot be made.
    pub fn open() -> Result<Self, ProvisionError> {
        let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let root = set("AGENT0_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").filter(|p| p.is_absolute()).map(|p| p.join("agent0")))
            .or_else(|| std::env::home_dir().filter(|p| !p.as_os_str().is_empty()).map(|p| p.join(".cache/agent0")))
            .ok_or(ProvisionError::NoCacheFolder)?;
        Self::at(root)
    }

    /// A cache in the given folder, made if it is missing.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn at(root: impl Into<PathBuf>) -> Result<Self, ProvisionError> {
        let root = root.into();
        fs::create_dir_all(&root).map_err(ProvisionError::io("make the folder", &root))?;
        let root = std::path::absolute(&root).map_err(ProvisionError::io("find", &root))?;
        Ok(Self { root, free_bytes })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A sub-folder, made if it is missing.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf, ProvisionError> {
        let path = self.root.join(name);
        fs::create_dir_all(&path).map_err(ProvisionError::io("make the folder", &path))?;
        Ok(path)
    }

    /// Fails unless `needed` more bytes fit on the cache's disk, with some room to spare.
    pub(crate) fn check_space(&self, what: &str, needed: u64) -> Result<(), ProvisionError> {
        const SPARE: u64 = 64 << 20;
        let free = (self.free_bytes)(&self.root).map_err(ProvisionError::io("read the free space of", &self.root))?;
        if free < needed + SPARE {
            return Err(ProvisionError::NoSpace { what: what.to_string(), path: self.root.clone(), needed: needed + SPARE, free });
        }
        Ok(())
    }

    /// A cache whose disk claims to have `free` bytes left.
    #[cfg(test)]
    pub(crate) fn with_free_bytes(mut self, free: fn(&Path) -> std::io::Result<u64>) -> Self {
        self.free_bytes = free;
        self
    }
}

/// Bytes that an ordinary user may still write to the disk of `path`.
fn free_bytes(path: &Path) -> std::io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Holds `path` locked against other processes until the returned file is dropped (the system drops it when we die).
/// Waits, and says so, while another holds it.
pub(crate) fn lock(path: &Path, what: &str, progress: Progress) -> Result<File, ProvisionError> {
    let file = File::options().create(true).write(true).truncate(false).open(path).map_err(ProvisionError::io("open", path))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::Error(e)) => return Err(ProvisionError::io("lock", path)(e)),
        Err(TryLockError::WouldBlock) => progress(Event::Note(format!("another process is busy with {what}; waiting for it"))),
    }
    file.lock().map_err(ProvisionError::io("lock", path))?;
    Ok(file)
}

/// Removes a file or folder that may not be there.
pub(crate) fn remove(path: &Path) -> Result<(), ProvisionError> {
    let removed = if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(ProvisionError::io("remove", path)(e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn a_full_disk_is_named_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path()).unwrap().with_free_bytes(|_| Ok(100 << 20));
        assert!(cache.check_space("a model", 30 << 20).is_ok());
        let message = cache.check_space("a model", 491_400_064).unwrap_err().to_string();
        assert!(message.contains("559 MB needed") && message.contains("105 MB free"), "{message}");
    }

    #[test]
    fn free_space_is_read() {
        assert!(free_bytes(Path::new("/")).is_ok());
    }

    #[test]
    fn a_second_holder_waits_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        let notes = Mutex::new(Vec::new());
        let first = lock(&path, "x", &|_| {}).unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| lock(&path, "model x", &|e| notes.lock().unwrap().push(e)).map(drop));
            while notes.lock().unwrap().is_empty() {
                std::thread::yield_now();
            }
            assert!(!second.is_finished());
            drop(first);
            second.join().unwrap().unwrap();
        });
        assert_eq!(*notes.lock().unwrap(), [Event::Note("another process is busy with model x; waiting for it".into())]);
    }
}
