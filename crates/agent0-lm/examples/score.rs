//! Token ids and log-probabilities in f32, for another program's to be held against.
//!
//! usage: cargo run --release -p agent0-lm --example score -- MODEL [ADAPTER] < texts.jsonl
//!
//! For each text, a JSON string a line, prints one object: `ids`, `chat` (ids of a chat in which a user says it) and `logprobs` of the
//! chat's ids after the first.

use std::io::{read_to_string, stdin};
use std::path::Path;

use agent0_compute::Dtype;
use agent0_engine::{Codec, Engine, Message, Role, ScoreRequest, Weights};
use agent0_lm::{LocalEngine, LocalOptions, Tokenizer};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let Some(model) = args.next() else { return Err("usage: score MODEL [ADAPTER] < texts.jsonl".into()) };
    let tokenizer = Tokenizer::open(Path::new(&model))?;
    let engine = LocalEngine::open(Path::new(&model), &LocalOptions { dtype: Some(Dtype::F32), ..Default::default() })?;
    let weights = match args.next() {
        Some(adapter) => Weights::Live(engine.load(Path::new(&adapter)).await?),
        None => Weights::Base,
    };
    for line in read_to_string(stdin())?.lines() {
        let text: String = serde_json::from_str(line)?;
        let (ids, chat) = (tokenizer.encode(&text)?, tokenizer.chat(&[Message::new(Role::User, text)])?);
        let request = ScoreRequest { wanted: vec![true; chat.len()], ids: chat.clone() };
        let logprobs = engine.logprobs(vec![request], weights, 1.0).await?.remove(0);
        println!("{}", serde_json::json!({ "ids": ids, "chat": chat, "logprobs": logprobs[1..] }));
    }
    Ok(())
}
