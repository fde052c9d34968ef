//! What was trained, for other programs: a Hugging Face folder that transformers loads, the adapter merged into its weights; or the
//! adapter alone, as a PEFT folder. Knows nothing of where the adapter comes from.

mod adapter;
mod config;
mod draft;
mod tokenizer;
mod weights;

use std::path::{Path, PathBuf};

use agent0_compute::{Compute, Isa};
use agent0_engine::EngineError;
use safetensors::Dtype;

use crate::checkpoint::Checkpoint;
use crate::error::ModelError;
use crate::files::open;
use crate::gguf::GgufFile;
use crate::gguf_vocabulary::GgufVocabulary;
use crate::merge::Merged;
use crate::peft;
use crate::tokenizer::Tokenizer;

pub use adapter::{Base, export_adapter};
use draft::Draft;

/// A model to be written as a Hugging Face folder.
#[derive(Debug, Clone, Copy)]
pub struct Export<'a> {
    /// The base model: a GGUF file or a Hugging Face folder.
    pub model: &'a Path,
    /// A PEFT folder, whose adapter is merged into the weights.
    pub adapter: Option<&'a Path>,
    /// Format of the written weights.
    pub format: WeightFormat,
    /// The folder to make.
    pub out: &'a Path,
}

/// How an exported model's weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightFormat {
    /// 4 bytes: exactly the weights that the engine reads, adapter added.
    F32,
    /// 2 bytes: each weight of [`WeightFormat::F32`] rounded once, to the nearest.
    Bf16,
}

impl WeightFormat {
    /// The name that config.json has for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::Bf16 => "bfloat16",
        }
    }

    /// Bytes of a weight.
    fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::Bf16 => Dtype::BF16,
        }
    }
}

/// A folder that was written.
#[derive(Debug)]
pub struct Exported {
    /// The folder, as an absolute path.
    pub folder: PathBuf,
    /// Its files and their bytes, in the order of writing.
    pub files: Vec<(String, u64)>,
}

/// Why nothing was exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The model cannot be read.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The adapter cannot be read, or belongs to another model.
    #[error(transparent)]
    Adapter(#[from] EngineError),
    /// Something is there already.
    #[error("{0} is there already and not an empty folder; nothing was changed: choose another name, or remove it first")]
    Occupied(PathBuf),
    /// The path ends in no name.
    #[error("{0} is no name for a new folder; give a path that ends in one")]
    NoName(PathBuf),
    /// Another process exports to the same place.
    #[error("another process is writing {0}; wait for it, or choose another name")]
    Busy(PathBuf),
    /// The disk is too full to begin.
    #[error("not enough disk space for {path}: {needed} bytes needed, {free} free; make room, or choose a folder on another disk")]
    NoSpace {
        /// The folder to be made.
        path: PathBuf,
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// The operating system refused while the folder was written.
    #[error("{path}: {cause}; nothing is left of the export: if the disk is full, make room, and run it again")]
    Write {
        /// The file or folder concerned.
        path: PathBuf,
        /// What the operating system said.
        cause: std::io::Error,
    },
}

impl ExportError {
    /// An error of writing `path`.
    fn write(path: &Path, cause: std::io::Error) -> Self {
        Self::Write { path: path.to_owned(), cause }
    }
}

/// Writes a model as a Hugging Face folder: config.json, the tokenizer's files, and safetensors in files of at most 5 GB. `progress` is
/// told the bytes of weights written and their sum. The folder appears when it is whole.
///
/// # Errors
/// A model or adapter that cannot be read or do not belong together; a folder that is there already; a full disk: see [`ExportError`].
pub fn export_model(request: &Export, progress: &dyn Fn(u64, u64)) -> Result<Exported, ExportError> {
    let base = open(request.model)?;
    let adapter = match request.adapter {
        // Its weights are read once and never multiplied by the engine: one thread will do.
        Some(folder) => Some(peft::load_weights(&Compute::new(1, Isa::detect()), folder, base.config())?),
        None => None,
    };
    let merged = adapter.as_ref().map(|adapter| Merged { base: base.as_ref(), adapter });
    let model: &dyn Checkpoint = merged.as_ref().map_or(base.as_ref(), |merged| merged);

    let plan = weights::Plan::new(model.config(), request.format, weights::FILE_BYTES);
    let mut draft = Draft::begin(request.out, plan.bytes())?;
    if request.model.is_dir() {
        draft.write_json("config.json", &config::of_folder(request.model, model.config(), request.format)?)?;
        tokenizer::copy(request.model, &mut draft)?;
    } else {
        let file = GgufFile::open(request.model)?;
        let vocabulary = GgufVocabulary::read(&file)?;
        let stops = Tokenizer::open(request.model)?;
        draft.write_json("config.json", &config::of_gguf(request.model, model.config(), request.format, &vocabulary)?)?;
        tokenizer::write(&vocabulary, model.config(), &stops, &mut draft)?;
    }
    plan.write(model, &mut draft, progress)?;
    draft.finish()
}
