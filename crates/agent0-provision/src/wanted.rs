//! Which files of a hub repository are wanted: those that make up a model, or those of a dataset whose paths match a pattern.

use std::fs;
use std::path::{Path, PathBuf};

use crate::ProvisionError;
use crate::digest::sha256_text;
use crate::model_files::{CONFIG, RepoFile, TOKENIZER, TOKENIZER_CONFIG, WEIGHTS_INDEX, choose, inventory, is_plain, weights};
use crate::repo_name::{RepoKind, RepoName};

/// What to take of a repository.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted<'a> {
    /// A model: configuration, tokenizer and weights.
    Model,
    /// The files of a dataset that match the pattern, in which `*` stands for any text.
    Dataset(&'a str),
}

impl Wanted<'_> {
    pub(crate) fn kind(self) -> RepoKind {
        match self {
            Self::Model => RepoKind::Model,
            Self::Dataset(_) => RepoKind::Dataset,
        }
    }

    /// The file whose text tells which others are wanted, where there is one.
    pub(crate) fn index(self) -> Option<&'static str> {
        matches!(self, Self::Model).then_some(WEIGHTS_INDEX)
    }

    /// The files to take out of all that a repository has; `index` is the text of [`Wanted::index`] if the repository has it.
    ///
    /// # Errors
    /// When something wanted is missing or is no plain path.
    pub(crate) fn choose(self, name: &RepoName, all: &[RepoFile], index: Option<&str>) -> Result<Vec<RepoFile>, ProvisionError> {
        match self {
            Self::Model => choose(all, index).map_err(|cause| ProvisionError::NoModelInRepo { repo: name.to_string(), cause }),
            Self::Dataset(pattern) => matching(all, pattern).map_err(|cause| ProvisionError::NoFilesInRepo {
                repo: name.to_string(),
                files: pattern.to_string(),
                cause,
            }),
        }
    }

    /// Whether a folder that another program filled has all that is wanted. That program may have fetched only what it needed
    /// itself; a file there is a whole file, for it gets its name when it is complete.
    pub(crate) fn is_complete(self, folder: &Path) -> bool {
        match self {
            Self::Model => {
                let has = |name: &str| folder.join(name).is_file();
                let index = fs::read_to_string(folder.join(WEIGHTS_INDEX)).ok();
                let has_weights = || weights(index.as_deref()).is_ok_and(|names| names.iter().all(|name| has(name)));
                has(CONFIG) && has(TOKENIZER) && has(TOKENIZER_CONFIG) && has_weights()
            }
            Self::Dataset(pattern) => {
                let names = matching_files(folder, pattern);
                !names.is_empty() && names.iter().all(|name| shards(name).is_none_or(|n| n == names.len()))
            }
        }
    }

    /// Where it is remembered that `folder`, a snapshot of our own, is complete: beside it, so that the folder holds the files
    /// and nothing else.
    pub(crate) fn stamp_of(self, folder: &Path) -> PathBuf {
        match self {
            Self::Model => folder.with_added_extension("verified"),
            Self::Dataset(pattern) => folder.with_added_extension(&sha256_text(pattern)[..8]).with_added_extension("verified"),
        }
    }
}

/// The files that match, in the order of their names.
fn matching(all: &[RepoFile], pattern: &str) -> Result<Vec<RepoFile>, String> {
    let mut files: Vec<RepoFile> = all.iter().filter(|file| matches(pattern, &file.name)).cloned().collect();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    match files.iter().find(|file| !file.name.split('/').all(is_plain)) {
        Some(file) => Err(format!("{:?} is no plain path", file.name)),
        None if files.is_empty() => Err(format!("it has {}", inventory(all))),
        None => Ok(files),
    }
}

/// The paths below `folder` that match, relative to it, in order. Hidden files and downloads under way do not count.
pub(crate) fn matching_files(folder: &Path, pattern: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(within) = folders.pop() {
        let Ok(entries) = fs::read_dir(folder.join(&within)) else { continue };
        for entry in entries.flatten() {
            let Some(name) = entry.file_name().to_str().filter(|name| is_plain(name)).map(str::to_string) else { continue };
            let path = if within.is_empty() { name } else { format!("{within}/{name}") };
            // Hugging Face caches hold links to files, and folders that are none.
            if entry.path().is_file() {
                found.extend((matches(pattern, &path) && !path.ends_with(".part")).then_some(path));
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Whether `text` is `pattern` with some text in place of each `*`.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(first) else { return false };
    (0..=text.len()).filter(|&at| text.is_char_boundary(at)).any(|at| matches(rest, &text[at..]))
}

/// How many files belong together, out of a name such as `test-00000-of-00002.parquet`.
fn shards(name: &str) -> Option<usize> {
    let digits: String = name.rsplit_once("-of-")?.1.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text) in
            [("test.jsonl", "test.jsonl"), ("a/*.x", "a/b.x"), ("*test*", "data/test-0.parquet"), ("*", ""), ("a*b*c", "abbc")]
        {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("test.jsonl", "data/test.jsonl"), ("a/*.x", "a/b.xy"), ("*test*", "train"), ("a*b*c", "acb")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn names_tell_how_many_shards_there_are() {
        assert_eq!(shards("main/test-00000-of-00002-0123.parquet"), Some(2));
        assert_eq!(shards("test.jsonl"), None);
        assert_eq!(shards("end-of-file"), None);
    }
}
