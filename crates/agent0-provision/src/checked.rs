//! Files that must have a known size and digest: checking them, and letting them in under their name only when they pass.

use std::fs::{self, File};
use std::path::Path;

use crate::ProvisionError;
use crate::cache::remove;
use crate::digest::sha256_file;
use crate::progress::{Event, Progress, Task};

/// What a file must be.
#[derive(Clone, Copy)]
pub(crate) struct Expected<'a> {
    /// What to call it in messages.
    pub(crate) name: &'a str,
    pub(crate) bytes: u64,
    /// Lower-case hex; without one the size must do.
    pub(crate) sha256: Option<&'a str>,
}

impl Expected<'_> {
    /// Fails, and removes the file, unless it is the one expected.
    pub(crate) fn check(&self, path: &Path, progress: Progress) -> Result<(), ProvisionError> {
        let what = || path.display().to_string();
        let wrong = match self.sha256 {
            Some(expected) => {
                let found = self.digest_of(path, progress)?;
                (found != expected).then(|| ProvisionError::WrongDigest { what: what(), expected: expected.to_string(), found })
            }
            None => {
                let found = fs::metadata(path).map_err(ProvisionError::io("look at", path))?.len();
                (found != self.bytes).then(|| ProvisionError::WrongSize { what: what(), expected: self.bytes, found })
            }
        };
        match wrong {
            Some(error) => remove(path).and(Err(error)),
            None => Ok(()),
        }
    }

    pub(crate) fn digest_of(&self, path: &Path, progress: Progress) -> Result<String, ProvisionError> {
        let task = Task::start(progress, format!("verifying {}", self.name), Some(self.bytes));
        sha256_file(path, &task)
    }

    /// Whether the file at `path` is the one expected. A wrong one is told of and removed, to be fetched again.
    pub(crate) fn keeps(&self, path: &Path, progress: Progress) -> Result<bool, ProvisionError> {
        if !path.exists() {
            return Ok(false);
        }
        match self.check(path, progress) {
            Ok(()) => Ok(true),
            Err(error) if error.is_wrong_content() => {
                progress(Event::Note(format!("{error}; fetching it again")));
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Lets a source complete `part`, checks it and renames it to `target`. Wrong bytes that were partly left over from an
    /// earlier try are worth one fresh try.
    pub(crate) fn bring(
        &self,
        part: &Path,
        target: &Path,
        progress: Progress,
        source: &dyn Fn(&Path) -> Result<(), ProvisionError>,
    ) -> Result<(), ProvisionError> {
        let resumed = part.exists();
        let checked = source(part).and_then(|()| self.check(part, progress));
        match checked {
            Err(error) if resumed && error.is_wrong_content() => {
                progress(Event::Note(format!("{error}; trying once more from the beginning")));
                source(part)?;
                self.check(part, progress)?;
            }
            other => other?,
        }
        File::open(part).and_then(|file| file.sync_all()).map_err(ProvisionError::io("write", part))?;
        fs::rename(part, target).map_err(ProvisionError::io("rename into place", part))
    }
}
