//! Which files of a model repository make up a model folder: configuration, tokenizer and safetensors, never pickled weights.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

pub(crate) const CONFIG: &str = "config.json";
pub(crate) const TOKENIZER: &str = "tokenizer.json";
pub(crate) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
pub(crate) const WEIGHTS_INDEX: &str = "model.safetensors.index.json";
const WEIGHTS: &str = "model.safetensors";
/// Small files that are taken when they are there.
const OPTIONAL: [&str; 3] = ["generation_config.json", TOKENIZER_CONFIG, "chat_template.jinja"];

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RepoFile {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    /// SHA-256 in lower-case hex; the hub tells it of large files only.
    pub(crate) sha256: Option<String>,
}

/// The names of the weight files, given the text of the index if there is one.
///
/// # Errors
/// In a sentence, when the index is damaged or names something that is no file beside it.
pub(crate) fn weights(index: Option<&str>) -> Result<Vec<String>, String> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let Some(index) = index else { return Ok(vec![WEIGHTS.to_string()]) };
    let index: Index = serde_json::from_str(index).map_err(|e| format!("{WEIGHTS_INDEX} is damaged: {e}"))?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    match names.iter().find(|name| !is_plain(name) || !name.ends_with(".safetensors")) {
        Some(name) => Err(format!("{WEIGHTS_INDEX} names {name:?}, which is not the name of a safetensors file beside it")),
        None if names.is_empty() => Err(format!("{WEIGHTS_INDEX} names no weights")),
        None => Ok(names.into_iter().collect()),
    }
}

/// The files to take out of all that a repository has, small ones first.
///
/// # Errors
/// In a sentence, when something that a model needs is missing.
pub(crate) fn choose(all: &[RepoFile], index: Option<&str>) -> Result<Vec<RepoFile>, String> {
    let find = |name: &str| all.iter().find(|file| file.name == name).cloned();
    let need = |name: &str| find(name).ok_or_else(|| format!("it has no {name}, but {}", inventory(all)));
    let mut chosen = vec![need(CONFIG)?, need(TOKENIZER)?];
    chosen.extend(OPTIONAL.iter().filter_map(|name| find(name)));
    chosen.extend(find(WEIGHTS_INDEX));
    for name in weights(index)? {
        chosen.push(need(&name)?);
    }
    Ok(chosen)
}

/// What a repository has, by kind: `2 .gguf files, 1 .md file`.
pub(crate) fn inventory(all: &[RepoFile]) -> String {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for file in all.iter().filter(|file| !file.name.starts_with('.')) {
        let kind = Path::new(&file.name).extension().map_or_else(String::new, |e| format!(".{} ", e.to_string_lossy()));
        *kinds.entry(kind).or_default() += 1;
    }
    let kinds: Vec<String> = kinds.iter().map(|(kind, n)| format!("{n} {kind}file{}", if *n == 1 { "" } else { "s" })).collect();
    if kinds.is_empty() { "nothing at all".to_string() } else { kinds.join(", ") }
}

/// Whether `name` names a file in the folder itself, on every system and in an address, and is not hidden.
pub fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Vec<RepoFile> {
        names.iter().map(|name| RepoFile { name: (*name).to_string(), bytes: 1, sha256: None }).collect()
    }

    fn chosen(names: &[&str], index: Option<&str>) -> Result<Vec<String>, String> {
        Ok(choose(&files(names), index)?.into_iter().map(|file| file.name).collect())
    }

    #[test]
    fn a_model_is_its_configuration_tokenizer_and_named_weights() {
        let single = chosen(&["README.md", "config.json", "model.safetensors", "pytorch_model.bin", "tokenizer.json"], None);
        assert_eq!(single.unwrap(), ["config.json", "tokenizer.json", "model.safetensors"]);
        let all = [
            "chat_template.jinja",
            "config.json",
            "consolidated.safetensors",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors",
            "model.safetensors.index.json",
            "onnx/config.json",
            "tokenizer.json",
        ];
        let index = r#"{"weight_map": {"b": "model-00002-of-00002.safetensors", "a": "model-00001-of-00002.safetensors",
            "c": "model-00001-of-00002.safetensors"}}"#;
        let expected = [all[1], all[8], all[0], all[6], all[3], all[4]];
        assert_eq!(chosen(&all, Some(index)).unwrap(), expected, "each shard once, and no other weights");
    }

    #[test]
    fn what_is_missing_is_named_with_what_is_there() {
        let gguf = chosen(&[".gitattributes", "README.md", "a.gguf", "b.gguf"], None).unwrap_err();
        assert_eq!(gguf, "it has no config.json, but 2 .gguf files, 1 .md file");
        let pickled = chosen(&["config.json", "tokenizer.json", "pytorch_model.bin"], None).unwrap_err();
        assert_eq!(pickled, "it has no model.safetensors, but 1 .bin file, 2 .json files");
        assert!(chosen(&["config.json", "model.safetensors"], None).unwrap_err().contains("no tokenizer.json"));
    }

    #[test]
    fn an_index_names_files_beside_it_only() {
        for name in ["../x.safetensors", "a/b.safetensors", "/x.safetensors", "..\\x.safetensors", ".x.safetensors", "config.json", ""] {
            let index = serde_json::json!({ "weight_map": { "w": name } }).to_string();
            assert!(weights(Some(&index)).unwrap_err().contains("not the name of a safetensors file"), "{name}");
        }
        assert!(weights(Some(r#"{"weight_map": {}}"#)).is_err());
        assert!(weights(Some("no json")).is_err());
    }
}
