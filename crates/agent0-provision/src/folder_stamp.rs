//! A stamp that remembers what the files of a folder have to be, and that they were verified, so that they need not be read again.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::ProvisionError;
use crate::digest::modified;
use crate::model_files::RepoFile;

/// Written when a folder is complete. One half written is not JSON and vouches for nothing.
#[derive(Serialize, Deserialize)]
pub(crate) struct FolderStamp {
    files: Vec<Stamped>,
}

#[derive(Serialize, Deserialize)]
struct Stamped {
    file: RepoFile,
    /// Modification time in nanoseconds when it was verified.
    modified: u64,
}

impl FolderStamp {
    /// The stamp at `path`, if there is one.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// Remembers that all `files` of `folder` were verified.
    pub(crate) fn write(path: &Path, folder: &Path, files: &[RepoFile]) -> Result<(), ProvisionError> {
        let stamped = |file: &RepoFile| {
            let at = folder.join(&file.name);
            let meta = fs::metadata(&at).map_err(ProvisionError::io("look at", &at))?;
            Ok(Stamped { file: file.clone(), modified: modified(&meta) })
        };
        let stamp = Self { files: files.iter().map(stamped).collect::<Result<_, ProvisionError>>()? };
        let text = serde_json::to_vec_pretty(&stamp).map_err(|e| ProvisionError::io("write", path)(e.into()))?;
        fs::write(path, text).map_err(ProvisionError::io("write", path))
    }

    /// Whether all files are there as they were when they were verified.
    pub(crate) fn vouches_for(&self, folder: &Path) -> bool {
        self.files.iter().all(|Stamped { file, modified: then }| {
            fs::metadata(folder.join(&file.name)).is_ok_and(|meta| meta.len() == file.bytes && modified(&meta) == *then)
        })
    }

    /// What the files have to be.
    pub(crate) fn into_files(self) -> Vec<RepoFile> {
        self.files.into_iter().map(|stamped| stamped.file).collect()
    }
}
