//! A scripted engine for whole runs: an adapter is one number, training moves it, and what is "sampled" follows from the
//! prompt, the seed and that number. So two runs agree in everything only if they did exactly the same.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use agent0_engine::{
    AdamParams, AdapterId, Codec, CodecError, Datum, Engine, EngineError, EngineInfo, ForwardBackward, LoraSpec, Message, OptimStep,
    PolicyLoss, SampleRequest, Sampled, ScoreRequest, SnapshotId, StopReason, TokenId, TokenStats, Weights,
};
use agent0_rl::{Tool, ToolError, ToolResult};
use async_trait::async_trait;
use tokio::sync::Notify;

/// Ends a turn.
pub const END: TokenId = 256;

/// Bytes are tokens.
pub struct ByteCodec(Vec<[u8; 1]>);

impl ByteCodec {
    pub fn new() -> Self {
        Self((0..=255).map(|byte| [byte]).collect())
    }
}

impl Codec for ByteCodec {
    fn encode(&self, text: &str) -> Result<Vec<TokenId>, CodecError> {
        Ok(text.bytes().map(TokenId::from).collect())
    }

    fn chat(&self, messages: &[Message]) -> Result<Vec<TokenId>, CodecError> {
        let turns: String = messages.iter().map(|message| format!("[{}] {}\n", message.role.name(), message.content)).collect();
        self.encode(&(turns + "[assistant] "))
    }

    fn bytes(&self, id: TokenId) -> &[u8] {
        self.0.get(id as usize).map_or(&[], |byte| byte)
    }

    fn stop_tokens(&self) -> &[TokenId] {
        &[END]
    }
}

/// What the two agents say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// Tasks of all kinds, answers that agree about half of the time.
    Varied,
    /// Texts in which there is no task.
    NoTasks,
    /// Tasks on which all answers agree.
    TooEasy,
    /// Tasks that never get an answer.
    Unanswered,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Adapter {
    weight: f64,
    momentum: f64,
    steps: u64,
    gradient: f64,
}

pub struct FakeEngine {
    info: EngineInfo,
    script: Script,
    /// Shuffles the order in which calls finish; must not show in any result.
    timing: u64,
    adapters: Mutex<BTreeMap<u64, Adapter>>,
    snapshots: Mutex<BTreeMap<u64, f64>>,
    next: AtomicU64,
    calls: AtomicUsize,
    hang: Option<Hang>,
    /// Told when the call to hang at is reached.
    pub hung: Notify,
}

/// The call at which the engine never answers, and whether its effect happens first.
#[derive(Debug, Clone, Copy)]
pub struct Hang {
    pub at: usize,
    pub after_effect: bool,
}

impl FakeEngine {
    pub fn new(script: Script, timing: u64, hang: Option<Hang>) -> Self {
        let info = EngineInfo {
            model: "fake".into(),
            context: 1 << 20,
            vocab: 257,
            numerics: "exact".into(),
            processor: "none".into(),
            notes: Vec::new(),
        };
        Self {
            info,
            script,
            timing,
            adapters: Mutex::default(),
            snapshots: Mutex::default(),
            next: AtomicU64::new(1),
            calls: AtomicUsize::new(0),
            hang,
            hung: Notify::new(),
        }
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    pub fn snapshots(&self) -> usize {
        lock(&self.snapshots).len()
    }

    /// Around each call: takes a while, and may never come back.
    async fn call<T>(&self, effect: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        for _ in 0..mix(self.timing ^ call as u64) % 5 {
            tokio::task::yield_now().await;
        }
        match self.hang {
            Some(hang) if hang.at == call => {
                if hang.after_effect {
                    effect()?;
                }
                self.hung.notify_one();
                std::future::pending().await
            }
            _ => effect(),
        }
    }

    fn weight(&self, weights: Weights) -> Result<f64, EngineError> {
        let unknown = || EngineError::UnknownWeights(weights);
        match weights {
            Weights::Base => Ok(0.0),
            Weights::Live(id) => lock(&self.adapters).get(&id.0).map(|adapter| adapter.weight).ok_or_else(unknown),
            Weights::Snapshot(id) => lock(&self.snapshots).get(&id.0).copied().ok_or_else(unknown),
        }
    }

    fn adapter<T>(&self, id: AdapterId, change: impl FnOnce(&mut Adapter) -> T) -> Result<T, EngineError> {
        lock(&self.adapters).get_mut(&id.0).map(change).ok_or(EngineError::UnknownWeights(Weights::Live(id)))
    }

    fn id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::SeqCst)
    }

    fn says(&self, prompt: &str, h: u64) -> String {
        let (a, b) = (h % 7 + 1, (h >> 8) % 5);
        if prompt.contains("Write one new") {
            return match (self.script, h % 8) {
                (Script::NoTasks, _) | (Script::Varied, 0) => "I would rather not.".into(),
                (Script::Varied, 1) => "<question>Prove that 1 + 1 = 2.</question> \\boxed{2}".into(),
                (Script::Varied, 2) => "<question>What is two plus two?</question> \\boxed{4}".into(),
                _ => format!("<question>What is {a} plus {b}, in the fashion of {}?</question> \\boxed{{{}}}", (h >> 16) % 97, a + b),
            };
        }
        match self.script {
            Script::Unanswered => "I do not know".into(),
            Script::TooEasy => "\\boxed{7}".into(),
            _ if prompt.ends_with("```\n") => format!("so \\boxed{{{}}}", h % 2),
            _ if h.is_multiple_of(3) => "Let me see.\n```python\nprint(1)\n```\n".into(),
            _ if h % 11 == 1 => "no idea".into(),
            _ => format!("it is \\boxed{{{}}}", h % 2),
        }
    }

    fn continuation(&self, request: &SampleRequest, weight: f64) -> Sampled {
        let prompt: Vec<u8> = request.prompt.iter().map(|&id| id as u8).collect();
        let h = mix(request.params.seed ^ mix(weight.to_bits()) ^ prompt.iter().fold(0, |hash, &byte| mix(hash ^ u64::from(byte))));
        let text = self.says(&String::from_utf8_lossy(&prompt), h);
        let mut rule = request.params.stop_rule.as_ref().map(|rule| rule.start());
        let mut sampled = Sampled { ids: Vec::new(), logprobs: Vec::new(), stop: StopReason::Length };
        for id in text.bytes().map(TokenId::from).chain([END]) {
            if sampled.ids.len() == request.params.max_tokens {
                break;
            }
            let position = request.prompt.len() + sampled.ids.len();
            sampled.ids.push(id);
            sampled.logprobs.push(logprob(weight, id, position));
            if id == END {
                sampled.stop = StopReason::StopToken;
                break;
            }
            if rule.as_mut().is_some_and(|rule| rule.push(id)) {
                sampled.stop = StopReason::StopRule;
                break;
            }
        }
        sampled
    }
}

#[async_trait]
impl Engine for FakeEngine {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    async fn sample(&self, request: SampleRequest) -> Result<Vec<Sampled>, EngineError> {
        assert_eq!(request.n, 1, "trajectories are sampled one by one");
        self.call(|| Ok(vec![self.continuation(&request, self.weight(request.weights)?)])).await
    }

    async fn logprobs(&self, sequences: Vec<ScoreRequest>, weights: Weights, _: f32) -> Result<Vec<Vec<f32>>, EngineError> {
        self.call(|| {
            let weight = self.weight(weights)?;
            let of = |request: &ScoreRequest| {
                let scored = request.ids.iter().zip(&request.wanted).enumerate();
                scored.map(|(t, (&id, &wanted))| if wanted { logprob(weight, id, t) } else { 0.0 }).collect()
            };
            Ok(sequences.iter().map(of).collect())
        })
        .await
    }

    async fn create_adapter(&self, spec: LoraSpec) -> Result<AdapterId, EngineError> {
        self.call(|| {
            let id = self.id();
            lock(&self.adapters).insert(id, Adapter { momentum: spec.seed as f64 * 1e-22, ..Adapter::default() });
            Ok(AdapterId(id))
        })
        .await
    }

    async fn drop_adapter(&self, adapter: AdapterId) -> Result<(), EngineError> {
        self.call(|| lock(&self.adapters).remove(&adapter.0).map(|_| ()).ok_or(EngineError::UnknownWeights(Weights::Live(adapter)))).await
    }

    async fn publish(&self, adapter: AdapterId) -> Result<SnapshotId, EngineError> {
        self.call(|| {
            let (id, weight) = (self.id(), self.weight(Weights::Live(adapter))?);
            lock(&self.snapshots).insert(id, weight);
            Ok(SnapshotId(id))
        })
        .await
    }

    async fn release(&self, snapshot: SnapshotId) -> Result<(), EngineError> {
        self.call(|| lock(&self.snapshots).remove(&snapshot.0).map(|_| ()).ok_or(EngineError::UnknownWeights(Weights::Snapshot(snapshot))))
            .await
    }

    async fn forward_backward(&self, adapter: AdapterId, data: Vec<Datum>, loss: PolicyLoss) -> Result<ForwardBackward, EngineError> {
        self.call(|| {
            let weight = self.weight(Weights::Live(adapter))?;
            let mut gradient = 0.0;
            let mut tokens = Vec::new();
            for datum in &data {
                let logprobs: Vec<f32> = datum.ids.iter().enumerate().map(|(t, &id)| logprob(weight, id, t)).collect();
                for (t, &logprob) in logprobs.iter().enumerate() {
                    let pull = f64::from(datum.advantages[t]) * (1.0 + f64::from(datum.clip_high) + f64::from(datum.old_logprobs[t]));
                    let hold = f64::from(loss.kl_coef) * f64::from(datum.ref_logprobs[t] - logprob);
                    gradient += f64::from(datum.weights[t]) * (pull + hold) * (1.0 + f64::from(datum.ids[t]) / 300.0);
                }
                tokens.push(TokenStats { entropies: vec![1.0; logprobs.len()], logprobs });
            }
            self.adapter(adapter, |adapter| adapter.gradient += gradient)?;
            Ok(ForwardBackward { loss: gradient, tokens })
        })
        .await
    }

    async fn optim_step(&self, adapter: AdapterId, params: AdamParams) -> Result<OptimStep, EngineError> {
        self.call(|| {
            self.adapter(adapter, |adapter| {
                let grad_norm = adapter.gradient.abs();
                adapter.steps += 1;
                adapter.momentum = 0.9 * adapter.momentum + adapter.gradient;
                adapter.weight += f64::from(params.learning_rate) * (adapter.momentum + 1.0 / adapter.steps as f64);
                adapter.gradient = 0.0;
                OptimStep { grad_norm }
            })
        })
        .await
    }

    async fn save(&self, adapter: AdapterId, folder: &Path) -> Result<(), EngineError> {
        self.call(|| {
            let saved = self.adapter(adapter, |adapter| *adapter)?;
            assert_eq!(saved.gradient, 0.0, "saved between gradient and step");
            let failed = |cause: std::io::Error| EngineError::Checkpoint { path: folder.display().to_string(), cause: cause.to_string() };
            std::fs::create_dir_all(folder).map_err(failed)?;
            let text = format!("{} {} {}", saved.weight.to_bits(), saved.momentum.to_bits(), saved.steps);
            std::fs::write(folder.join("adapter"), text).map_err(failed)
        })
        .await
    }

    async fn load(&self, folder: &Path) -> Result<AdapterId, EngineError> {
        self.call(|| {
            let failed = |cause: std::io::Error| EngineError::Checkpoint { path: folder.display().to_string(), cause: cause.to_string() };
            let text = std::fs::read_to_string(folder.join("adapter")).map_err(failed)?;
            let parts: Vec<u64> = text.split(' ').map(|part| part.parse().unwrap()).collect();
            let adapter = Adapter { weight: f64::from_bits(parts[0]), momentum: f64::from_bits(parts[1]), steps: parts[2], gradient: 0.0 };
            let id = self.id();
            lock(&self.adapters).insert(id, adapter);
            Ok(AdapterId(id))
        })
        .await
    }
}

/// Prints what the seed says.
pub struct FakeTool;

#[async_trait]
impl Tool for FakeTool {
    async fn call(&self, code: &str, seed: u64) -> Result<ToolResult, ToolError> {
        tokio::task::yield_now().await;
        Ok(ToolResult { text: format!("{} {}", code.len(), seed % 3), ok: true })
    }
}

fn logprob(weight: f64, id: TokenId, position: usize) -> f32 {
    let noise = mix(weight.to_bits() ^ u64::from(id) ^ ((position as u64) << 20)) % 1000;
    -0.5 - noise as f32 / 2000.0
}

fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}
