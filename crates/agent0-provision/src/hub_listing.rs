//! What the hub says a repository holds at a revision: the commit, and every file with its size and digest.

use serde::Deserialize;

use crate::ProvisionError;
use crate::hub::{Hub, Query, SOURCE};
use crate::hub_layout::is_commit;
use crate::model_files::RepoFile;
use crate::repo_name::{RepoKind, RepoName};

/// A repository at a commit.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) commit: String,
    pub(crate) files: Vec<RepoFile>,
}

#[derive(Deserialize)]
struct Answer {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

impl Listing {
    /// Asks the hub.
    ///
    /// # Errors
    /// When it cannot be reached, has no such repository or revision, keeps it to others, or answers something else.
    pub(crate) fn fetch(hub: &Hub, kind: RepoKind, name: &RepoName) -> Result<Self, ProvisionError> {
        let listing = Self::parse(&hub.text(&Query::Listing { kind, repo: &name.repo, revision: &name.revision })?)?;
        if is_commit(&name.revision) && listing.commit != name.revision {
            return Err(ProvisionError::source(SOURCE, format!("asked for {name}, it answered with commit {}", listing.commit)));
        }
        Ok(listing)
    }

    fn parse(text: &str) -> Result<Self, ProvisionError> {
        let bad = |cause: String| ProvisionError::source(SOURCE, format!("unexpected description of a repository: {cause}"));
        let answer: Answer = serde_json::from_str(text).map_err(|e| bad(e.to_string()))?;
        // The commit becomes a folder's name.
        if !is_commit(&answer.sha) {
            return Err(bad(format!("{:?} is no commit", answer.sha)));
        }
        let file = |Sibling { rfilename: name, size, lfs }| match (lfs, size) {
            (Some(lfs), _) => Ok(RepoFile { name, bytes: lfs.size, sha256: Some(lfs.sha256) }),
            (None, Some(bytes)) => Ok(RepoFile { name, bytes, sha256: None }),
            (None, None) => Err(bad(format!("no size of {name:?}"))),
        };
        Ok(Self { commit: answer.sha, files: answer.siblings.into_iter().map(file).collect::<Result<_, _>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_files_have_digests() {
        let text = r#"{"id": "a/b", "sha": "0123456789012345678901234567890123456789", "gated": false, "siblings": [
            {"rfilename": "config.json", "size": 726, "blobId": "12"},
            {"rfilename": "model.safetensors", "size": 99, "blobId": "34", "lfs": {"sha256": "ab", "size": 99, "pointerSize": 135}}]}"#;
        let listing = Listing::parse(text).unwrap();
        assert_eq!(listing.files[0], RepoFile { name: "config.json".into(), bytes: 726, sha256: None });
        assert_eq!(listing.files[1], RepoFile { name: "model.safetensors".into(), bytes: 99, sha256: Some("ab".into()) });
        let outside = text.replace("0123456789012345678901234567890123456789", "../../outside");
        assert!(Listing::parse(&outside).unwrap_err().to_string().contains("is no commit"));
        assert!(Listing::parse("<html>").is_err());
    }
}
