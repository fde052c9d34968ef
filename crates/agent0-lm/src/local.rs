//! The embedded [`Engine`]: a handle to one worker thread that owns the model, the adapters and the batch.
//!
//! Calls become commands; the worker takes a command when one is there and else runs the next sampling step, so training
//! calls and sampling take turns and every call sees the adapters as they were when it was taken up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

use agent0_compute::{Compute, Dtype, Isa, KV_BLOCK};
use agent0_engine::{
    AdamParams, AdapterId, Datum, Engine, EngineError, EngineInfo, ForwardBackward, LINEAR_LAYERS, LoraSpec, OptimStep, PolicyLoss,
    SampleRequest, Sampled, ScoreRequest, SnapshotId, TokenId, Weights,
};
use tokio::sync::oneshot;

use crate::error::ModelError;
use crate::files::open;
use crate::lora::{LoraGradient, LoraWeights};
use crate::memory::{self, PROMPT_TOKENS, Wishes};
use crate::model::Model;
use crate::optimizer::AdamState;
use crate::peft;
use crate::scheduler::{Limits, SampleReply, Scheduler};
use crate::train::Trainer;

/// How the embedded engine uses the machine. `None` means: chosen from what the machine has.
#[derive(Debug, Clone, Default)]
pub struct LocalOptions {
    /// Threads to compute with; all cores by default.
    pub threads: Option<usize>,
    /// Instruction set; the best one there is by default.
    pub isa: Option<Isa>,
    /// Format of the frozen weights; bytes by default, f32 is the reference.
    pub dtype: Option<Dtype>,
    /// Memory to do with, in bytes; what is free by default. The options below are made smaller where they do not fit, which
    /// [`EngineInfo::notes`] says.
    pub memory: Option<u64>,
    /// Memory for keys and values, in bytes; what `max_batch` sequences of 2,048 tokens take by default.
    pub kv_bytes: Option<u64>,
    /// Most sequences sampled at once; 64 by default.
    pub max_batch: Option<usize>,
    /// Longest sequence, in tokens; the model's own, at most 8,192, by default.
    pub context: Option<usize>,
    /// Most rows of a training micro-batch, a common beginning counted once; 2,048 by default. Bounds the memory of training:
    /// sequences that share little are taken in smaller micro-batches anyway.
    pub micro_tokens: Option<usize>,
    /// Rank of the adapters that memory is set aside for; 16 by default.
    pub adapter_rank: Option<usize>,
    /// The Hugging Face name of the model, which saved adapters give as their base; the file's own word by default.
    pub base: Option<String>,
}

/// The embedded engine. Dropping it ends its worker.
pub struct LocalEngine {
    info: EngineInfo,
    commands: Option<Sender<Command>>,
    worker: Option<JoinHandle<()>>,
}

type Reply<T> = oneshot::Sender<Result<T, EngineError>>;

enum Command {
    Sample(SampleRequest, SampleReply),
    Logprobs(Vec<ScoreRequest>, Weights, f32, Reply<Vec<Vec<f32>>>),
    CreateAdapter(LoraSpec, Reply<AdapterId>),
    DropAdapter(AdapterId, Reply<()>),
    Publish(AdapterId, Reply<SnapshotId>),
    Release(SnapshotId, Reply<()>),
    ForwardBackward(AdapterId, Vec<Datum>, PolicyLoss, Reply<ForwardBackward>),
    OptimStep(AdapterId, AdamParams, Reply<OptimStep>),
    Save(AdapterId, PathBuf, Reply<()>),
    Load(PathBuf, Reply<AdapterId>),
}

impl LocalEngine {
    /// Loads a model (a GGUF file or a Hugging Face folder) and starts its worker.
    pub fn open(path: &Path, options: &LocalOptions) -> Result<Self, ModelError> {
        let isa = options.isa.unwrap_or_else(Isa::detect);
        let threads = options.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        let cx = Compute::new(threads, isa);
        let dtype = options.dtype.unwrap_or(Dtype::Q8);
        let checkpoint = open(path)?;
        let config = checkpoint.config();
        let wishes = Wishes {
            dtype,
            context: options.context.unwrap_or(8192).min(config.context),
            sequences: options.max_batch.unwrap_or(64).max(1),
            kv_bytes: options.kv_bytes,
            micro_tokens: options.micro_tokens.unwrap_or(2048).max(1),
            adapter_rank: options.adapter_rank.unwrap_or(16),
        };
        let plan = memory::plan(path, config, &wishes, options.memory.or_else(memory::free_memory))?;
        let mut model = Model::load(&cx, checkpoint.as_ref(), dtype, wishes.context)?;
        if options.base.is_some() {
            model.config.hf_base.clone_from(&options.base);
        }
        let info = EngineInfo {
            model: model.config.name.clone(),
            context: model.context.min(plan.blocks * KV_BLOCK),
            vocab: model.config.vocab,
            numerics: format!("{}{}", numbers(dtype), if isa.fuses() { "" } else { " unfused" }),
            processor: format!("{isa}, {threads} thread{}", if threads == 1 { "" } else { "s" }),
            notes: plan.note.into_iter().collect(),
        };
        let limits = Limits { sequences: plan.sequences, prompt_tokens: PROMPT_TOKENS };
        let (commands, inbox) = channel();
        let worker = std::thread::Builder::new()
            .name("agent0-engine".into())
            .spawn(move || {
                let scheduler = Scheduler::new(&model, plan.blocks, limits);
                Worker {
                    cx,
                    scheduler,
                    model,
                    trainer: Trainer::default(),
                    adapters: BTreeMap::new(),
                    snapshots: BTreeMap::new(),
                    next_id: 1,
                    micro_tokens: plan.micro_tokens,
                }
                .serve(&inbox);
            })
            .map_err(|e| ModelError::io(path, e))?;
        Ok(Self { info, commands: Some(commands), worker: Some(worker) })
    }

    async fn call<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, EngineError> {
        let (reply, answer) = oneshot::channel();
        let stopped = || EngineError::Stopped("its worker thread has ended; see the messages before this one".into());
        self.commands.as_ref().ok_or_else(stopped)?.send(command(reply)).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

/// What numbers a format gives. Runs and evaluations go on only where it is what it was, so it changes with the numbers.
fn numbers(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F32 => "f32",
        Dtype::Bf16 => "bf16",
        // Weights of 7 bits; `q8` alone had 8.
        Dtype::Q8 => "q8 w7",
    }
}

#[async_trait::async_trait]
impl Engine for LocalEngine {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    async fn sample(&self, request: SampleRequest) -> Result<Vec<Sampled>, EngineError> {
        self.call(|reply| Command::Sample(request, reply)).await
    }

    async fn logprobs(&self, sequences: Vec<ScoreRequest>, weights: Weights, temperature: f32) -> Result<Vec<Vec<f32>>, EngineError> {
        self.call(|reply| Command::Logprobs(sequences, weights, temperature, reply)).await
    }

    async fn create_adapter(&self, spec: LoraSpec) -> Result<AdapterId, EngineError> {
        self.call(|reply| Command::CreateAdapter(spec, reply)).await
    }

    async fn drop_adapter(&self, adapter: AdapterId) -> Result<(), EngineError> {
        self.call(|reply| Command::DropAdapter(adapter, reply)).await
    }

    async fn publish(&self, adapter: AdapterId) -> Result<SnapshotId, EngineError> {
        self.call(|reply| Command::Publish(adapter, reply)).await
    }

    async fn release(&self, snapshot: SnapshotId) -> Result<(), EngineError> {
        self.call(|reply| Command::Release(snapshot, reply)).await
    }

    async fn forward_backward(&self, adapter: AdapterId, data: Vec<Datum>, loss: PolicyLoss) -> Result<ForwardBackward, EngineError> {
        self.call(|reply| Command::ForwardBackward(adapter, data, loss, reply)).await
    }

    async fn optim_step(&self, adapter: AdapterId, params: AdamParams) -> Result<OptimStep, EngineError> {
        self.call(|reply| Command::OptimStep(adapter, params, reply)).await
    }

    async fn save(&self, adapter: AdapterId, folder: &Path) -> Result<(), EngineError> {
        let folder = folder.to_owned();
        self.call(|reply| Command::Save(adapter, folder, reply)).await
    }

    async fn load(&self, folder: &Path) -> Result<AdapterId, EngineError> {
        let folder = folder.to_owned();
        self.call(|reply| Command::Load(folder, reply)).await
    }
}

impl Drop for LocalEngine {
    fn drop(&mut self) {
        drop(self.commands.take());
        if let Some(worker) = self.worker.take() {
            // A worker that panicked has already said so on stderr.
            let _ = worker.join();
        }
    }
}

struct Adapter {
    weights: Arc<LoraWeights>,
    gradient: LoraGradient,
    optimizer: AdamState,
}

impl Adapter {
    fn new(weights: LoraWeights, optimizer: AdamState) -> Self {
        Self { gradient: LoraGradient::zeros(&weights), optimizer, weights: Arc::new(weights) }
    }
}

struct Worker {
    cx: Compute,
    model: Model,
    scheduler: Scheduler,
    trainer: Trainer,
    adapters: BTreeMap<u64, Adapter>,
    snapshots: BTreeMap<u64, Arc<LoraWeights>>,
    next_id: u64,
    micro_tokens: usize,
}

impl Worker {
    fn serve(mut self, inbox: &Receiver<Command>) {
        loop {
            let command = if self.scheduler.is_idle() { inbox.recv().map_err(|_| TryRecvError::Disconnected) } else { inbox.try_recv() };
            match command {
                Ok(command) => self.execute(command),
                Err(TryRecvError::Empty) => self.scheduler.step(&self.cx, &self.model),
                Err(TryRecvError::Disconnected) => return,
            }
        }
    }

    /// Answers a command. A reply nobody waits for any more is dropped.
    fn execute(&mut self, command: Command) {
        match command {
            Command::Sample(request, reply) => self.submit(request, reply),
            Command::Logprobs(sequences, weights, temperature, reply) => drop(reply.send(self.logprobs(&sequences, weights, temperature))),
            Command::CreateAdapter(spec, reply) => drop(reply.send(self.create_adapter(&spec))),
            Command::DropAdapter(id, reply) => {
                let known = self.adapters.remove(&id.0).map(drop);
                drop(reply.send(known.ok_or(EngineError::UnknownWeights(Weights::Live(id)))));
            }
            Command::Publish(adapter, reply) => drop(reply.send(self.publish(adapter))),
            Command::Release(id, reply) => {
                let known = self.snapshots.remove(&id.0).map(drop);
                drop(reply.send(known.ok_or(EngineError::UnknownWeights(Weights::Snapshot(id)))));
            }
            Command::ForwardBackward(adapter, data, loss, reply) => drop(reply.send(self.forward_backward(adapter, &data, loss))),
            Command::OptimStep(adapter, params, reply) => drop(reply.send(self.optim_step(adapter, &params))),
            Command::Save(adapter, folder, reply) => drop(reply.send(self.save(adapter, &folder))),
            Command::Load(folder, reply) => drop(reply.send(self.load(&folder))),
        }
    }

    fn submit(&mut self, request: SampleRequest, reply: SampleReply) {
        let longest = self.model.context.min(self.scheduler.capacity());
        let checked = self.weights(request.weights).and_then(|weights| {
            self.check_ids(&request.prompt, 1, longest - 1)?;
            let p = &request.params;
            if request.n == 0 || p.max_tokens == 0 {
                return Err(EngineError::Request("asks for no continuation or for no tokens".into()));
            }
            if !p.temperature.is_finite() || p.temperature < 0.0 || p.top_p.is_nan() || p.top_p <= 0.0 {
                return Err(EngineError::Request(format!("temperature {} or top_p {} is out of range", p.temperature, p.top_p)));
            }
            Ok(weights)
        });
        match checked {
            Ok(weights) => self.scheduler.submit(request, weights, longest, reply),
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    fn weights(&self, weights: Weights) -> Result<Option<Arc<LoraWeights>>, EngineError> {
        let found = match weights {
            Weights::Base => return Ok(None),
            Weights::Live(id) => self.adapters.get(&id.0).map(|a| a.weights.clone()),
            Weights::Snapshot(id) => self.snapshots.get(&id.0).cloned(),
        };
        found.map(Some).ok_or(EngineError::UnknownWeights(weights))
    }

    fn check_ids(&self, ids: &[TokenId], shortest: usize, longest: usize) -> Result<(), EngineError> {
        if ids.len() < shortest || ids.len() > longest {
            return Err(EngineError::Request(format!("a sequence of {} tokens; between {shortest} and {longest} are possible", ids.len())));
        }
        match ids.iter().find(|&&id| id as usize >= self.model.config.vocab) {
            Some(id) => Err(EngineError::Request(format!("token id {id} is outside the vocabulary of {}", self.model.config.vocab))),
            None => Ok(()),
        }
    }

    fn logprobs(&mut self, sequences: &[ScoreRequest], weights: Weights, temperature: f32) -> Result<Vec<Vec<f32>>, EngineError> {
        let weights = self.weights(weights)?;
        check_temperature(temperature)?;
        for ScoreRequest { ids, wanted } in sequences {
            self.check_ids(ids, 2, self.model.context)?;
            if wanted.len() != ids.len() {
                return Err(EngineError::Request(format!("{} marks of wanted tokens for {} tokens", wanted.len(), ids.len())));
            }
        }
        Ok(self.trainer.logprobs(&self.cx, &self.model, weights, sequences, temperature, self.micro_tokens))
    }

    fn create_adapter(&mut self, spec: &LoraSpec) -> Result<AdapterId, EngineError> {
        if spec.rank == 0 || spec.targets.is_empty() {
            return Err(EngineError::Request("a LoRA adapter needs a rank of at least 1 and at least one target".into()));
        }
        if let Some(unknown) = spec.targets.iter().find(|t| !LINEAR_LAYERS.contains(&t.as_str())) {
            return Err(EngineError::Request(format!("unknown LoRA target {unknown:?}; there are {}", LINEAR_LAYERS.join(", "))));
        }
        let weights = LoraWeights::new(&self.cx, &self.model.config, spec);
        let optimizer = AdamState::new(&weights);
        Ok(self.adopt(Adapter::new(weights, optimizer)))
    }

    fn adopt(&mut self, adapter: Adapter) -> AdapterId {
        let id = self.fresh_id();
        self.adapters.insert(id, adapter);
        AdapterId(id)
    }

    fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    fn publish(&mut self, adapter: AdapterId) -> Result<SnapshotId, EngineError> {
        let weights = self.adapter(adapter)?.weights.clone();
        let id = self.fresh_id();
        self.snapshots.insert(id, weights);
        Ok(SnapshotId(id))
    }

    fn adapter(&mut self, id: AdapterId) -> Result<&mut Adapter, EngineError> {
        self.adapters.get_mut(&id.0).ok_or(EngineError::UnknownWeights(Weights::Live(id)))
    }

    fn forward_backward(&mut self, id: AdapterId, data: &[Datum], loss: PolicyLoss) -> Result<ForwardBackward, EngineError> {
        check_temperature(loss.temperature)?;
        for datum in data {
            self.check_ids(&datum.ids, 2, self.model.context)?;
            check_datum(datum)?;
        }
        let adapter = self.adapters.get_mut(&id.0).ok_or(EngineError::UnknownWeights(Weights::Live(id)))?;
        let Adapter { weights, gradient, .. } = adapter;
        self.trainer.forward_backward(&self.cx, &self.model, weights, gradient, data, loss, self.micro_tokens)
    }

    fn optim_step(&mut self, id: AdapterId, params: &AdamParams) -> Result<OptimStep, EngineError> {
        check_adam(params)?;
        let cx = self.cx.clone();
        let Adapter { weights, gradient, optimizer } = self.adapter(id)?;
        let result = optimizer.step(&cx, Arc::make_mut(weights), gradient, params);
        gradient.clear();
        result.map(|grad_norm| OptimStep { grad_norm })
    }

    fn save(&mut self, id: AdapterId, folder: &Path) -> Result<(), EngineError> {
        let adapter = self.adapters.get(&id.0).ok_or(EngineError::UnknownWeights(Weights::Live(id)))?;
        peft::save(folder, &self.model.config, &adapter.weights, &adapter.optimizer)
    }

    fn load(&mut self, folder: &Path) -> Result<AdapterId, EngineError> {
        let (weights, optimizer) = peft::load(&self.cx, folder, &self.model.config)?;
        Ok(self.adopt(Adapter::new(weights, optimizer)))
    }
}

/// Logits are divided by it, so 0, which can be sampled at, cannot be trained at.
fn check_temperature(temperature: f32) -> Result<(), EngineError> {
    if temperature.is_finite() && temperature > 0.0 {
        Ok(())
    } else {
        Err(EngineError::Request(format!("log-probabilities at temperature {temperature}; it must be above 0")))
    }
}

/// Parameters that make numbers of numbers.
fn check_adam(params: &AdamParams) -> Result<(), EngineError> {
    let AdamParams { learning_rate, beta1, beta2, eps, weight_decay, max_grad_norm } = *params;
    let decays = [beta1, beta2].iter().all(|beta| (0.0..1.0).contains(beta));
    if decays && learning_rate.is_finite() && weight_decay.is_finite() && eps > 0.0 && max_grad_norm > 0.0 {
        Ok(())
    } else {
        Err(EngineError::Request(format!("AdamW cannot step with {params:?}")))
    }
}

/// A datum's vectors must be as long as its ids, finite, and weightless at the first token.
fn check_datum(datum: &Datum) -> Result<(), EngineError> {
    let vectors = [
        ("weights", &datum.weights),
        ("old_logprobs", &datum.old_logprobs),
        ("ref_logprobs", &datum.ref_logprobs),
        ("advantages", &datum.advantages),
    ];
    for (name, values) in vectors {
        if values.len() != datum.ids.len() {
            return Err(EngineError::Request(format!("{name} has {} entries for {} tokens", values.len(), datum.ids.len())));
        }
        if values.iter().any(|v| !v.is_finite()) {
            return Err(EngineError::NonFinite(format!("the {name} of a datum")));
        }
    }
    let Datum { clip_low, clip_high, .. } = *datum;
    if !(clip_low.is_finite() && clip_high.is_finite() && 1.0 - clip_low <= 1.0 + clip_high) {
        return Err(EngineError::Request(format!("ratios cannot be clipped to [1 - {clip_low}, 1 + {clip_high}]")));
    }
    if datum.weights[0] != 0.0 {
        return Err(EngineError::Request("the first token of a datum has no prediction: its weight must be 0".into()));
    }
    Ok(())
}
