//! The settings of a run: typed, with their defaults. How they are put together from presets, files and the command
//! line is the business of [`crate::settings`].

use agent0_engine::Message;
use agent0_rl::{AdpoParams, Aggregation, Clip, RolloutParams, VoteRule};
use serde::{Deserialize, Serialize};

use crate::prompts;
use crate::reward::{Proposal, RewardParams};

/// Everything that decides what a run computes. Stored as `config.toml` in the run's folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The preset these settings started from.
    pub preset: String,
    /// A model's name in the registry, or a path to a GGUF file or a Hugging Face folder.
    pub model: String,
    /// Root of every random stream.
    pub seed: u64,
    /// Iterations T of curriculum phase, frontier and executor phase.
    pub iterations: usize,
    /// Newest checkpoints to keep per agent, besides the last of each iteration and those the run still needs.
    pub keep_checkpoints: usize,
    /// How the embedded engine computes.
    pub engine: EngineConfig,
    /// The adapters of both agents.
    pub lora: LoraConfig,
    /// What the agents are told.
    pub prompts: Prompts,
    /// How answers without a box are counted.
    pub vote: VoteRule,
    /// One trajectory of the executor, wherever it answers.
    pub rollout: RolloutParams,
    /// Training data to gradient step, for both agents.
    pub training: TrainingConfig,
    /// The phase that trains the agent that writes tasks.
    pub curriculum: CurriculumConfig,
    /// The pool of tasks and which of them are kept.
    pub frontier: FrontierConfig,
    /// The phase that trains the agent that solves tasks.
    pub executor: ExecutorConfig,
    /// Limits of one tool call.
    pub sandbox: SandboxLimits,
}

/// How the embedded engine computes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineConfig {
    /// Worker threads; 0 takes every core.
    pub threads: usize,
    /// Storage of the base weights.
    pub dtype: DtypeChoice,
    /// Memory for cached keys and values in MiB; 0 lets the engine choose.
    pub kv_mib: u64,
    /// Trajectories in flight at once.
    pub in_flight: usize,
}

/// Storage of the base weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DtypeChoice {
    /// The engine chooses: q8, the fastest and smallest.
    Auto,
    /// 32-bit floats.
    F32,
    /// bfloat16 products, 32-bit sums.
    Bf16,
    /// Bytes with a scale for every 64 numbers, weights and activations, forward and backward.
    Q8,
}

/// The adapters of both agents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraConfig {
    /// Rank of the update.
    pub rank: usize,
    /// Numerator of the update's scale `alpha / rank`.
    pub alpha: f32,
    /// Linear layers that carry an update, by their Hugging Face names.
    pub targets: Vec<String>,
}

/// What the agents are told. An empty system prompt is left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompts {
    /// System turn of the curriculum agent.
    pub curriculum_system: String,
    /// User turn of the curriculum agent; `{topic}` is replaced by one of the topics.
    pub curriculum_user: String,
    /// What tasks are to be about. The proposals of a batch go through them in an order drawn by the seed.
    #[serde(default)]
    pub topics: Vec<String>,
    /// Whether tasks are to be answered by one number. Other texts then fail the format gate, and other votes are no label.
    #[serde(default)]
    pub numbers_only: bool,
    /// System turn of the executor.
    pub executor_system: String,
    /// User turn of the executor; `{question}` is replaced by the task.
    pub executor_user: String,
}

impl Prompts {
    /// What the executor is asked a question with.
    pub fn executor(&self, question: &str) -> Vec<Message> {
        Message::chat(&self.executor_system, &self.executor_user.replace("{question}", question))
    }

    /// Whether the curriculum agent is shown this question, as an example: to write it down is no new task.
    fn shows(&self, question: &str) -> bool {
        self.curriculum_user.contains(question)
    }

    /// Why a text's task is none to these prompts, if so.
    pub fn refuse(&self, task: &Proposal) -> Option<&'static str> {
        if self.shows(&task.question) {
            Some("copied")
        } else if !self.admits(&task.answer) {
            Some("no_number")
        } else {
            None
        }
    }

    /// Whether a task may have this answer.
    pub fn admits(&self, answer: &str) -> bool {
        !self.numbers_only || agent0_answers::is_number(answer)
    }

    /// What the curriculum agent is asked for a task with: one chat for each topic, or a single one where there are none.
    pub fn curriculum(&self) -> Vec<Vec<Message>> {
        let ask = |topic: &str| Message::chat(&self.curriculum_system, &self.curriculum_user.replace("{topic}", topic));
        match self.topics.is_empty() {
            true => vec![ask("")],
            false => self.topics.iter().map(|topic| ask(topic)).collect(),
        }
    }
}

/// Training data to gradient step, for both agents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingConfig {
    /// How per-token losses are put together.
    pub aggregation: Aggregation,
    /// Tokens that go through forward and backward together.
    pub micro_batch_tokens: usize,
    /// AdamW decay of the first moment.
    pub beta1: f32,
    /// AdamW decay of the second moment.
    pub beta2: f32,
    /// AdamW weight decay.
    pub weight_decay: f32,
    /// Gradients are scaled down to this global norm.
    pub max_grad_norm: f32,
}

/// The curriculum phase (algorithm.md sections 3 and 4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CurriculumConfig {
    /// GRPO steps per iteration.
    pub steps: usize,
    /// Tasks B written per step.
    pub tasks_per_step: usize,
    /// Answers k by the frozen executor per task.
    pub samples: usize,
    /// New tokens of one proposal at most.
    pub max_tokens: usize,
    /// Sampling temperature of proposals.
    pub temperature: f32,
    /// Nucleus of sampling proposals.
    pub top_p: f32,
    /// What a task is worth.
    pub reward: RewardParams,
    /// Proposals in one group of GRPO; 0 makes the whole batch one group.
    pub group_size: usize,
    /// Optimizer steps the data of a step are dealt to.
    pub updates_per_step: usize,
    /// AdamW step size.
    pub learning_rate: f32,
    /// Clip bounds of the probability ratio.
    pub clip: Clip,
    /// Coefficient of the KL term to the phase's start.
    pub beta: f32,
}

/// The frontier (algorithm.md section 5).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrontierConfig {
    /// Tasks N to write.
    pub pool: usize,
    /// Tasks written at most, when too few of the first N survive.
    pub max_pool: usize,
    /// Kept tasks that are enough to stop at `pool`.
    pub min_kept: usize,
    /// Answers k per task.
    pub samples: usize,
    /// Least self-consistency of a kept task.
    pub low: f64,
    /// Greatest self-consistency of a kept task.
    pub high: f64,
    /// Whether the tasks of the iteration's curriculum phase, which the same executor has answered, may be kept too.
    #[serde(default)]
    pub include_curriculum: bool,
}

/// The executor phase (algorithm.md section 6).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecutorConfig {
    /// Steps per iteration.
    pub steps: usize,
    /// Tasks per step.
    pub tasks_per_step: usize,
    /// Trajectories G per task.
    pub group_size: usize,
    /// Whether the first step learns from all the answers that the frontier was chosen by, and the others from new ones.
    #[serde(default)]
    pub reuse_answers: bool,
    /// Whether answers that the token budget cut off are learned from. They count in the mean of their group either way;
    /// without them this is the overlong filtering of DAPO (arXiv 2503.14476, section 3.4).
    #[serde(default = "yes")]
    pub train_overlong: bool,
    /// Which objective.
    pub objective: ObjectiveChoice,
    /// How far a task is trusted; GRPO uses its clip bounds only.
    pub adpo: AdpoParams,
    /// Coefficient of the KL term to the phase's start.
    pub beta: f32,
    /// Optimizer steps the data of a step are dealt to.
    pub updates_per_step: usize,
    /// AdamW step size.
    pub learning_rate: f32,
}

/// What a run did before it could choose.
fn yes() -> bool {
    true
}

/// The executor's objective (algorithm.md section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectiveChoice {
    /// Ambiguity-dynamic policy optimisation: scale and clip follow the label's self-consistency.
    Adpo,
    /// Plain GRPO.
    Grpo,
}

/// Limits of one tool call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SandboxLimits {
    /// Seconds of CPU time.
    pub cpu_s: u64,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Calls at once; 0 takes the number of cores.
    pub concurrency: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            preset: "laptop".into(),
            model: "qwen2.5-coder-0.5b-instruct".into(),
            seed: 1,
            iterations: 3,
            keep_checkpoints: 2,
            engine: EngineConfig { threads: 0, dtype: DtypeChoice::Auto, kv_mib: 0, in_flight: 256 },
            lora: LoraConfig { rank: 16, alpha: 32.0, targets: agent0_engine::LINEAR_LAYERS.map(String::from).to_vec() },
            prompts: Prompts {
                curriculum_system: prompts::CURRICULUM_SYSTEM.into(),
                curriculum_user: prompts::CURRICULUM_USER.into(),
                topics: prompts::TOPICS.map(String::from).to_vec(),
                numbers_only: true,
                executor_system: prompts::EXECUTOR_SYSTEM.into(),
                executor_user: prompts::EXECUTOR_USER.into(),
            },
            vote: VoteRule::Paper,
            rollout: RolloutParams::default(),
            training: TrainingConfig {
                aggregation: Aggregation::TokenMean,
                micro_batch_tokens: 2048,
                beta1: 0.9,
                beta2: 0.999,
                weight_decay: 0.0,
                max_grad_norm: 1.0,
            },
            curriculum: CurriculumConfig {
                steps: 5,
                tasks_per_step: 32,
                samples: 8,
                max_tokens: 512,
                temperature: 1.0,
                top_p: 1.0,
                reward: RewardParams::paper(),
                group_size: 0,
                updates_per_step: 1,
                learning_rate: 1e-5,
                clip: Clip::default(),
                beta: 0.01,
            },
            frontier: FrontierConfig { pool: 200, max_pool: 400, min_kept: 32, samples: 8, low: 0.3, high: 0.8, include_curriculum: false },
            executor: ExecutorConfig {
                steps: 10,
                tasks_per_step: 8,
                group_size: 8,
                reuse_answers: false,
                train_overlong: true,
                objective: ObjectiveChoice::Adpo,
                adpo: AdpoParams::default(),
                beta: 0.01,
                updates_per_step: 1,
                learning_rate: 1e-5,
            },
            sandbox: SandboxLimits { cpu_s: 5, memory_mib: 1024, concurrency: 0 },
        }
    }
}

impl Config {
    /// What cannot work, in words that name the key; empty when the settings are usable.
    pub fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut need = |ok: bool, what: &str| {
            if !ok {
                found.push(what.to_owned());
            }
        };
        need((1..=99).contains(&self.iterations), "iterations must be between 1 and 99");
        need(self.keep_checkpoints > 0, "keep_checkpoints must be at least 1");
        need(self.seed <= i64::MAX as u64, "seed must fit in 63 bits");
        need(self.engine.in_flight > 0, "engine.in_flight must be at least 1");
        need(self.lora.rank > 0, "lora.rank must be at least 1");
        need(self.lora.alpha.is_finite() && self.lora.alpha > 0.0, "lora.alpha must be above 0");
        need(!self.lora.targets.is_empty(), "lora.targets must name at least one layer");
        for target in &self.lora.targets {
            need(
                agent0_engine::LINEAR_LAYERS.contains(&target.as_str()),
                &format!("lora.targets: `{target}` is not one of {}", agent0_engine::LINEAR_LAYERS.join(", ")),
            );
        }
        need(self.prompts.executor_user.contains("{question}"), "prompts.executor_user must contain {question}");
        need(!self.prompts.curriculum_user.trim().is_empty(), "prompts.curriculum_user must not be empty");
        need(
            self.prompts.curriculum_user.contains("{topic}") != self.prompts.topics.is_empty(),
            "prompts.topics must name topics if prompts.curriculum_user contains {topic}, and must be empty if it does not",
        );
        need(self.rollout.max_tokens > 0, "rollout.max_tokens must be at least 1");
        need(self.rollout.tool_output_tokens >= 8, "rollout.tool_output_tokens must be at least 8");
        need(self.rollout.temperature > 0.0 && self.rollout.temperature.is_finite(), "rollout.temperature must be above 0");
        need(self.rollout.top_p > 0.0 && self.rollout.top_p <= 1.0, "rollout.top_p must be in (0, 1]");
        need(self.training.micro_batch_tokens > 0, "training.micro_batch_tokens must be at least 1");
        need(self.training.max_grad_norm > 0.0, "training.max_grad_norm must be above 0");
        for (name, beta) in [("beta1", self.training.beta1), ("beta2", self.training.beta2)] {
            need((0.0..1.0).contains(&beta), &format!("training.{name} must be at least 0 and below 1"));
        }
        need(not_negative(self.training.weight_decay), "training.weight_decay must not be negative");
        need(self.curriculum.tasks_per_step > 1, "curriculum.tasks_per_step must be at least 2 (advantages compare proposals)");
        need(self.curriculum.group_size != 1, "curriculum.group_size must be 0 (the whole batch) or at least 2");
        need(self.curriculum.samples > 0, "curriculum.samples must be at least 1");
        need(self.curriculum.max_tokens > 0, "curriculum.max_tokens must be at least 1");
        need(self.curriculum.temperature > 0.0 && self.curriculum.temperature.is_finite(), "curriculum.temperature must be above 0");
        need(self.curriculum.top_p > 0.0 && self.curriculum.top_p <= 1.0, "curriculum.top_p must be in (0, 1]");
        need(self.curriculum.updates_per_step > 0, "curriculum.updates_per_step must be at least 1");
        need(self.frontier.pool > 0, "frontier.pool must be at least 1");
        need(self.frontier.max_pool >= self.frontier.pool, "frontier.max_pool must not be below frontier.pool");
        need(self.frontier.samples > 0, "frontier.samples must be at least 1");
        need(
            0.0 <= self.frontier.low && self.frontier.low < self.frontier.high && self.frontier.high <= 1.0,
            "frontier.low and frontier.high must satisfy 0 <= low < high <= 1",
        );
        need(self.executor.tasks_per_step > 0, "executor.tasks_per_step must be at least 1");
        need(self.executor.group_size > 1, "executor.group_size must be at least 2 (advantages compare answers to one task)");
        need(self.executor.updates_per_step > 0, "executor.updates_per_step must be at least 1");
        for (phase, steps, learning_rate, beta) in [
            ("curriculum", self.curriculum.steps, self.curriculum.learning_rate, self.curriculum.beta),
            ("executor", self.executor.steps, self.executor.learning_rate, self.executor.beta),
        ] {
            need(steps <= 9999, &format!("{phase}.steps must be at most 9999"));
            need(not_negative(learning_rate), &format!("{phase}.learning_rate must not be negative"));
            need(not_negative(beta), &format!("{phase}.beta must not be negative"));
        }
        for (name, value) in self.curriculum.reward.factors() {
            need(value.is_finite() && value >= 0.0, &format!("curriculum.reward.{name} must not be negative"));
        }
        let peak = self.curriculum.reward.peak;
        need(0.0 < peak && peak < 1.0, "curriculum.reward.peak must be above 0 and below 1");
        let usable = |clip: &Clip| clip.low > 0.0 && clip.low <= 1.0 && clip.high > 0.0 && clip.high.is_finite();
        need(usable(&self.curriculum.clip), "curriculum.clip: low must be in (0, 1] and high above 0");
        let adpo = &self.executor.adpo;
        need(usable(&adpo.clip), "executor.adpo.clip: low must be in (0, 1] and high above 0");
        need((0.0..=1.0).contains(&adpo.scale_min), "executor.adpo.scale_min must be in [0, 1]");
        need(adpo.widen.is_finite() && adpo.widen >= 0.0, "executor.adpo.widen must not be negative");
        need(adpo.p_low < adpo.p_high, "executor.adpo.p_low must be below p_high");
        need(self.sandbox.cpu_s > 0, "sandbox.cpu_s must be at least 1");
        need(self.sandbox.memory_mib >= 256, "sandbox.memory_mib must be at least 256 (numpy and sympy are loaded)");
        found
    }
}

/// What a step size or a weight may be: 0 switches it off.
fn not_negative(value: f32) -> bool {
    value.is_finite() && value >= 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_topic_is_a_chat_of_its_own_and_without_topics_there_is_one() {
        let prompts = |topics: &[&str]| Prompts {
            curriculum_system: String::new(),
            curriculum_user: "Topic: sums\nHow much is 1 + 1?\nTopic: {topic}".into(),
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            ..Config::default().prompts
        };
        let chats = prompts(&["lines", "circles"]).curriculum();
        assert_eq!(chats.len(), 2);
        assert!(chats[1][0].content.ends_with("Topic: circles"), "{:?}", chats[1]);
        assert_eq!(prompts(&[]).curriculum().len(), 1);
        assert!(prompts(&[]).shows("How much is 1 + 1?") && !prompts(&[]).shows("How much is 1 + 2?"));
    }
}
