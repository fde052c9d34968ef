//! Why provisioning failed, and what to do about it.

use std::path::{Path, PathBuf};

use crate::{RepoKind, human_bytes};

/// Why something could not be provided.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProvisionError {
    /// No folder for the cache can be named.
    #[error("no place for the cache: neither AGENT0_CACHE, XDG_CACHE_HOME nor HOME is set; set AGENT0_CACHE to a folder")]
    NoCacheFolder,
    /// A model name that is not in the registry.
    #[error(
        "unknown model `{name}`; known: {known} (or give the path of a .gguf file or of a Hugging Face model folder, or a hub repository as in Qwen/Qwen3-4B-Base)"
    )]
    UnknownModel {
        /// The name as given.
        name: String,
        /// Known names, the nearest first.
        known: String,
    },
    /// A model path that does not exist.
    #[error(
        "no model at {path}: there is no such file or folder; give an existing .gguf file or model folder, a hub repository (org/name), or one of: {known}"
    )]
    NoSuchPath {
        /// The path as given.
        path: PathBuf,
        /// The registry's names.
        known: String,
    },
    /// The disk said no.
    #[error("cannot {action} {path}: {cause}")]
    Io {
        /// What was tried, such as `write`.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The disk is too full to begin.
    #[error("not enough disk space for {what}: {} needed under {path}, {} free; free some, or set AGENT0_CACHE to a folder on another disk", human_bytes(*needed), human_bytes(*free))]
    NoSpace {
        /// What was to be stored.
        what: String,
        /// The folder.
        path: PathBuf,
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// The bytes are not the ones that the registry or the hub names.
    #[error("{what} is not what it should be (SHA-256 {found}, expected {expected}); it was removed")]
    WrongDigest {
        /// Which bytes.
        what: String,
        /// Digest expected.
        expected: String,
        /// Digest found.
        found: String,
    },
    /// A file without a known digest has not the size it should have.
    #[error("{what} is not what it should be ({found} bytes, expected {expected}); it was removed")]
    WrongSize {
        /// Which file.
        what: String,
        /// Bytes it should have.
        expected: u64,
        /// Bytes it had.
        found: u64,
    },
    /// Text that names no hub repository.
    #[error("`{name}` is no name of a repository on the Hugging Face hub; write it as org/name or org/name@revision")]
    BadRepoName {
        /// The text as given.
        name: String,
    },
    /// The hub has no such repository, or hides it.
    #[error(
        "there is no {kind} repository at {page}, or it is private (and there is no file or folder {repo} here); check the name; for a private one, set HF_TOKEN to an access token that may read it"
    )]
    NoSuchRepo {
        /// Model or dataset.
        kind: RepoKind,
        /// `org/name`.
        repo: String,
        /// Where it would be.
        page: String,
    },
    /// The repository has no such revision.
    #[error("{repo} on the Hugging Face hub has no revision {revision}; give a branch, tag or full commit of it after the @")]
    NoSuchRevision {
        /// `org/name`.
        repo: String,
        /// What was asked for.
        revision: String,
    },
    /// The repository is open only to those who agreed to its terms.
    #[error("{repo} is gated: agree to its terms at {page}, then set HF_TOKEN to an access token of the same account")]
    GatedRepo {
        /// `org/name`.
        repo: String,
        /// Where its terms are.
        page: String,
    },
    /// The repository does not hold a model in a form that is read.
    #[error(
        "{repo} on the Hugging Face hub is no model folder with safetensors weights: {cause}; name another repository, or download a GGUF file and give its path"
    )]
    NoModelInRepo {
        /// `org/name`, with its revision.
        repo: String,
        /// What is missing and what is there.
        cause: String,
    },
    /// The repository has none of the files that were asked for.
    #[error("{repo} on the Hugging Face hub has no usable file {files}: {cause}")]
    NoFilesInRepo {
        /// `org/name`, with its revision.
        repo: String,
        /// The path asked for, in which `*` stands for any text.
        files: String,
        /// What is there instead.
        cause: String,
    },
    /// A source answered, but with something that cannot be used, or did not answer.
    #[error("{source_name}: {cause}")]
    Source {
        /// Which source.
        source_name: String,
        /// What it said.
        cause: String,
    },
    /// No source had the model or dataset.
    #[error("could not obtain {kind} `{name}`:\n{}\nCheck the network (HF_ENDPOINT names a hub mirror), or bring the {kind} yourself and give its path", attempts.iter().map(|a| format!("  - {a}")).collect::<Vec<_>>().join("\n"))]
    NoSource {
        /// Model or dataset.
        kind: RepoKind,
        /// Its name.
        name: String,
        /// One line per source tried.
        attempts: Vec<String>,
    },
    /// No usable Python interpreter.
    #[error(
        "no usable Python: {cause}; install Python 3.10 or newer (`apt install python3 python3-venv`), or set AGENT0_PYTHON to an interpreter"
    )]
    NoPython {
        /// What was tried and what came of it.
        cause: String,
    },
    /// The interpreter has no pip.
    #[error(
        "{python} has no pip, which fetches model parts; `apt install python3-pip python3-venv`, or set AGENT0_PYTHON to a Python that has it"
    )]
    NoPip {
        /// The interpreter.
        python: PathBuf,
    },
    /// The Python tool's environment could not be made.
    #[error("could not set up the Python environment in {path}: {cause}\n{remedy}")]
    PythonEnv {
        /// Where it was to be.
        path: PathBuf,
        /// What went wrong.
        cause: String,
        /// What to do.
        remedy: &'static str,
    },
}

impl ProvisionError {
    /// For `map_err`: an i/o error while doing `action` at `path`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |cause| Self::Io { action, path, cause }
    }

    /// A fault of one source of a model.
    pub(crate) fn source(source_name: &str, cause: impl std::fmt::Display) -> Self {
        Self::Source { source_name: source_name.to_string(), cause: cause.to_string() }
    }

    /// Whether a file was not the one expected.
    pub(crate) fn is_wrong_content(&self) -> bool {
        matches!(self, Self::WrongDigest { .. } | Self::WrongSize { .. })
    }

    /// Whether the fault lies with this machine's disk, so that no other source would fare better.
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::NoSpace { .. })
    }
}
