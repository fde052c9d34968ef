//! The narrow waist between reinforcement learning and whatever computes a language model.
//!
//! Token ids go in, token ids and log-probabilities come out. No text, no rewards and no method names cross it:
//! an [`Engine`] can be the embedded one (`agent0-lm`) or a client of a training service.
//!
//! Three nouns are enough to read it. An *adapter* is a trainable LoRA on the one frozen base model. A *snapshot* is
//! an immutable copy of an adapter's weights. A [`Datum`] is one sequence with per-token loss coefficients; the
//! objective code computes the coefficients, the engine applies them.
//!
//! [`Codec`] is the other half: text to ids and back. The engine never calls it, except to honour a [`StopRule`]
//! that was built with it.

mod codec;
mod datum;
mod sampling;

pub use codec::{Codec, CodecError, Message, Role};
pub use datum::{AdamParams, Datum, ForwardBackward, OptimStep, PolicyLoss, ScoreRequest, TokenStats};
pub use sampling::{OnToken, SampleRequest, Sampled, SamplingParams, StopReason, StopRule, StopState};

use std::path::Path;

/// Index of an entry in the model's vocabulary.
pub type TokenId = u32;

/// A trainable LoRA adapter held by the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AdapterId(pub u64);

/// An immutable copy of an adapter's weights held by the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SnapshotId(pub u64);

/// Which weights a request is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Weights {
    /// The frozen base model alone.
    Base,
    /// The base with an adapter as it is now.
    Live(AdapterId),
    /// The base with a published copy of an adapter.
    Snapshot(SnapshotId),
}

/// Shape and initialisation of a new LoRA adapter on every linear layer of the model.
///
/// The update of a layer is `(alpha / rank) * B A x`, with `A` random (Kaiming-uniform, from `seed`) and `B` zero.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraSpec {
    /// Rank of the update.
    pub rank: usize,
    /// Numerator of the update's scale.
    pub alpha: f32,
    /// Which linear layers carry an update, by their Hugging Face names (`q_proj`, ..., `down_proj`).
    pub targets: Vec<String>,
    /// Seed of the initial `A` matrices.
    pub seed: u64,
}

/// The linear layers of the decoder family, in forward order, by their Hugging Face names.
pub const LINEAR_LAYERS: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// What an engine says about the model it serves.
#[derive(Debug, Clone)]
pub struct EngineInfo {
    /// A name for reports, such as `qwen2.5-coder-0.5b-instruct`.
    pub model: String,
    /// Longest sequence (prompt plus continuation) that can be processed, in tokens.
    pub context: usize,
    /// Number of vocabulary entries.
    pub vocab: usize,
    /// What decides the bits of a result besides the model: the format of the weights, with what tells it from an earlier one of
    /// that name, and `unfused` where multiply-adds are rounded twice. Such as `bf16` or `q8 w7 unfused`.
    pub numerics: String,
    /// What computes, for reports, such as `avx512-bf16, 2 threads`. Decides no bits.
    pub processor: String,
    /// What the user should know, such as what was made smaller for want of memory; each a sentence without its full stop.
    pub notes: Vec<String>,
}

/// Why an engine call failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The request cannot be served as stated (too long, empty, mismatched lengths, ...).
    #[error("bad engine request: {0}")]
    Request(String),
    /// An adapter or snapshot id that this engine does not hold.
    #[error("unknown weights: {0:?}")]
    UnknownWeights(Weights),
    /// A checkpoint could not be written or read.
    #[error("{path}: {cause}")]
    Checkpoint {
        /// The file or folder concerned.
        path: String,
        /// What was wrong with it.
        cause: String,
    },
    /// The numbers left the finite range; the weights were not changed.
    #[error("non-finite numbers in {0}; the same data would lead there again: begin anew with a lower learning rate")]
    NonFinite(String),
    /// The engine is shutting down or its worker has died.
    #[error("the engine stopped: {0}")]
    Stopped(String),
}

/// A language model that can be sampled from and trained.
///
/// All calls may be made from many tasks at once. Results do not depend on which other calls are in flight.
#[async_trait::async_trait]
pub trait Engine: Send + Sync {
    /// The model behind this engine.
    fn info(&self) -> &EngineInfo;

    /// Samples `request.n` continuations of one prompt. Stateless: a later continuation sends the whole sequence
    /// again, and a prefix cache makes that cheap. Cancelled by dropping the future.
    async fn sample(&self, request: SampleRequest) -> Result<Vec<Sampled>, EngineError>;

    /// Log-probability of each wanted token given those before it, over the full vocabulary, the logits divided by `temperature`.
    /// One vector per sequence, as long as the sequence; 0 where nothing was asked for. Neighbours that begin alike
    /// pay for their common beginning once.
    async fn logprobs(&self, sequences: Vec<ScoreRequest>, weights: Weights, temperature: f32) -> Result<Vec<Vec<f32>>, EngineError>;

    /// Adds an untrained adapter.
    async fn create_adapter(&self, spec: LoraSpec) -> Result<AdapterId, EngineError>;

    /// Frees an adapter; copies of it stay.
    async fn drop_adapter(&self, adapter: AdapterId) -> Result<(), EngineError>;

    /// Copies an adapter's present weights.
    async fn publish(&self, adapter: AdapterId) -> Result<SnapshotId, EngineError>;

    /// Frees a snapshot.
    async fn release(&self, snapshot: SnapshotId) -> Result<(), EngineError>;

    /// Adds the gradient of `loss` over `data` to the adapter's accumulated gradient. Neighbours that begin alike pay
    /// for their common beginning once.
    async fn forward_backward(&self, adapter: AdapterId, data: Vec<Datum>, loss: PolicyLoss) -> Result<ForwardBackward, EngineError>;

    /// Applies one AdamW step with the accumulated gradient and clears it.
    async fn optim_step(&self, adapter: AdapterId, params: AdamParams) -> Result<OptimStep, EngineError>;

    /// Writes the adapter as a PEFT folder, with the optimizer's state beside it.
    async fn save(&self, adapter: AdapterId, folder: &Path) -> Result<(), EngineError>;

    /// Reads what [`Engine::save`] wrote, as a new adapter that trains on exactly as the saved one would have.
    async fn load(&self, folder: &Path) -> Result<AdapterId, EngineError>;
}
