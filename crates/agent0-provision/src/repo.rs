//! Obtaining what is wanted of a hub repository as a folder: from our own cache, the user's Hugging Face cache, or the hub.
//!
//! A revision is resolved to a commit once. Later runs use the same bytes, online or not, until another revision is named.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cache::{Cache, lock};
use crate::checked::Expected;
use crate::folder_stamp::FolderStamp;
use crate::hub::{Hub, HubPath, Query, SOURCE};
use crate::hub_layout::RepoFolder;
use crate::hub_listing::Listing;
use crate::model_files::RepoFile;
use crate::progress::{Event, Progress};
use crate::repo_name::RepoName;
use crate::sources::Sources;
use crate::wanted::Wanted;
use crate::{ProvisionError, human_bytes};

/// The folder of a repository at a commit, in which all that is wanted is complete. The commit is the folder's name.
///
/// # Errors
/// No such repository, no access, nothing wanted in it, a full disk, wrong bytes, nothing in reach: see [`ProvisionError`].
pub(crate) fn obtain(
    cache: &Cache,
    name: &RepoName,
    wanted: Wanted,
    sources: &Sources,
    progress: Progress,
) -> Result<PathBuf, ProvisionError> {
    let repo = Repo::new(cache, name, wanted, sources, progress)?;
    match repo.find() {
        Some(folder) => Ok(folder),
        None => repo.make(),
    }
}

/// The folder that [`obtain`] would give, if no network is needed for it.
///
/// # Errors
/// When the cache cannot be used.
pub(crate) fn cached(
    cache: &Cache,
    name: &RepoName,
    wanted: Wanted,
    sources: &Sources,
    progress: Progress,
) -> Result<Option<PathBuf>, ProvisionError> {
    let repo = Repo::new(cache, name, wanted, sources, progress)?;
    match (repo.find(), repo.ours.commit(&name.revision)) {
        (None, None) => repo.adopt(),
        (found, _) => Ok(found),
    }
}

/// One repository's business.
struct Repo<'a> {
    cache: &'a Cache,
    name: &'a RepoName,
    wanted: Wanted<'a>,
    ours: RepoFolder,
    sources: &'a Sources,
    progress: Progress<'a>,
}

impl<'a> Repo<'a> {
    fn new(
        cache: &'a Cache,
        name: &'a RepoName,
        wanted: Wanted<'a>,
        sources: &'a Sources,
        progress: Progress<'a>,
    ) -> Result<Self, ProvisionError> {
        let folder = match wanted {
            Wanted::Model => "models/hub",
            Wanted::Dataset(_) => "datasets",
        };
        let ours = RepoFolder::new(&cache.folder(folder)?, wanted.kind(), &name.repo);
        Ok(Self { cache, name, wanted, ours, sources, progress })
    }

    /// The folder if it is known and unchanged; takes no time.
    fn find(&self) -> Option<PathBuf> {
        let commit = self.ours.commit(&self.name.revision)?;
        let ours = self.ours.snapshot(&commit);
        let is_ours = || FolderStamp::read(&self.wanted.stamp_of(&ours)).is_some_and(|stamp| stamp.vouches_for(&ours));
        if is_ours() {
            return Some(ours);
        }
        self.theirs().map(|theirs| theirs.snapshot(&commit)).filter(|folder| self.wanted.is_complete(folder))
    }

    /// The repository in the user's Hugging Face cache, which is only read.
    fn theirs(&self) -> Option<RepoFolder> {
        Some(RepoFolder::new(self.sources.hub_cache.as_ref()?, self.wanted.kind(), &self.name.repo))
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
            Some(commit) => match FolderStamp::read(&self.wanted.stamp_of(&self.ours.snapshot(&commit))) {
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
            Some((theirs.snapshot(&commit), commit)).filter(|(folder, _)| self.wanted.is_complete(folder))
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
        let Listing { commit, files } = Listing::fetch(hub, self.wanted.kind(), &name).map_err(|e| self.failed(e))?;
        let index = match self.wanted.index().filter(|index| files.iter().any(|file| file.name == *index)) {
            Some(index) => Some(hub.text(&Query::File(self.path(&commit, index))).map_err(|e| self.failed(e))?),
            None => None,
        };
        let chosen = self.wanted.choose(self.name, &files, index.as_deref())?;
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
                let target = folder.join(&file.name);
                let within = target.parent().unwrap_or(&folder);
                fs::create_dir_all(within).map_err(ProvisionError::io("make the folder", within))?;
                let path = self.path(commit, &file.name);
                let fetch = |part: &Path| hub.fetch(&path, file.bytes, part, self.progress);
                let brought = expected(file).bring(&part_of(&folder, file), &target, self.progress, &fetch);
                brought.map_err(|e| self.failed(e))?;
            }
        }
        FolderStamp::write(&self.wanted.stamp_of(&folder), &folder, files)?;
        Ok(folder)
    }

    fn path<'p>(&'p self, commit: &'p str, file: &'p str) -> HubPath<'p> {
        HubPath { kind: self.wanted.kind(), repo: &self.name.repo, revision: commit, file }
    }

    fn hub(&self) -> Result<&Hub, ProvisionError> {
        self.sources.hub.as_ref().ok_or_else(|| self.failed(ProvisionError::source(SOURCE, "HF_HUB_OFFLINE is set")))
    }

    /// A hub that does not deliver leaves no source; other errors say themselves what to do.
    fn failed(&self, error: ProvisionError) -> ProvisionError {
        let ProvisionError::Source { .. } = error else { return error };
        let looked = self.sources.hub_cache.as_ref().map(|at| format!("Hugging Face cache: no complete copy in {}", at.display()));
        let attempts = looked.into_iter().chain([error.to_string()]).collect();
        ProvisionError::NoSource { kind: self.wanted.kind(), name: self.name.to_string(), attempts }
    }
}

fn expected(file: &RepoFile) -> Expected<'_> {
    Expected { name: &file.name, bytes: file.bytes, sha256: file.sha256.as_deref() }
}

/// Where a file grows until it is whole.
fn part_of(folder: &Path, file: &RepoFile) -> PathBuf {
    folder.join(format!("{}.part", file.name))
}

#[cfg(test)]
mod tests;
