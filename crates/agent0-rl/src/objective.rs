//! What the engine is told to learn: the coefficients of GRPO (algorithm.md section 4) and of ADPO (section 6).
//!
//! The loss itself is the engine's, per token and with these coefficients:
//! `weight * (-min(r A, clip(r, 1 - clip.low, 1 + clip.high) A) + beta * k3)`, see [`Datum`].

use agent0_engine::Datum;
use serde::{Deserialize, Serialize};

use crate::{Trajectory, advantages};

/// How far the probability ratio may move before its gradient is cut: to `[1 - low, 1 + high]`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Clip {
    /// Distance below 1.
    pub low: f64,
    /// Distance above 1.
    pub high: f64,
}

impl Default for Clip {
    /// The same 0.2 on both sides.
    fn default() -> Self {
        Self { low: 0.2, high: 0.2 }
    }
}

/// How ADPO trusts a task by its self-consistency p^.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdpoParams {
    /// At this p^ and below, a label is trusted least (u = 0).
    pub p_low: f64,
    /// At this p^ and above, a label is trusted fully (u = 1).
    pub p_high: f64,
    /// Scale of the advantages at u = 0.
    pub scale_min: f64,
    /// Clip bounds at u = 1.
    pub clip: Clip,
    /// How much higher the upper bound is at u = 0.
    pub widen: f64,
}

impl Default for AdpoParams {
    fn default() -> Self {
        Self { p_low: 0.3, p_high: 0.8, scale_min: 0.6, clip: Clip::default(), widen: 0.1 }
    }
}

impl AdpoParams {
    /// Advantage scale and clip bounds of a task.
    ///
    /// With `u = clip((p^ - p_low) / (p_high - p_low), 0, 1)`: the scale is `scale_min + (1 - scale_min) u` (doubtful
    /// labels teach less), the upper bound `eps + widen (1 - u)` (doubtful tasks may explore more).
    pub fn scale_and_clip(&self, p_hat: f64) -> (f64, Clip) {
        let u = ((p_hat - self.p_low) / (self.p_high - self.p_low)).clamp(0.0, 1.0);
        let scale = self.scale_min + (1.0 - self.scale_min) * u;
        let clip = Clip { low: self.clip.low, high: self.clip.high + self.widen * (1.0 - u) };
        (scale, clip)
    }
}

/// How the per-token losses of a step become one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregation {
    /// The mean over all sampled tokens of the step.
    #[default]
    TokenMean,
    /// The mean over sequences of the mean over their sampled tokens.
    SeqMeanTokenMean,
    /// The mean over sequences of the sum over their sampled tokens divided by a constant, the token budget.
    SeqSumConst,
}

impl Aggregation {
    /// The weight of one sampled token of each sequence, from the sequences' numbers of sampled tokens.
    fn weights(self, lengths: &[usize], budget: usize) -> Vec<f64> {
        let sequences = lengths.len() as f64;
        let tokens = lengths.iter().sum::<usize>() as f64;
        let weight = |&length: &usize| match self {
            Aggregation::TokenMean => 1.0 / tokens,
            Aggregation::SeqMeanTokenMean => 1.0 / (sequences * length as f64),
            Aggregation::SeqSumConst => 1.0 / (sequences * budget as f64),
        };
        lengths.iter().map(weight).collect()
    }
}

/// A trajectory and what it is to teach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored<'a> {
    /// The attempt.
    pub trajectory: &'a Trajectory,
    /// Advantage of every token of it, scaled already.
    pub advantage: f64,
    /// Clip bounds of its tokens.
    pub clip: Clip,
}

/// A group under GRPO. `None` when its rewards have no spread: it is skipped.
pub fn grpo_group<'a>(trajectories: &'a [Trajectory], rewards: &[f64], clip: Clip) -> Option<Vec<Scored<'a>>> {
    let advantages = advantages(rewards)?;
    Some(trajectories.iter().zip(advantages).map(|(trajectory, advantage)| Scored { trajectory, advantage, clip }).collect())
}

/// A group under ADPO, `p_hat` being its task's stored self-consistency. `None` when its rewards have no spread.
pub fn adpo_group<'a>(trajectories: &'a [Trajectory], rewards: &[f64], p_hat: f64, params: &AdpoParams) -> Option<Vec<Scored<'a>>> {
    let (scale, clip) = params.scale_and_clip(p_hat);
    let mut group = grpo_group(trajectories, rewards, clip)?;
    for scored in &mut group {
        scored.advantage *= scale;
    }
    Some(group)
}

/// Why no data could be built.
#[derive(Debug, thiserror::Error)]
pub enum ObjectiveError {
    /// Reference log-probabilities that do not fit their trajectory.
    #[error("sequence {sequence} has {expected} tokens but {found} reference log-probabilities; the engine must return one per token")]
    Reference {
        /// Index of the sequence.
        sequence: usize,
        /// Tokens in the trajectory.
        expected: usize,
        /// Log-probabilities given.
        found: usize,
    },
}

/// The data of one training step: all its sequences together, because the aggregation is over the whole step. They
/// may be handed to the engine in any number of calls.
///
/// `ref_logprobs[i]` are the reference policy's log-probabilities of `step[i]`'s ids. `budget` is the constant of
/// [`Aggregation::SeqSumConst`]. Prompt and environment tokens get weight 0. A sequence without a sampled token counts
/// in no mean.
pub fn data(step: &[Scored], ref_logprobs: &[Vec<f32>], aggregation: Aggregation, budget: usize) -> Result<Vec<Datum>, ObjectiveError> {
    for (sequence, scored) in step.iter().enumerate() {
        let expected = scored.trajectory.ids.len();
        let found = ref_logprobs.get(sequence).map_or(0, Vec::len);
        if found != expected {
            return Err(ObjectiveError::Reference { sequence, expected, found });
        }
    }
    let trained: Vec<_> = step.iter().zip(ref_logprobs).filter(|(scored, _)| scored.trajectory.sampled_tokens() > 0).collect();
    let lengths: Vec<usize> = trained.iter().map(|(scored, _)| scored.trajectory.sampled_tokens()).collect();
    let weights = aggregation.weights(&lengths, budget);
    Ok(trained.iter().zip(weights).map(|((scored, reference), weight)| datum(scored, reference, weight as f32)).collect())
}

fn datum(scored: &Scored, ref_logprobs: &[f32], weight: f32) -> Datum {
    let Trajectory { ids, sampled, logprobs, .. } = scored.trajectory;
    let where_sampled = |value: f32| sampled.iter().map(|&sampled| if sampled { value } else { 0.0 }).collect();
    Datum {
        ids: ids.clone(),
        weights: where_sampled(weight),
        old_logprobs: logprobs.clone(),
        ref_logprobs: ref_logprobs.to_vec(),
        advantages: where_sampled(scored.advantage as f32),
        clip_low: scored.clip.low as f32,
        clip_high: scored.clip.high as f32,
    }
}
