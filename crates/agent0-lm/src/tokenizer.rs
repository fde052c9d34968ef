//! Text to token ids and back, for one model. Where vocabulary and template come from is in `vocabulary.rs`.

use std::path::Path;

use agent0_engine::{Codec, CodecError, Message, TokenId};

use crate::chat::{ChatTemplate, ControlToken, Piece};
use crate::error::ModelError;
use crate::files;
use crate::vocabulary::Vocabulary;

/// Control tokens that end a turn wherever a vocabulary has them.
const TURN_ENDS: [&str; 2] = ["<|endoftext|>", "<|im_end|>"];

/// A model's tokenizer and chat template.
pub struct Tokenizer {
    /// Knows no control token: nothing in a text can become one.
    plain: tokenizers::Tokenizer,
    controls: Vec<ControlToken>,
    bytes: TokenBytes,
    template: ChatTemplate,
    stop_tokens: Vec<TokenId>,
}

impl Tokenizer {
    /// Reads the tokenizer of a `.gguf` file or of a Hugging Face folder (tokenizer.json).
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let vocabulary = files::vocabulary(path)?;
        let bytes = TokenBytes::new(&vocabulary);
        let mut stop_tokens = vocabulary.eos_ids;
        stop_tokens.extend(vocabulary.controls.iter().filter(|c| TURN_ENDS.contains(&c.text.as_str())).map(|c| c.id));
        stop_tokens.retain(|&id| (id as usize) < vocabulary.size);
        stop_tokens.sort_unstable();
        stop_tokens.dedup();
        let template = ChatTemplate::new(path, vocabulary.template, vocabulary.bos, vocabulary.eos)?;
        Ok(Self { plain: vocabulary.plain, controls: vocabulary.controls, bytes, template, stop_tokens })
    }

    /// Number of tokens, control tokens included and padding rows of the embedding not.
    pub fn tokens(&self) -> usize {
        self.bytes.tokens()
    }

    /// Whether chats are written by the model's own template. If not, its files have none and ChatML is used instead,
    /// which a user should be told.
    pub fn has_chat_template(&self) -> bool {
        self.template.is_own()
    }
}

impl Codec for Tokenizer {
    fn encode(&self, text: &str) -> Result<Vec<TokenId>, CodecError> {
        let encoding = self.plain.encode_fast(text, false).map_err(|e| CodecError::Tokenizer(e.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    fn chat(&self, messages: &[Message]) -> Result<Vec<TokenId>, CodecError> {
        let mut ids = Vec::new();
        for piece in self.template.pieces(messages, &self.controls)? {
            match piece {
                Piece::Control(id) => ids.push(id),
                Piece::Text(text) => ids.extend(self.encode(&text)?),
            }
        }
        Ok(ids)
    }

    fn bytes(&self, id: TokenId) -> &[u8] {
        self.bytes.get(id)
    }

    fn stop_tokens(&self) -> &[TokenId] {
        &self.stop_tokens
    }
}

/// The bytes of all tokens, end to end.
struct TokenBytes {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl TokenBytes {
    fn new(vocabulary: &Vocabulary) -> Self {
        let alphabet = byte_alphabet();
        let mut controls: Vec<Option<&ControlToken>> = vec![None; vocabulary.size];
        for control in &vocabulary.controls {
            controls[control.id as usize] = Some(control);
        }
        let mut table = Self { bytes: Vec::new(), ends: Vec::with_capacity(vocabulary.size) };
        for (id, control) in controls.into_iter().enumerate() {
            match (control, vocabulary.plain.id_to_token(id as TokenId)) {
                (Some(control), _) if control.special => {}
                (Some(control), _) => table.bytes.extend(control.text.as_bytes()),
                (None, Some(token)) if vocabulary.byte_level => push_byte_level(&token, &alphabet, &mut table.bytes),
                (None, Some(token)) => push_sentence_piece(&token, &mut table.bytes),
                (None, None) => {}
            }
            table.ends.push(table.bytes.len());
        }
        table
    }

    fn tokens(&self) -> usize {
        self.ends.len()
    }

    fn get(&self, id: TokenId) -> &[u8] {
        let id = id as usize;
        match self.ends.get(id) {
            Some(&end) => &self.bytes[id.checked_sub(1).map_or(0, |before| self.ends[before])..end],
            None => &[],
        }
    }
}

/// GPT-2's way to write each byte as a printable character, sorted by character.
fn byte_alphabet() -> Vec<(char, u8)> {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    // Bytes that do not print are numbered on from U+0100.
    let shifted = (0..=255).filter(|&byte| !printable(byte)).zip('\u{100}'..).map(|(byte, c)| (c, byte));
    let mut alphabet: Vec<(char, u8)> = (0..=255).filter(|&byte| printable(byte)).map(|byte| (char::from(byte), byte)).collect();
    alphabet.extend(shifted);
    alphabet.sort_unstable();
    alphabet
}

/// Appends the bytes of a byte-level token.
fn push_byte_level(token: &str, alphabet: &[(char, u8)], out: &mut Vec<u8>) {
    for c in token.chars() {
        match alphabet.binary_search_by_key(&c, |&(c, _)| c) {
            Ok(at) => out.push(alphabet[at].1),
            Err(_) => out.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Appends the bytes of a SentencePiece token: `<0x0A>` is a byte, U+2581 a space.
fn push_sentence_piece(token: &str, out: &mut Vec<u8>) {
    let byte = token.strip_prefix("<0x").and_then(|hex| hex.strip_suffix('>')).and_then(|hex| u8::from_str_radix(hex, 16).ok());
    match byte {
        Some(byte) => out.push(byte),
        None => out.extend(token.replace('\u{2581}', " ").as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_alphabet_is_gpt2s() {
        let alphabet = byte_alphabet();
        let mut bytes: Vec<u8> = alphabet.iter().map(|&(_, byte)| byte).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        for pair in [('Ġ', b' '), ('Ċ', b'\n'), ('ĉ', b'\t'), ('a', b'a'), ('Ń', 0xad), ('ÿ', 0xff)] {
            assert!(alphabet.contains(&pair), "{pair:?}");
        }
    }

    #[test]
    fn sentence_piece_tokens_are_spaces_and_bytes() {
        let bytes = |token: &str| {
            let mut out = Vec::new();
            push_sentence_piece(token, &mut out);
            out
        };
        assert_eq!((bytes("\u{2581}the"), bytes("<0x0A>"), bytes("<0xZZ>")), (b" the".to_vec(), vec![10], b"<0xZZ>".to_vec()));
    }
}
