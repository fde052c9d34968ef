//! OpenAI's answers, whole or as a stream of chunks, from what is heard of the choices.

use std::time::{SystemTime, UNIX_EPOCH};

use agent0_rl::RolloutError;
use futures_util::stream::{self, Stream, StreamExt};
use serde_json::{Value, json};

use super::refusal::Refusal;
use super::request::{Asked, fresh_id};
use crate::speech::{Piece, Token};

/// What is heard of a choice next.
#[derive(Debug)]
pub enum Answer {
    Text(Piece),
    /// Nothing more follows.
    End {
        finish: Finish,
        /// Tokens that the model chose.
        tokens: usize,
    },
}

/// Why a choice ended.
#[derive(Debug, Clone, Copy)]
pub enum Finish {
    /// An answer, the end of the turn, or a stop string.
    Stop,
    /// A limit.
    Length,
}

impl Finish {
    fn name(self) -> &'static str {
        match self {
            Finish::Stop => "stop",
            Finish::Length => "length",
        }
    }
}

/// What all parts of an answer have in common.
pub struct Reply {
    api: Api,
    id: String,
    created: u64,
    model: String,
    /// How the numbers are computed: where it is the same, the same seed gives the same answer.
    fingerprint: String,
    logprobs: bool,
    include_usage: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Api {
    Chat,
    Completion,
}

/// The entry of a model in a list of models.
pub fn model(name: &str) -> Value {
    json!({ "id": name, "object": "model", "created": 0, "owned_by": "agent0" })
}

impl Reply {
    pub fn chat(model: &str, numerics: &str, asked: &Asked) -> Self {
        Self::new(Api::Chat, fresh_id("chatcmpl"), model, numerics, asked)
    }

    pub fn completion(model: &str, numerics: &str, asked: &Asked) -> Self {
        Self::new(Api::Completion, fresh_id("cmpl"), model, numerics, asked)
    }

    fn new(api: Api, id: String, model: &str, numerics: &str, asked: &Asked) -> Self {
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let (model, fingerprint) = (model.to_owned(), numerics.to_owned());
        Self { api, id, created, model, fingerprint, logprobs: asked.logprobs, include_usage: asked.include_usage }
    }

    /// The whole answer, when all choices have come to their end. `begun` is what each begins with.
    pub async fn whole(
        &self,
        begun: Vec<String>,
        mut heard: impl Stream<Item = (usize, Result<Answer, RolloutError>)> + Unpin,
        prompt_tokens: usize,
    ) -> Result<Value, Refusal> {
        let mut choices: Vec<Choice> = begun.into_iter().map(|text| Choice { text, tokens: Vec::new(), finish: Finish::Stop }).collect();
        let mut sampled = 0;
        while let Some((index, answer)) = heard.next().await {
            match answer? {
                Answer::Text(piece) => {
                    choices[index].text += &piece.text;
                    choices[index].tokens.extend(piece.tokens);
                }
                Answer::End { finish, tokens } => {
                    choices[index].finish = finish;
                    sampled += tokens;
                }
            }
        }
        let choices: Vec<Value> = choices.iter().enumerate().map(|(index, choice)| self.choice(index, choice)).collect();
        let mut answer = self.frame(if self.api == Api::Chat { "chat.completion" } else { "text_completion" }, choices);
        answer["usage"] = usage(prompt_tokens, sampled);
        Ok(answer)
    }

    fn choice(&self, index: usize, choice: &Choice) -> Value {
        let (logprobs, finish) = (self.logprobs_of(&choice.tokens), choice.finish.name());
        match self.api {
            Api::Chat => {
                let message = json!({ "role": "assistant", "content": choice.text, "refusal": null });
                json!({ "index": index, "message": message, "logprobs": logprobs, "finish_reason": finish })
            }
            Api::Completion => json!({ "index": index, "text": choice.text, "logprobs": logprobs, "finish_reason": finish }),
        }
    }

    /// The data of a stream's events, the last of them `[DONE]`. An error ends it with an error object.
    pub fn events(
        self,
        begun: Vec<String>,
        heard: impl Stream<Item = (usize, Result<Answer, RolloutError>)> + Send + Unpin + 'static,
        prompt_tokens: usize,
    ) -> impl Stream<Item = String> + Send + 'static {
        let openings: Vec<String> = begun.iter().enumerate().filter_map(|(index, text)| self.opening(index, text)).collect();
        let telling = Telling { reply: self, heard, prompt_tokens, sampled: 0, last: Last::Open };
        stream::iter(openings).chain(stream::unfold(telling, |mut telling| async move { Some((telling.next().await?, telling)) }))
    }

    /// The first chunk of a choice, where there is something to begin with.
    fn opening(&self, index: usize, text: &str) -> Option<String> {
        match self.api {
            Api::Chat => Some(self.chunk(index, json!({ "role": "assistant", "content": text }), Value::Null, None)),
            Api::Completion if text.is_empty() => None,
            Api::Completion => Some(self.chunk(index, text.into(), Value::Null, None)),
        }
    }

    /// A chunk of a choice: a delta, or for completions a text.
    fn chunk(&self, index: usize, content: Value, logprobs: Value, finish: Option<Finish>) -> String {
        let name = if self.api == Api::Chat { "delta" } else { "text" };
        let choice = json!({ "index": index, name: content, "logprobs": logprobs, "finish_reason": finish.map(Finish::name) });
        let mut chunk = self.frame(self.chunk_name(), vec![choice]);
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        chunk.to_string()
    }

    fn said(&self, index: usize, answer: &Answer) -> String {
        match (answer, self.api) {
            (Answer::Text(piece), Api::Chat) => self.chunk(index, json!({ "content": piece.text }), self.logprobs_of(&piece.tokens), None),
            (Answer::Text(piece), Api::Completion) => self.chunk(index, piece.text.clone().into(), self.logprobs_of(&piece.tokens), None),
            (Answer::End { finish, .. }, Api::Chat) => self.chunk(index, json!({}), Value::Null, Some(*finish)),
            (Answer::End { finish, .. }, Api::Completion) => self.chunk(index, "".into(), Value::Null, Some(*finish)),
        }
    }

    fn chunk_name(&self) -> &'static str {
        if self.api == Api::Chat { "chat.completion.chunk" } else { "text_completion" }
    }

    fn frame(&self, object: &str, choices: Vec<Value>) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
        })
    }

    /// The tokens' log-probabilities in the API's own shape; null if nobody asked.
    fn logprobs_of(&self, tokens: &[Token]) -> Value {
        let text = |token: &Token| String::from_utf8_lossy(&token.bytes).into_owned();
        match self.api {
            _ if !self.logprobs => Value::Null,
            Api::Chat => {
                let entry =
                    |token: &Token| json!({ "token": text(token), "logprob": token.logprob, "bytes": token.bytes, "top_logprobs": [] });
                json!({ "content": tokens.iter().map(entry).collect::<Vec<_>>(), "refusal": null })
            }
            Api::Completion => json!({
                "tokens": tokens.iter().map(text).collect::<Vec<_>>(),
                "token_logprobs": tokens.iter().map(|token| token.logprob).collect::<Vec<_>>(),
                "top_logprobs": null,
                "text_offset": tokens.iter().map(|token| token.offset).collect::<Vec<_>>(),
            }),
        }
    }
}

/// One choice so far.
struct Choice {
    text: String,
    tokens: Vec<Token>,
    finish: Finish,
}

/// A stream's choices being told.
struct Telling<S> {
    reply: Reply,
    heard: S,
    prompt_tokens: usize,
    sampled: usize,
    last: Last,
}

/// What is left to say when the choices are told.
#[derive(Clone, Copy)]
enum Last {
    Open,
    Done,
    Over,
}

impl<S: Stream<Item = (usize, Result<Answer, RolloutError>)> + Unpin> Telling<S> {
    async fn next(&mut self) -> Option<String> {
        match self.last {
            Last::Open => {}
            Last::Done => {
                self.last = Last::Over;
                return Some("[DONE]".to_owned());
            }
            Last::Over => return None,
        }
        match self.heard.next().await {
            Some((index, Ok(answer))) => {
                if let Answer::End { tokens, .. } = answer {
                    self.sampled += tokens;
                }
                Some(self.reply.said(index, &answer))
            }
            Some((_, Err(error))) => {
                self.last = Last::Over;
                Some(Refusal::from(error).body().to_string())
            }
            None if self.reply.include_usage => {
                self.last = Last::Done;
                let mut chunk = self.reply.frame(self.reply.chunk_name(), Vec::new());
                chunk["usage"] = usage(self.prompt_tokens, self.sampled);
                Some(chunk.to_string())
            }
            None => {
                self.last = Last::Over;
                Some("[DONE]".to_owned())
            }
        }
    }
}

fn usage(prompt: usize, sampled: usize) -> Value {
    json!({ "prompt_tokens": prompt, "completion_tokens": sampled, "total_tokens": prompt + sampled })
}
