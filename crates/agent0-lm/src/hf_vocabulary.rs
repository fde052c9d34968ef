//! What a Hugging Face folder says about tokens, in tokenizer.json and the files beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use agent0_engine::TokenId;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::json;

use crate::chat::ControlToken;
use crate::error::ModelError;
use crate::hf_json::{read_json, read_text};
use crate::vocabulary::Vocabulary;

/// More tokens than any model has.
const MAX_TOKENS: usize = 1 << 24;

/// Reads the vocabulary of a folder.
pub(crate) fn read(folder: &Path) -> Result<Vocabulary, ModelError> {
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
        if !model.get("vocab").is_some_and(|vocab| vocab.is_object()) {
            return Err(failed("its vocabulary is no table of texts, as a Unigram model's, which is not supported".to_owned()));
        }
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
