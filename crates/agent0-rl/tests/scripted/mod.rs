//! An engine, a codec and a tool that follow a script.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use agent0_engine::*;
use agent0_rl::{Tool, ToolError, ToolResult};
use async_trait::async_trait;

/// The control token `<eos>`; smaller ids are bytes, larger ones the tokens of the script.
pub const EOS: TokenId = 256;

/// Bytes, `<eos>`, and tokens of any length. Text is always encoded as bytes.
pub struct Vocabulary {
    tokens: Vec<Vec<u8>>,
}

impl Default for Vocabulary {
    fn default() -> Self {
        Self { tokens: (0..=255u8).map(|byte| vec![byte]).chain([Vec::new()]).collect() }
    }
}

impl Vocabulary {
    fn add(&mut self, token: &[u8]) -> TokenId {
        if token == b"<eos>" {
            return EOS;
        }
        self.tokens.push(token.to_vec());
        self.tokens.len() as TokenId - 1
    }
}

impl Codec for Vocabulary {
    fn encode(&self, text: &str) -> Result<Vec<TokenId>, CodecError> {
        Ok(text.bytes().map(TokenId::from).collect())
    }

    fn chat(&self, messages: &[Message]) -> Result<Vec<TokenId>, CodecError> {
        messages.iter().map(|message| self.encode(&message.content)).collect::<Result<Vec<_>, _>>().map(|ids| ids.concat())
    }

    fn bytes(&self, id: TokenId) -> &[u8] {
        &self.tokens[id as usize]
    }

    fn stop_tokens(&self) -> &[TokenId] {
        &[EOS]
    }
}

/// Says one scripted stretch per call, cut as the request demands.
pub struct ScriptedEngine {
    pub vocabulary: Arc<Vocabulary>,
    pub info: EngineInfo,
    pub requests: Mutex<Vec<SampleRequest>>,
    /// Called after each token.
    pub drawn: Mutex<Option<Box<dyn FnMut() + Send>>>,
    stretches: Mutex<VecDeque<Vec<TokenId>>>,
}

impl ScriptedEngine {
    pub fn new(stretches: &[&[&str]]) -> Self {
        let bytes: Vec<Vec<&[u8]>> = stretches.iter().map(|stretch| stretch.iter().map(|token| token.as_bytes()).collect()).collect();
        Self::of_bytes(&bytes.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    pub fn of_bytes(stretches: &[&[&[u8]]]) -> Self {
        let mut vocabulary = Vocabulary::default();
        let stretches = stretches.iter().map(|stretch| stretch.iter().map(|token| vocabulary.add(token)).collect()).collect();
        Self {
            vocabulary: Arc::new(vocabulary),
            info: EngineInfo {
                model: "scripted".into(),
                context: 4096,
                vocab: 0,
                numerics: "none".into(),
                processor: "none".into(),
                notes: Vec::new(),
            },
            requests: Mutex::default(),
            drawn: Mutex::default(),
            stretches: Mutex::new(stretches),
        }
    }
}

fn logprob(id: TokenId) -> f32 {
    -(id as f32) / 1000.0
}

#[async_trait]
impl Engine for ScriptedEngine {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    async fn sample(&self, request: SampleRequest) -> Result<Vec<Sampled>, EngineError> {
        let script = self.stretches.lock().unwrap().pop_front().ok_or_else(|| EngineError::Stopped("the script is over".into()))?;
        let mut rule = request.params.stop_rule.as_ref().map(|rule| rule.start());
        let mut ids = Vec::new();
        let mut stop = StopReason::Length;
        for id in script.into_iter().take(request.params.max_tokens) {
            ids.push(id);
            if let Some(on_token) = &request.params.on_token {
                on_token(0, id, logprob(id));
            }
            if let Some(drawn) = &mut *self.drawn.lock().unwrap() {
                drawn();
            }
            if request.params.stop_tokens.contains(&id) {
                stop = StopReason::StopToken;
                break;
            }
            if rule.as_mut().is_some_and(|rule| rule.push(id)) {
                stop = StopReason::StopRule;
                break;
            }
        }
        let logprobs = ids.iter().map(|&id| logprob(id)).collect();
        self.requests.lock().unwrap().push(request);
        Ok(vec![Sampled { ids, logprobs, stop }])
    }

    async fn logprobs(&self, _: Vec<ScoreRequest>, _: Weights, _: f32) -> Result<Vec<Vec<f32>>, EngineError> {
        unimplemented!()
    }

    async fn create_adapter(&self, _: LoraSpec) -> Result<AdapterId, EngineError> {
        unimplemented!()
    }

    async fn drop_adapter(&self, _: AdapterId) -> Result<(), EngineError> {
        unimplemented!()
    }

    async fn publish(&self, _: AdapterId) -> Result<SnapshotId, EngineError> {
        unimplemented!()
    }

    async fn release(&self, _: SnapshotId) -> Result<(), EngineError> {
        unimplemented!()
    }

    async fn forward_backward(&self, _: AdapterId, _: Vec<Datum>, _: PolicyLoss) -> Result<ForwardBackward, EngineError> {
        unimplemented!()
    }

    async fn optim_step(&self, _: AdapterId, _: AdamParams) -> Result<OptimStep, EngineError> {
        unimplemented!()
    }

    async fn save(&self, _: AdapterId, _: &Path) -> Result<(), EngineError> {
        unimplemented!()
    }

    async fn load(&self, _: &Path) -> Result<AdapterId, EngineError> {
        unimplemented!()
    }
}

/// Answers each call with the next result, then fails; or never answers.
pub struct ScriptedTool {
    results: Mutex<VecDeque<String>>,
    hangs: bool,
    calls: Mutex<Vec<String>>,
    pub seeds: Mutex<Vec<u64>>,
    pub cancelled: AtomicBool,
}

impl ScriptedTool {
    pub fn new(results: &[&str]) -> Self {
        Self {
            results: Mutex::new(results.iter().map(|&result| result.to_owned()).collect()),
            hangs: false,
            calls: Mutex::default(),
            seeds: Mutex::default(),
            cancelled: AtomicBool::new(false),
        }
    }

    pub fn hanging() -> Self {
        Self { hangs: true, ..Self::new(&[]) }
    }

    pub fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }
}

/// Notes when a call is dropped before its end.
struct Guard<'a>(&'a AtomicBool);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[async_trait]
impl Tool for ScriptedTool {
    async fn call(&self, code: &str, seed: u64) -> Result<ToolResult, ToolError> {
        self.calls.lock().unwrap().push(code.to_owned());
        self.seeds.lock().unwrap().push(seed);
        if self.hangs {
            let _guard = Guard(&self.cancelled);
            std::future::pending::<()>().await;
        }
        let result = self.results.lock().unwrap().pop_front();
        result.map(|text| ToolResult { text, ok: true }).ok_or_else(|| ToolError("the script is over".into()))
    }
}
