//! Why a model's files cannot be used: what is wrong, where, and what to do about it.

use std::path::{Path, PathBuf};

/// A model file or folder that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The operating system refused.
    #[error("{path}: {cause}; check that the model path is right and readable")]
    Io {
        /// The file or folder concerned.
        path: PathBuf,
        /// What the operating system said.
        cause: std::io::Error,
    },
    /// Neither a GGUF file nor a Hugging Face folder.
    #[error("{path}: {cause}; give a .gguf file or a folder with config.json and *.safetensors")]
    NotAModel {
        /// The file or folder concerned.
        path: PathBuf,
        /// What was found instead.
        cause: String,
    },
    /// The bytes are not what the format demands: cut short, or damaged.
    #[error("{path}: {cause}; the file is damaged or incomplete: delete it and obtain it again")]
    Damaged {
        /// The file concerned.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// A sound model of a kind that this engine does not compute.
    #[error("{path}: {what} is not supported; {remedy}")]
    Unsupported {
        /// The file concerned.
        path: PathBuf,
        /// The feature that is missing here.
        what: String,
        /// What to use instead.
        remedy: String,
    },
    /// A tensor that the architecture needs is not there.
    #[error("{path}: tensor {tensor:?} is missing; the model is incomplete or of another architecture: obtain it again from its source")]
    MissingTensor {
        /// The file or folder concerned.
        path: PathBuf,
        /// Its name in the file.
        tensor: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error(
        "{path}: tensor {tensor:?} has shape {found:?}, the configuration needs {expected:?}; tensors and configuration are of two models: obtain both from one source"
    )]
    Shape {
        /// The file concerned.
        path: PathBuf,
        /// Its name in the file.
        tensor: String,
        /// Its shape in the file, rows first.
        found: Vec<usize>,
        /// The shape needed, rows first.
        expected: Vec<usize>,
    },
    /// Not even the least that the engine can work with fits into memory.
    #[error(
        "{path}: the model needs at least {needed} GiB of memory and {free} GiB are free; close other programs, raise the container's limit, or use a smaller model"
    )]
    Memory {
        /// The model's file or folder.
        path: PathBuf,
        /// Memory needed, in GiB.
        needed: String,
        /// Memory there is, in GiB.
        free: String,
    },
    /// The tokenizer or chat template cannot be built.
    #[error("{path}: tokenizer: {cause}; {remedy}")]
    Tokenizer {
        /// The file concerned.
        path: PathBuf,
        /// What is wrong.
        cause: String,
        /// What to do about it.
        remedy: String,
    },
}

impl ModelError {
    /// An input/output error at `path`.
    pub(crate) fn io(path: &Path, cause: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), cause }
    }

    /// Damage found in `path`.
    pub(crate) fn damaged(path: &Path, cause: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), cause: cause.into() }
    }

    /// A feature of `path` that is not supported.
    pub(crate) fn unsupported(path: &Path, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Unsupported { path: path.to_owned(), what: what.into(), remedy: remedy.into() }
    }

    /// An architecture that is not one of the family.
    pub(crate) fn architecture(path: &Path, name: &str) -> Self {
        Self::unsupported(path, format!("architecture {name:?}"), "use a llama, qwen2 or qwen3 model")
    }

    /// A way of stretching rotary positions that is not computed here.
    pub(crate) fn rope_scaling(path: &Path, name: &str) -> Self {
        Self::unsupported(path, format!("rotary scaling {name:?}"), "use a model without that long-context extension")
    }

    /// A tokenizer that cannot be built from `path`.
    pub(crate) fn tokenizer(path: &Path, cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Tokenizer { path: path.to_owned(), cause: cause.into(), remedy: remedy.into() }
    }
}
