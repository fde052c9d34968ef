//! A model's files in either form: a `.gguf` file, or a Hugging Face folder (config.json, *.safetensors, tokenizer.json). Reading them is in
//! `gguf_model.rs` and `gguf_vocabulary.rs`, `hf.rs` and `hf_vocabulary.rs`.

use std::path::Path;

use crate::checkpoint::Checkpoint;
use crate::error::ModelError;
use crate::gguf::GgufFile;
use crate::gguf_model::GgufModel;
use crate::gguf_vocabulary::GgufVocabulary;
use crate::hf::HfFolder;
use crate::hf_vocabulary;
use crate::vocabulary::Vocabulary;

/// Opens a `.gguf` file or a Hugging Face folder (config.json and *.safetensors). Reads the headers only, and checks that
/// every weight the architecture needs is there in its right shape.
pub fn open(path: &Path) -> Result<Box<dyn Checkpoint>, ModelError> {
    let metadata = std::fs::metadata(path).map_err(|e| ModelError::io(path, e))?;
    if metadata.is_dir() { Ok(Box::new(HfFolder::open(path)?)) } else { Ok(Box::new(GgufModel::open(path)?)) }
}

/// Reads the vocabulary of a `.gguf` file or of a Hugging Face folder.
pub(crate) fn vocabulary(path: &Path) -> Result<Vocabulary, ModelError> {
    if path.is_dir() { hf_vocabulary::read(path) } else { GgufVocabulary::read(&GgufFile::open(path)?)?.vocabulary() }
}
