//! Vocabularies, merges, pre-tokenizers and chat templates as model files hold them. Encoding is in `tokenizer.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use agent0_engine::TokenId;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::json;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper};

use crate::chat::ControlToken;
use crate::error::ModelError;
use crate::gguf::{GgufFile, Value};
use crate::gguf_model::UNUSED_TOKEN;
use crate::hf::{read_json, read_text};

/// GGUF's token type of ordinary tokens.
const NORMAL_TOKEN: i64 = 1;
/// GGUF's token type of control tokens.
const CONTROL_TOKEN: i64 = 3;
/// GGUF's token type of markup that models may write as part of an answer.
const USER_TOKEN: i64 = 4;
/// More tokens than any model has.
const MAX_TOKENS: usize = 1 << 24;

/// What a model's files say about its tokens.
pub(crate) struct Vocabulary {
    /// The tokenizer without any control token.
    pub(crate) plain: tokenizers::Tokenizer,
    /// Tokens that are not made of ordinary text; ids are below `size`.
    pub(crate) controls: Vec<ControlToken>,
    /// Number of ids.
    pub(crate) size: usize,
    /// Whether tokens are written in GPT-2's byte alphabet, else in SentencePiece's.
    pub(crate) byte_level: bool,
    /// The chat template.
    pub(crate) template: Option<String>,
    /// Text of the token that begins a document.
    pub(crate) bos: String,
    /// Text of the token that ends a document or turn.
    pub(crate) eos: String,
    /// Tokens that end a turn.
    pub(crate) eos_ids: Vec<TokenId>,
}

/// Reads the vocabulary of a `.gguf` file or of a Hugging Face folder.
pub(crate) fn read(path: &Path) -> Result<Vocabulary, ModelError> {
    if path.is_dir() { read_folder(path) } else { read_gguf(&GgufFile::open(path)?) }
}

fn read_gguf(file: &GgufFile) -> Result<Vocabulary, ModelError> {
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

    let mut vocab = Vocab::default();
    let mut controls = Vec::new();
    for (id, (text, &kind)) in (0..).zip(tokens.iter().zip(kinds)) {
        match kind {
            NORMAL_TOKEN => drop(vocab.insert(text.clone(), id)),
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
    let plain = byte_level_bpe(path, vocab, merges, file.string("tokenizer.ggml.pre").unwrap_or("default"))?;

    let eos_ids: Vec<TokenId> = ["eos", "eot", "eom"]
        .iter()
        .filter_map(|name| file.integer(&format!("tokenizer.ggml.{name}_token_id")))
        .filter_map(|id| TokenId::try_from(id).ok())
        .collect();
    let text_of = |key: &str| file.integer(key).and_then(|id| tokens.get(id)).cloned().unwrap_or_default();
    Ok(Vocabulary {
        plain,
        controls,
        size: kinds.iter().rposition(|&kind| kind != UNUSED_TOKEN).map_or(0, |last| last + 1),
        byte_level: true,
        template: file.string("tokenizer.chat_template").map(str::to_owned),
        bos: text_of("tokenizer.ggml.bos_token_id"),
        eos: text_of("tokenizer.ggml.eos_token_id"),
        eos_ids,
    })
}

/// The tokenizer that llama.cpp's `pre` names, written as the model's own tokenizer.json has it.
fn byte_level_bpe(path: &Path, vocab: Vocab, merges: Vec<(String, String)>, pre: &str) -> Result<tokenizers::Tokenizer, ModelError> {
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
    let (normalizer, pre_tokenizer, ignore_merges) = match pre {
        "qwen2" => (Some(json!({ "type": "NFC" })), words(r"\p{N}"), false),
        "llama-bpe" => (None, words(r"\p{N}{1,3}"), true),
        "smollm" => {
            let digits = json!({ "type": "Digits", "individual_digits": true });
            (None, json!({ "type": "Sequence", "pretokenizers": [digits, gpt2] }), false)
        }
        "gpt-2" | "default" => (None, gpt2, false),
        other => {
            let cause = format!("the word splitter {other:?} is not known");
            return Err(ModelError::tokenizer(path, cause, "use the model's Hugging Face folder with its tokenizer.json"));
        }
    };
    let failed = |e: &dyn std::fmt::Display| ModelError::tokenizer(path, e.to_string(), "the file is damaged: obtain it again");
    let bpe = BPE::builder().vocab_and_merges(vocab, merges).ignore_merges(ignore_merges).build().map_err(|e| failed(&e))?;
    let pre_tokenizer: PreTokenizerWrapper = serde_json::from_value(pre_tokenizer).map_err(|e| failed(&e))?;
    let normalizer: Option<NormalizerWrapper> = normalizer.map(serde_json::from_value).transpose().map_err(|e| failed(&e))?;
    let mut tokenizer = tokenizers::Tokenizer::new(bpe);
    tokenizer.with_pre_tokenizer(Some(pre_tokenizer));
    tokenizer.with_normalizer(normalizer).map_err(|e| failed(&e))?;
    Ok(tokenizer)
}

fn read_folder(folder: &Path) -> Result<Vocabulary, ModelError> {
    #[derive(Deserialize)]
    struct Added {
        id: TokenId,
        content: String,
        special: bool,
    }
    let path = folder.join("tokenizer.json");
    let failed = |cause: String| ModelError::tokenizer(&path, cause, "obtain the model's tokenizer.json again");
    let mut file: serde_json::Map<String, serde_json::Value> =
        read_json(&path)?.ok_or_else(|| failed("there is no tokenizer.json".to_owned()))?;
    let added: Vec<Added> = take(&mut file, "added_tokens").map_err(failed)?.unwrap_or_default();
    // Text is encoded piece by piece, without the frame that these put around it.
    for key in ["truncation", "padding", "post_processor"] {
        file.insert(key.to_owned(), serde_json::Value::Null);
    }
    file.insert("added_tokens".to_owned(), json!([]));
    if let Some(model) = file.get_mut("model").and_then(|model| model.as_object_mut()) {
        // A control token that is in the vocabulary too could be found there by ordinary text.
        let unknown = model.get("unk_token").and_then(|token| token.as_str()).map(str::to_owned);
        if let Some(vocab) = model.get_mut("vocab").and_then(|vocab| vocab.as_object_mut()) {
            for token in added.iter().filter(|token| token.special && Some(&token.content) != unknown.as_ref()) {
                vocab.shift_remove(&token.content);
            }
        }
    }
    let byte_level = has_type(file.get("decoder"), "ByteLevel");
    if !byte_level && !has_type(file.get("decoder"), "ByteFallback") {
        return Err(failed("it is neither a byte-level nor a byte-fallback tokenizer".to_owned()));
    }
    let plain: tokenizers::Tokenizer = serde_json::from_value(file.into()).map_err(|e| failed(e.to_string()))?;

    let last = plain.get_vocab(false).into_values().chain(added.iter().map(|token| token.id)).max();
    let size = last.map_or(0, |last| last as usize + 1);
    if size > MAX_TOKENS {
        return Err(failed(format!("the largest token id is {}", size - 1)));
    }
    let settings: Settings = read_json(&folder.join("tokenizer_config.json"))?.unwrap_or_default();
    let mut eos_ids: BTreeSet<TokenId> = BTreeSet::new();
    for name in ["generation_config.json", "config.json"] {
        eos_ids
            .extend(read_json::<EosIds>(&folder.join(name))?.and_then(|ids| ids.eos_token_id).map(OneOrMany::into_vec).unwrap_or_default());
    }
    let text_of = |token: Option<TokenText>| token.map(TokenText::into_text).unwrap_or_default();
    let eos = text_of(settings.eos_token);
    eos_ids.extend(added.iter().filter(|token| token.content == eos).map(|token| token.id));
    let template = match read_text(&folder.join("chat_template.jinja"))? {
        Some(template) => Some(template),
        None => settings.chat_template.and_then(RawTemplate::into_default),
    };
    Ok(Vocabulary {
        plain,
        controls: added
            .into_iter()
            .filter(|token| !token.content.is_empty())
            .map(|token| ControlToken { text: token.content, id: token.id, special: token.special })
            .collect(),
        size,
        byte_level,
        template,
        bos: text_of(settings.bos_token),
        eos,
        eos_ids: eos_ids.into_iter().collect(),
    })
}

/// Number of tokens of a Hugging Face folder; `None` when it has no tokenizer.json.
pub(crate) fn count_tokens(folder: &Path) -> Result<Option<usize>, ModelError> {
    #[derive(Deserialize)]
    struct File {
        #[serde(default)]
        added_tokens: Vec<Added>,
        model: Model,
    }
    #[derive(Deserialize)]
    struct Added {
        id: usize,
    }
    #[derive(Deserialize)]
    struct Model {
        vocab: Entries,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Entries {
        Ids(BTreeMap<String, usize>),
        List(Vec<IgnoredAny>),
    }
    let Some(file) = read_json::<File>(&folder.join("tokenizer.json"))? else { return Ok(None) };
    let plain = match file.model.vocab {
        Entries::Ids(ids) => ids.into_values().max().map_or(0, |last| last.saturating_add(1)),
        Entries::List(entries) => entries.len(),
    };
    Ok(file.added_tokens.iter().map(|token| token.id.saturating_add(1)).max().max(Some(plain)))
}

fn take<T: DeserializeOwned>(file: &mut serde_json::Map<String, serde_json::Value>, key: &str) -> Result<Option<T>, String> {
    file.remove(key).map(serde_json::from_value).transpose().map_err(|e| format!("{key}: {e}"))
}

/// Whether a component, or one of a sequence of components, is of this type.
fn has_type(component: Option<&serde_json::Value>, name: &str) -> bool {
    let is = |component: &serde_json::Value| component.get("type").and_then(|kind| kind.as_str()) == Some(name);
    component.is_some_and(|component| {
        is(component) || component.get("decoders").and_then(|list| list.as_array()).is_some_and(|list| list.iter().any(is))
    })
}

/// What is used of tokenizer_config.json.
#[derive(Default, Deserialize)]
struct Settings {
    bos_token: Option<TokenText>,
    eos_token: Option<TokenText>,
    chat_template: Option<RawTemplate>,
}

/// What is used of config.json and generation_config.json.
#[derive(Deserialize)]
struct EosIds {
    eos_token_id: Option<OneOrMany>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(TokenId),
    Many(Vec<TokenId>),
}

impl OneOrMany {
    fn into_vec(self) -> Vec<TokenId> {
        match self {
            Self::One(id) => vec![id],
            Self::Many(ids) => ids,
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TokenText {
    Plain(String),
    Described { content: String },
}

impl TokenText {
    fn into_text(self) -> String {
        match self {
            Self::Plain(text) | Self::Described { content: text } => text,
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawTemplate {
    One(String),
    Named(Vec<NamedTemplate>),
}

#[derive(Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

impl RawTemplate {
    fn into_default(self) -> Option<String> {
        match self {
            Self::One(template) => Some(template),
            Self::Named(list) => list.into_iter().find(|entry| entry.name == "default").map(|entry| entry.template),
        }
    }
}
