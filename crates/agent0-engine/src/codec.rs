//! Text to token ids and back. Knows nothing of how tokens are sampled.

use crate::TokenId;

/// Who speaks in a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Instructions that frame the chat.
    System,
    /// The asking side.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// The name chat templates use.
    pub fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

/// One turn of a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A turn of `role` that says `content`.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into() }
    }

    /// A chat of a system turn, left out when empty, and a user turn.
    pub fn chat(system: &str, user: &str) -> Vec<Self> {
        let turns = [(Role::System, system), (Role::User, user)];
        turns.into_iter().filter(|(_, text)| !text.is_empty()).map(|(role, text)| Self::new(role, text)).collect()
    }
}

/// Why text could not be turned into ids.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The model's chat template failed on these messages.
    #[error("chat template: {0}")]
    Template(String),
    /// The tokenizer failed.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
}

/// A model's tokenizer and chat template.
pub trait Codec: Send + Sync {
    /// Ids of plain text. Markup such as `<|im_end|>` inside it is encoded as ordinary characters: text that came
    /// from outside can never become a control token.
    fn encode(&self, text: &str) -> Result<Vec<TokenId>, CodecError>;

    /// Ids of a chat in the model's own template, ending where the assistant is to speak.
    fn chat(&self, messages: &[Message]) -> Result<Vec<TokenId>, CodecError>;

    /// The bytes a token stands for; empty for control tokens. A character may be spread over several tokens.
    fn bytes(&self, id: TokenId) -> &[u8];

    /// Text of a sequence; bytes that are not UTF-8 become U+FFFD, control tokens vanish.
    fn decode(&self, ids: &[TokenId]) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| self.bytes(id)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Tokens that end an assistant's turn.
    fn stop_tokens(&self) -> &[TokenId];
}
