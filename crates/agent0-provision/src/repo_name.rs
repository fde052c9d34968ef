//! Names of hub repositories as users write them: `org/name` or `org/name@revision`; and the kinds of repositories there are.

use std::fmt;

use crate::model_files::is_plain;

/// What a hub repository holds. Models and datasets may have the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepoKind {
    /// A model.
    Model,
    /// A dataset.
    Dataset,
}

impl RepoKind {
    /// The name of the kind in the hub's interface, and in the names of cache folders.
    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }

    /// What stands before `org/name` in the addresses of pages and files.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Model => "",
            Self::Dataset => "datasets/",
        }
    }
}

impl fmt::Display for RepoKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Model => "model",
            Self::Dataset => "dataset",
        })
    }
}

/// A repository on the hub, at a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RepoName {
    /// `org/name`.
    pub(crate) repo: String,
    /// Branch, tag or commit.
    pub(crate) revision: String,
}

impl RepoName {
    /// Reads a name by the hub's own rules, so that `./x`, `/x`, `a/b/c` and `~/x` are none; neither is `a/b.gguf`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (repo, revision) = text.split_once('@').unwrap_or((text, "main"));
        let (org, name) = repo.split_once('/')?;
        let is_part = |part: &str| {
            is_plain(part)
                && part.len() <= 96
                && !part.starts_with('-')
                && !part.ends_with(['-', '.'])
                && !part.contains("--")
                && !part.contains("..")
        };
        let is_revision = revision.split('/').all(|part| is_plain(part) && !part.contains("..")) && revision.len() <= 200;
        let is_name = is_part(org) && is_part(name) && !name.ends_with(".gguf") && is_revision;
        is_name.then(|| Self { repo: repo.to_string(), revision: revision.to_string() })
    }
}

impl fmt::Display for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.revision.as_str() {
            "main" => f.write_str(&self.repo),
            revision => write!(f, "{}@{revision}", self.repo),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_told_from_paths() {
        for name in ["Qwen/Qwen3-4B-Base", "Qwen/Qwen2.5-0.5B@v1.0", "a_b/c@refs/pr/1"] {
            assert_eq!(RepoName::parse(name).unwrap().to_string(), name);
        }
        let name = RepoName::parse("Qwen/Qwen3-4B-Base").unwrap();
        assert_eq!((name.repo.as_str(), name.revision.as_str()), ("Qwen/Qwen3-4B-Base", "main"));
        let paths = ["./x", "../x", "/x", "a/b/c", "a/", "x", "~/x", "a/x.gguf", "a\\b", "a/b@", "a/b@../c", "a/..", "a--b/c", "a/b c"];
        for path in paths {
            assert_eq!(RepoName::parse(path), None, "{path}");
        }
    }
}
