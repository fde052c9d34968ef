//! The tokenizer's files of an exported model: copied from a Hugging Face folder, or written from a GGUF file's metadata.

use std::fs;
use std::path::Path;

use agent0_engine::Codec;
use serde_json::json;

use super::ExportError;
use super::draft::Draft;
use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::gguf_vocabulary::GgufVocabulary;
use crate::tokenizer::Tokenizer;

/// What transformers may look for beside config.json and the weights.
const FILES: [&str; 9] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
];

/// Copies those files that `folder` has.
pub(super) fn copy(folder: &Path, draft: &mut Draft) -> Result<(), ExportError> {
    for name in FILES {
        let path = folder.join(name);
        match fs::read(&path) {
            Ok(bytes) => draft.write_bytes(name, &bytes)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(ModelError::io(&path, e).into()),
        }
    }
    Ok(())
}

/// Writes tokenizer.json, tokenizer_config.json with the chat template, and generation_config.json, in which generation stops at the
/// tokens at which the engine stops.
pub(super) fn write(
    vocabulary: &GgufVocabulary,
    config: &ModelConfig,
    tokenizer: &Tokenizer,
    draft: &mut Draft,
) -> Result<(), ExportError> {
    let text = |role: &str| vocabulary.special(role).map(|(_, text)| text);
    let id = |role: &str| vocabulary.special(role).map(|(id, _)| id);
    draft.write_json(
        "generation_config.json",
        &json!({ "bos_token_id": id("bos"), "eos_token_id": tokenizer.stop_tokens(), "pad_token_id": id("padding") }),
    )?;
    draft.write_bytes("tokenizer.json", vocabulary.json()?.as_bytes())?;
    draft.write_json(
        "tokenizer_config.json",
        &json!({
            // The class that takes tokenizer.json as it is.
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": text("bos"),
            "eos_token": text("eos"),
            "pad_token": text("padding"),
            "clean_up_tokenization_spaces": false,
            "model_max_length": config.context,
            "chat_template": vocabulary.chat_template(),
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::GgufFile;

    fn fixture(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
    }

    #[test]
    fn a_gguf_files_tokenizer_comes_back_with_its_control_tokens() {
        let gguf = fixture("tiny-tokenizer.gguf");
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let (file, ours) = (GgufFile::open(&gguf).unwrap(), Tokenizer::open(&gguf).unwrap());
        let mut draft = Draft::begin(&out, 0).unwrap();
        write(&GgufVocabulary::read(&file).unwrap(), &crate::config::tests::sample(), &ours, &mut draft).unwrap();
        draft.finish().unwrap();

        let read = Tokenizer::open(&out).unwrap();
        assert_eq!((read.tokens(), read.stop_tokens(), read.has_chat_template()), (700, ours.stop_tokens(), true));
        let bytes = |tokenizer: &Tokenizer| (0..704).map(|id| tokenizer.bytes(id).to_vec()).collect::<Vec<_>>();
        assert_eq!(bytes(&read), bytes(&ours));

        // As transformers reads it: control tokens are found in text, and nothing is put around it.
        let theirs = tokenizers::Tokenizer::from_file(out.join("tokenizer.json")).unwrap();
        let ids = theirs.encode("<|im_start|>hi<think><|im_end|>", true).unwrap().get_ids().to_vec();
        assert_eq!((ids[0], ids[ids.len() - 2], ids[ids.len() - 1]), (696, 698, 697));
        assert_eq!(theirs.decode(&ids, true).unwrap(), "hi<think>", "special tokens can be left out, others stay");
        assert_eq!(theirs.encode("hi", true).unwrap().get_ids(), ours.encode("hi").unwrap());
    }

    #[test]
    fn files_are_copied_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let mut draft = Draft::begin(&out, 0).unwrap();
        copy(&fixture("tiny-tokenizer"), &mut draft).unwrap();
        let exported = draft.finish().unwrap();
        let names: Vec<&str> = exported.files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["generation_config.json", "tokenizer.json", "tokenizer_config.json"]);
        for name in names {
            assert_eq!(fs::read(out.join(name)).unwrap(), fs::read(fixture("tiny-tokenizer").join(name)).unwrap());
        }
    }
}
