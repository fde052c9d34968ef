//! Reads the small text files of a Hugging Face folder.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::ModelError;

/// Longest JSON file that is read; tokenizers have a few tens of megabytes.
pub(crate) const MAX_JSON: u64 = 256 << 20;

/// A JSON file's content; `None` when there is no such file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ModelError> {
    match read_text(path)? {
        Some(text) => serde_json::from_str(&text).map(Some).map_err(|e| ModelError::damaged(path, e.to_string())),
        None => Ok(None),
    }
}

/// A text file's content; `None` when there is no such file.
pub(crate) fn read_text(path: &Path) -> Result<Option<String>, ModelError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(ModelError::io(path, e)),
    };
    let mut text = String::new();
    file.take(MAX_JSON + 1).read_to_string(&mut text).map_err(|e| ModelError::io(path, e))?;
    if text.len() as u64 > MAX_JSON {
        return Err(ModelError::damaged(path, format!("it is longer than {MAX_JSON} bytes")));
    }
    Ok(Some(text))
}
