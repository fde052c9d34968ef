//! Reinforcement learning of language models on token ids: how a trajectory is sampled, what it is worth, and what
//! the engine is told to learn from it. Where tokens come from, it does not know.
//!
//! Three nouns are enough to read it. A [`Trajectory`] is one attempt: the ids as they were sampled or injected, with
//! a mask that tells the two apart. A *group* is the attempts at one task; it gives [`advantages`]. A
//! [`Datum`](agent0_engine::Datum) is one trajectory with the coefficients of its loss.
//!
//! A training step reads: [`rollout`], reward, [`grpo_group`] or [`adpo_group`], [`data`],
//! [`forward_backward`](agent0_engine::Engine::forward_backward), [`step_metrics`].

mod advantage;
mod metrics;
mod objective;
mod observe;
mod rollout;
mod scan;
mod seed;
mod tool;
mod trajectory;
mod vote;

pub use advantage::advantages;
pub use metrics::{StepMetrics, step_metrics};
pub use objective::{AdpoParams, Aggregation, Clip, ObjectiveError, Scored, adpo_group, data, grpo_group};
pub use observe::{Event, Observer};
pub use rollout::{Rollout, RolloutError, RolloutParams, generate, rollout};
pub use seed::{Seed, Tag};
pub use tool::{Tool, ToolError, ToolResult};
pub use trajectory::{Ending, ToolCall, Trajectory};
pub use vote::{Candidate, NO_ANSWER, Vote, VoteRule, vote};
