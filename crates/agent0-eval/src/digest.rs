//! Digests of what an evaluation depends on. SHA-256, lower-case hex.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use agent0_provision::{file_sha256, sha256_text};

use crate::EvalError;

/// What of a PEFT folder decides its weights. The optimizer's state beside them does not.
const ADAPTER_FILES: [&str; 2] = ["adapter_config.json", "adapter_model.safetensors"];

/// Digest of a model: of its file; of a folder, of the names and digests of all its files.
///
/// # Errors
/// When something cannot be read.
pub fn model_digest(path: &Path) -> Result<String, EvalError> {
    if !path.is_dir() {
        return Ok(file_sha256(path)?);
    }
    let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(EvalError::io(path))?;
    let files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    listing_digest(files)
}

/// Digest of a PEFT adapter's folder.
///
/// # Errors
/// When it is none, or cannot be read.
pub fn adapter_digest(folder: &Path) -> Result<String, EvalError> {
    listing_digest(ADAPTER_FILES.iter().map(|name| folder.join(name)).collect())
}

fn listing_digest(mut files: Vec<PathBuf>) -> Result<String, EvalError> {
    files.sort();
    let mut listing = String::new();
    for file in &files {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        listing += &format!("{} {name}\n", file_sha256(file)?);
    }
    Ok(sha256_text(&listing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_follow_contents_and_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs::write(path.join("adapter_config.json"), "abc").unwrap();
        assert_eq!(
            model_digest(&path.join("adapter_config.json")).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert!(adapter_digest(path).unwrap_err().to_string().contains("adapter_model.safetensors"));
        fs::write(path.join("adapter_model.safetensors"), "d").unwrap();
        let (adapter, model) = (adapter_digest(path).unwrap(), model_digest(path).unwrap());
        assert_eq!(adapter, model, "all files of this folder are an adapter's");
        fs::write(path.join("optimizer.safetensors"), "e").unwrap();
        assert_eq!(adapter_digest(path).unwrap(), adapter);
        assert_ne!(model_digest(path).unwrap(), model);
    }
}
