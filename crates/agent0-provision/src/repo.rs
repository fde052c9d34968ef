//! Obtaining a model repository as a folder: from our own cache, the user's Hugging Face cache, or the hub.
//!
//! A revision is resolved to a commit once. Later runs use the same bytes, online or not, until another revision is named.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cache::{Cache, lock};
use crate::checked::Expected;
use crate::folder_stamp::FolderStamp;
use crate::hub::{Hub, HubPath, Query, SOURCE};
use crate::hub_layout::{RepoFolder, is_complete};
use crate::hub_listing::Listing;
use crate::model::Sources;
use crate::model_files::{RepoFile, WEIGHTS_INDEX, choose};
use crate::progress::{Event, Progress};
use crate::repo_name::RepoName;
use crate::{ProvisionError, human_bytes};

/// The folder of a model repository, complete.
///
/// # Errors
/// No such repository, no access, no model in it, a full disk, wrong bytes, nothing in reach: see [`ProvisionError`].
pub(crate) fn obtain(cache: &Cache, name: &RepoName, sources: &Sources, progress: Progress) -> Result<PathBuf, ProvisionError> {
    let repo = Repo { cache, name, ours: RepoFolder::new(&cache.folder("models/hub")?, &name.repo), sources, progress };
    match repo.find() {
        Some(folder) => Ok(folder),
        None => repo.make(),
    }
}

/// One repository's business.
struct Repo<'a> {
    cache: &'a Cache,
    name: &'a RepoName,
    ours: RepoFolder,
    sources: &'a Sources,
    progress: Progress<'a>,
}

impl Repo<'_> {
    /// The folder if it is known and unchanged; takes no time.
    fn find(&self) -> Option<PathBuf> {
        let commit = self.ours.commit(&self.name.revision)?;
        let ours = self.ours.snapshot(&commit);
        let is_ours = || FolderStamp::read(&stamp_of(&ours)).is_some_and(|stamp| stamp.vouches_for(&ours));
        if is_ours() { Some(ours) } else { self.theirs().map(|theirs| theirs.snapshot(&commit)).filter(|folder| is_complete(folder)) }
    }

    /// The repository in the user's Hugging Face cache, which is only read.
    fn theirs(&self) -> Option<RepoFolder> {
        Some(RepoFolder::new(self.sources.hub_cache.as_ref()?, &self.name.repo))
    }

    /// Settles which commit is meant and brings it here if it is not there.
    fn make(&self) -> Result<PathBuf, ProvisionError> {
        fs::create_dir_all(self.ours.path()).map_err(ProvisionError::io("make the folder", self.ours.path()))?;
        let _lock = lock(&self.ours.path().join("lock"), &self.name.repo, self.progress)?;
        // Another process may have brought it while we waited.
        if let Some(folder) = self.find() {
            return Ok(folder);
        }
        let (commit, files) = match self.ours.commit(&self.name.revision) {
            Some(commit) => match FolderStamp::read(&stamp_of(&self.ours.snapshot(&commit))) {
                Some(stamp) => (commit, stamp.into_files()),
                None => self.ask(&commit)?,
            },
            None => {
                if let Some(folder) = self.adopt()? {
                    return Ok(folder);
                }
                self.ask(&self.name.revision)?
            }
        };
        self.ours.remember(&self.name.revision, &commit)?;
        self.bring(&commit, &files)
    }

    /// Takes the commit that the user's Hugging Face cache has for the revision, if it is all there.
    fn adopt(&self) -> Result<Option<PathBuf>, ProvisionError> {
        let found = self.theirs().and_then(|theirs| {
            let commit = theirs.commit(&self.name.revision)?;
            Some((theirs.snapshot(&commit), commit)).filter(|(folder, _)| is_complete(folder))
        });
        let Some((folder, commit)) = found else { return Ok(None) };
        self.ours.remember(&self.name.revision, &commit)?;
        (self.progress)(Event::Note(format!("{}: commit {commit} is in the Hugging Face cache", self.name)));
        Ok(Some(folder))
    }

    /// Asks the hub for the commit of a revision and the files to take.
    fn ask(&self, revision: &str) -> Result<(String, Vec<RepoFile>), ProvisionError> {
        let hub = self.hub()?;
        let name = RepoName { repo: self.name.repo.clone(), revision: revision.to_string() };
        let Listing { commit, files } = Listing::fetch(hub, &name).map_err(|e| self.failed(e))?;
        let index = if files.iter().any(|file| file.name == WEIGHTS_INDEX) {
            let path = HubPath { repo: &name.repo, revision: &commit, file: WEIGHTS_INDEX };
            Some(hub.text(&Query::File(path)).map_err(|e| self.failed(e))?)
        } else {
            None
        };
        let unusable = |cause| ProvisionError::NoModelInRepo { repo: self.name.to_string(), cause };
        let chosen = choose(&files, index.as_deref()).map_err(unusable)?;
        Ok((commit, chosen))
    }

    /// Brings all files of a commit that are not there yet, one after another, and stamps the folder last.
    fn bring(&self, commit: &str, files: &[RepoFile]) -> Result<PathBuf, ProvisionError> {
        let folder = self.ours.snapshot(commit);
        fs::create_dir_all(&folder).map_err(ProvisionError::io("make the folder", &folder))?;
        let mut missing = Vec::new();
        for file in files {
            if !expected(file).keeps(&folder.join(&file.name), self.progress)? {
                missing.push(file);
            }
        }
        let bytes = |part: &Path| fs::metadata(part).map_or(0, |meta| meta.len());
        let needed = missing.iter().map(|file| file.bytes.saturating_sub(bytes(&part_of(&folder, file)))).sum();
        if !missing.is_empty() {
            let hub = self.hub()?;
            self.cache.check_space(&self.name.repo, needed)?;
            let text = format!("{}: commit {commit}, {} file(s) to fetch, {}", self.name, missing.len(), human_bytes(needed));
            (self.progress)(Event::Note(text));
            for file in missing {
                let path = HubPath { repo: &self.name.repo, revision: commit, file: &file.name };
                let fetch = |part: &Path| hub.fetch(&path, file.bytes, part, self.progress);
                let brought = expected(file).bring(&part_of(&folder, file), &folder.join(&file.name), self.progress, &fetch);
                brought.map_err(|e| self.failed(e))?;
            }
        }
        FolderStamp::write(&stamp_of(&folder), &folder, files)?;
        Ok(folder)
    }

    fn hub(&self) -> Result<&Hub, ProvisionError> {
        self.sources.hub.as_ref().ok_or_else(|| self.failed(ProvisionError::source(SOURCE, "HF_HUB_OFFLINE is set")))
    }

    /// A hub that does not deliver leaves no source; other errors say themselves what to do.
    fn failed(&self, error: ProvisionError) -> ProvisionError {
        let ProvisionError::Source { .. } = error else { return error };
        let looked = self.sources.hub_cache.as_ref().map(|at| format!("Hugging Face cache: no complete copy in {}", at.display()));
        ProvisionError::NoSource { model: self.name.to_string(), attempts: looked.into_iter().chain([error.to_string()]).collect() }
    }
}

fn expected(file: &RepoFile) -> Expected<'_> {
    Expected { name: &file.name, bytes: file.bytes, sha256: file.sha256.as_deref() }
}

/// Where a file grows until it is whole.
fn part_of(folder: &Path, file: &RepoFile) -> PathBuf {
    folder.join(format!("{}.part", file.name))
}

/// Beside the folder, so that the folder holds the model and nothing else.
fn stamp_of(folder: &Path) -> PathBuf {
    folder.with_added_extension("verified")
}

#[cfg(test)]
mod tests;
