//! An adapter alone, as a PEFT folder: weights and description, without the optimizer's state.

use std::path::Path;

use agent0_engine::EngineError;
use serde_json::{Map, Value, json};

use super::draft::Draft;
use super::{ExportError, Exported};
use crate::peft;

/// What PEFT finds a base model by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// A repository on the Hugging Face hub, or the path of a folder.
    pub name: String,
    /// The repository's branch, tag or commit; without one PEFT takes `main`.
    pub revision: Option<String>,
}

/// Writes the adapter of the PEFT folder `adapter` to `out`, as one of the model `base`; without it the adapter's own word stays. The
/// weights stay as they are, byte for byte.
///
/// # Errors
/// A folder that holds no LoRA adapter of the kind that the engine reads; a folder that is there already; a full disk.
pub fn export_adapter(adapter: &Path, base: Option<&Base>, out: &Path) -> Result<Exported, ExportError> {
    peft::check(adapter)?;
    let (config, weights) = (adapter.join(peft::CONFIG), adapter.join(peft::WEIGHTS));
    let mut description: Map<String, Value> = serde_json::from_slice(&read(&config)?).map_err(|e| peft::failed(&config, e))?;
    if let Some(base) = base {
        description.insert("base_model_name_or_path".to_owned(), json!(base.name));
        description.insert("revision".to_owned(), json!(base.revision));
    }
    let weights = read(&weights)?;
    let mut draft = Draft::begin(out, weights.len() as u64)?;
    draft.write_json(peft::CONFIG, &description.into())?;
    draft.write_bytes(peft::WEIGHTS, &weights)?;
    draft.finish()
}

fn read(path: &Path) -> Result<Vec<u8>, EngineError> {
    std::fs::read(path).map_err(|e| peft::failed(path, e))
}
