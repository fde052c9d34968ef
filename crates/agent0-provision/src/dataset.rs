//! Obtaining files of a dataset repository: from our own cache, the user's Hugging Face cache, or the hub.

use std::path::PathBuf;

use crate::cache::Cache;
use crate::progress::Progress;
use crate::repo_name::RepoName;
use crate::sources::Sources;
use crate::wanted::{Wanted, matching_files};
use crate::{ProvisionError, repo};

/// Files of a dataset repository at a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// The full commit hash.
    pub commit: String,
    /// The folder that holds the repository's files at that commit.
    pub folder: PathBuf,
    /// Paths of the files in it, in order; at least one.
    pub files: Vec<String>,
}

/// The files of a dataset repository (`org/name` or `org/name@revision`) whose paths match `files`, in which `*` stands for any
/// text.
///
/// They come from the cache, else from the user's Hugging Face cache, else from the hub, checked by the sizes and digests that the
/// hub tells. The commit is remembered, so that later runs use the same bytes and need no network; to move on, name a revision.
///
/// # Errors
/// No such repository or files, no access, a full disk, wrong bytes, nothing in reach: see [`ProvisionError`].
pub fn obtain_dataset(cache: &Cache, repo: &str, files: &str, progress: Progress) -> Result<Dataset, ProvisionError> {
    obtain(cache, repo, files, &Sources::from_env(), progress)
}

/// The files that [`obtain_dataset`] would give, if no network is needed for it.
///
/// # Errors
/// When the cache cannot be used.
pub fn cached_dataset(cache: &Cache, repo: &str, files: &str, progress: Progress) -> Result<Option<Dataset>, ProvisionError> {
    cached(cache, repo, files, &Sources::from_env(), progress)
}

fn obtain(cache: &Cache, repo: &str, files: &str, sources: &Sources, progress: Progress) -> Result<Dataset, ProvisionError> {
    let folder = repo::obtain(cache, &parse(repo)?, Wanted::Dataset(files), sources, progress)?;
    Ok(dataset(folder, files))
}

fn cached(cache: &Cache, repo: &str, files: &str, sources: &Sources, progress: Progress) -> Result<Option<Dataset>, ProvisionError> {
    let folder = repo::cached(cache, &parse(repo)?, Wanted::Dataset(files), sources, progress)?;
    Ok(folder.map(|folder| dataset(folder, files)))
}

fn parse(repo: &str) -> Result<RepoName, ProvisionError> {
    RepoName::parse(repo).ok_or_else(|| ProvisionError::BadRepoName { name: repo.to_string() })
}

fn dataset(folder: PathBuf, pattern: &str) -> Dataset {
    let commit = folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    Dataset { commit, files: matching_files(&folder, pattern), folder }
}

#[cfg(test)]
mod tests;
