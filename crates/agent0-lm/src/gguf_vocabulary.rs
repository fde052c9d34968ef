//! The byte-level tokenizer that a GGUF file's metadata describe: without control tokens as the engine uses it, and whole as
//! Hugging Face's tokenizers have it.

use std::fmt::Display;

use agent0_engine::TokenId;
use serde_json::{Value as Json, json};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::{AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Tokenizer};

use crate::chat::ControlToken;
use crate::error::ModelError;
use crate::gguf::{GgufFile, Value};
use crate::vocabulary::Vocabulary;

/// GGUF's token type of ordinary tokens.
const NORMAL_TOKEN: i64 = 1;
/// GGUF's token type of control tokens.
const CONTROL_TOKEN: i64 = 3;
/// GGUF's token type of markup that models may write as part of an answer.
const USER_TOKEN: i64 = 4;
/// GGUF's token type of entries that only fill up the embedding.
pub(crate) const UNUSED_TOKEN: i64 = 5;

/// What a GGUF file says about tokens.
pub(crate) struct GgufVocabulary<'a> {
    file: &'a GgufFile,
    tokens: &'a [String],
    /// Tokens of ordinary text.
    ordinary: Vocab,
    /// Tokens that are not, by id.
    controls: Vec<ControlToken>,
    merges: Vec<(String, String)>,
    /// llama.cpp's name for the way that text is cut into words.
    pre: &'a str,
    /// Number of ids, padding at the end not counted.
    size: usize,
}

impl<'a> GgufVocabulary<'a> {
    /// Reads the metadata.
    pub(crate) fn read(file: &'a GgufFile) -> Result<Self, ModelError> {
        let path = file.path();
        let missing = |key: &str| ModelError::tokenizer(path, format!("metadata {key:?} is missing"), "use a GGUF file with its tokenizer");
        let model = file.string("tokenizer.ggml.model").ok_or_else(|| missing("tokenizer.ggml.model"))?;
        if model != "gpt2" {
            let cause = format!("tokenizers of kind {model:?} are not read from GGUF files");
            return Err(ModelError::tokenizer(path, cause, "use the model's Hugging Face folder with its tokenizer.json"));
        }
        let strings = |key: &str| match file.value(key) {
            Some(Value::Strings(strings)) => Ok(strings),
            _ => Err(missing(key)),
        };
        let tokens = strings("tokenizer.ggml.tokens")?;
        let kinds = match file.value("tokenizer.ggml.token_type") {
            Some(Value::Ints(kinds)) if kinds.len() == tokens.len() => kinds,
            _ => return Err(missing("tokenizer.ggml.token_type")),
        };

        let mut ordinary = Vocab::default();
        let mut controls = Vec::new();
        for (id, (text, &kind)) in (0..).zip(tokens.iter().zip(kinds)) {
            match kind {
                NORMAL_TOKEN => drop(ordinary.insert(text.clone(), id)),
                CONTROL_TOKEN | USER_TOKEN if !text.is_empty() => {
                    controls.push(ControlToken { text: text.clone(), id, special: kind == CONTROL_TOKEN });
                }
                _ => {}
            }
        }
        let merges = strings("tokenizer.ggml.merges")?
            .iter()
            .map(|merge| merge.split_once(' ').map(|(left, right)| (left.to_owned(), right.to_owned())))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| ModelError::damaged(path, "a merge that is not two tokens"))?;
        let size = kinds.iter().rposition(|&kind| kind != UNUSED_TOKEN).map_or(0, |last| last + 1);
        Ok(Self { file, tokens, ordinary, controls, merges, pre: file.string("tokenizer.ggml.pre").unwrap_or("default"), size })
    }

    /// What the engine needs of it.
    pub(crate) fn vocabulary(self) -> Result<Vocabulary, ModelError> {
        let eos_ids = ["eos", "eot", "eom"]
            .iter()
            .filter_map(|name| self.file.integer(&format!("tokenizer.ggml.{name}_token_id")))
            .filter_map(|id| TokenId::try_from(id).ok())
            .collect();
        Ok(Vocabulary {
            template: self.chat_template().map(str::to_owned),
            bos: self.special("bos").map(|(_, text)| text.to_owned()).unwrap_or_default(),
            eos: self.special("eos").map(|(_, text)| text.to_owned()).unwrap_or_default(),
            plain: self.bpe(self.ordinary.clone())?,
            controls: self.controls,
            size: self.size,
            byte_level: true,
            eos_ids,
        })
    }

    /// The tokenizer with its control tokens, as tokenizer.json has it.
    pub(crate) fn json(&self) -> Result<String, ModelError> {
        let mut vocab = self.ordinary.clone();
        // In the vocabulary too, where their ids are stated: added tokens alone are numbered by their order.
        vocab.extend(self.controls.iter().map(|control| (control.text.clone(), control.id)));
        let byte_level = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false });
        let frame = match self.special("bos") {
            Some((id, text)) if self.begins_with_bos() => json!({
                "type": "TemplateProcessing",
                "single": [{ "SpecialToken": { "id": text, "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }],
                "pair": [
                    { "SpecialToken": { "id": text, "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } },
                    { "SpecialToken": { "id": text, "type_id": 1 } }, { "Sequence": { "id": "B", "type_id": 1 } },
                ],
                "special_tokens": { text: { "id": text, "ids": [id], "tokens": [text] } },
            }),
            _ => byte_level.clone(),
        };
        let frame: PostProcessorWrapper = serde_json::from_value(frame).map_err(|e| self.failed(&e))?;
        let decoder: DecoderWrapper = serde_json::from_value(byte_level).map_err(|e| self.failed(&e))?;
        let mut tokenizer = self.bpe(vocab)?;
        tokenizer.with_post_processor(Some(frame));
        tokenizer.with_decoder(Some(decoder));
        let added = self.controls.iter().map(|control| AddedToken::from(control.text.as_str(), control.special).normalized(false));
        tokenizer.add_tokens(added).map_err(|e| self.failed(&e))?;
        tokenizer.to_string(true).map_err(|e| self.failed(&e))
    }

    /// The chat template.
    pub(crate) fn chat_template(&self) -> Option<&'a str> {
        self.file.string("tokenizer.chat_template")
    }

    /// Id and text of a token with a role: `bos`, `eos`, `padding`.
    pub(crate) fn special(&self, role: &str) -> Option<(TokenId, &'a str)> {
        let id = self.file.integer(&format!("tokenizer.ggml.{role}_token_id"))?;
        Some((TokenId::try_from(id).ok()?, self.tokens.get(id)?))
    }

    /// Whether other programs put the beginning-of-document token before a text; llama.cpp takes it for granted with Llama 3.
    fn begins_with_bos(&self) -> bool {
        match self.file.value("tokenizer.ggml.add_bos_token") {
            Some(&Value::Bool(begins)) => begins,
            _ => self.pre == "llama-bpe",
        }
    }

    /// The tokenizer that llama.cpp's `pre` names, written as the model's own tokenizer.json has it.
    fn bpe(&self, vocab: Vocab) -> Result<Tokenizer, ModelError> {
        let words = |digits: &str| {
            let pattern = format!(
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            );
            json!({ "type": "Sequence", "pretokenizers": [
                { "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false },
                { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false },
            ]})
        };
        let gpt2 = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true });
        let (normalizer, pre_tokenizer, ignore_merges): (Option<Json>, Json, bool) = match self.pre {
            "qwen2" => (Some(json!({ "type": "NFC" })), words(r"\p{N}"), false),
            "llama-bpe" => (None, words(r"\p{N}{1,3}"), true),
            "smollm" => {
                let digits = json!({ "type": "Digits", "individual_digits": true });
                (None, json!({ "type": "Sequence", "pretokenizers": [digits, gpt2] }), false)
            }
            "gpt-2" | "default" => (None, gpt2, false),
            other => {
                let cause = format!("the word splitter {other:?} is not known");
                let remedy = "use the model's Hugging Face folder with its tokenizer.json";
                return Err(ModelError::tokenizer(self.file.path(), cause, remedy));
            }
        };
        let bpe = BPE::builder().vocab_and_merges(vocab, self.merges.clone()).ignore_merges(ignore_merges).build();
        let pre_tokenizer: PreTokenizerWrapper = serde_json::from_value(pre_tokenizer).map_err(|e| self.failed(&e))?;
        let normalizer: Option<NormalizerWrapper> = normalizer.map(serde_json::from_value).transpose().map_err(|e| self.failed(&e))?;
        let mut tokenizer = Tokenizer::new(bpe.map_err(|e| self.failed(&e))?);
        tokenizer.with_pre_tokenizer(Some(pre_tokenizer));
        tokenizer.with_normalizer(normalizer).map_err(|e| self.failed(&e))?;
        Ok(tokenizer)
    }

    fn failed(&self, cause: &dyn Display) -> ModelError {
        ModelError::tokenizer(self.file.path(), cause.to_string(), "the file is damaged: obtain it again")
    }
}
