//! A repository's folder in the layout of a Hugging Face cache: `models--ORG--NAME/refs/REVISION` holds a commit,
//! `models--ORG--NAME/snapshots/COMMIT/` its files; of a dataset it is `datasets--ORG--NAME`. The user's hub cache is laid out so,
//! and so is our own.

use std::fs;
use std::path::{Path, PathBuf};

use crate::ProvisionError;
use crate::repo_name::RepoKind;

/// One repository's folder in a cache.
pub(crate) struct RepoFolder(PathBuf);

impl RepoFolder {
    pub(crate) fn new(cache: &Path, kind: RepoKind, repo: &str) -> Self {
        Self(cache.join(format!("{}--{}", kind.plural(), repo.replace('/', "--"))))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The commit that `revision` is known to mean here; a full commit hash means itself.
    pub(crate) fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_string());
        }
        let text = fs::read_to_string(self.0.join("refs").join(revision)).ok()?;
        Some(text.trim().to_string()).filter(|commit| is_commit(commit))
    }

    /// Remembers the commit that `revision` means. One half written is no commit and is not believed.
    pub(crate) fn remember(&self, revision: &str, commit: &str) -> Result<(), ProvisionError> {
        let path = self.0.join("refs").join(revision);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(ProvisionError::io("make the folder", folder))?;
        }
        fs::write(&path, commit).map_err(ProvisionError::io("write", &path))
    }

    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.0.join("snapshots").join(commit)
    }

    /// The newest-named copy of a file, whatever its commit.
    pub(crate) fn file(&self, name: &str) -> Option<PathBuf> {
        let snapshots = fs::read_dir(self.0.join("snapshots")).ok()?;
        snapshots.filter_map(|entry| Some(entry.ok()?.path().join(name))).filter(|path| path.is_file()).max()
    }
}

/// Whether this is a full commit hash.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
