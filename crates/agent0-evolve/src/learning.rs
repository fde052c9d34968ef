//! From scored trajectories to optimizer steps. The objective is `agent0-rl`'s; here it is handed to the engine.

use std::ops::Range;

use agent0_engine::{AdamParams, AdapterId, Datum, Engine, PolicyLoss, ScoreRequest, TokenStats, Weights};
use agent0_rl::{Scored, StepMetrics, Trajectory, data, step_metrics};

use crate::error::EvolveError;
use crate::forecast::{Doing, left_after};
use crate::observer::Event;
use crate::place::Place;
use crate::run::Run;

/// What one call for gradients holds. The engine cuts it into micro-batches itself, in which sequences that begin alike
/// pay for that once: the larger a call, the better, but there is no news of it until it is done.
const MICRO_BATCHES_PER_CALL: usize = 4;

/// How the agent in training learns from a step.
#[derive(Debug, Clone, Copy)]
pub struct Recipe {
    /// The policy that the KL term holds on to.
    pub reference: Weights,
    /// Coefficient of the KL term.
    pub beta: f32,
    /// The temperature that the trajectories were drawn at: the policy that acted is the one that learns.
    pub temperature: f32,
    /// AdamW step size.
    pub learning_rate: f32,
    /// Optimizer steps the data are dealt to.
    pub updates: usize,
    /// The constant of the aggregation that needs one: the token budget of a trajectory.
    pub budget: usize,
}

/// Whether a step changed weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It did.
    Trained,
    /// It should have, and did not, for this reason.
    Skipped(String),
    /// It was not to.
    NotTraining,
}

/// What came of learning.
#[derive(Debug)]
pub struct Learned {
    /// Whether weights changed.
    pub outcome: Outcome,
    /// Tokens that went through forward and backward.
    pub tokens: usize,
    /// Named numbers of the update.
    pub metrics: Vec<(String, f64)>,
}

impl Learned {
    /// Nothing was learned, for a reason.
    pub fn skipped(reason: impl Into<String>) -> Self {
        Self { outcome: Outcome::Skipped(reason.into()), tokens: 0, metrics: Vec::new() }
    }

    /// Nothing was to be learned.
    pub fn none() -> Self {
        Self { outcome: Outcome::NotTraining, tokens: 0, metrics: Vec::new() }
    }
}

impl Run<'_> {
    /// Trains the agent of this phase on a step's trajectories: reference log-probabilities, then `updates` times
    /// gradient and optimizer step, each on its share of the sequences.
    ///
    /// Before an agent's first update in a phase it is the reference itself, and what it drew has the reference's log-probabilities
    /// already: those it was sampled with.
    pub async fn learn(&self, place: Place, scored: &[Scored<'_>], recipe: &Recipe) -> Result<Learned, EvolveError> {
        let adapter = self.in_training(place.phase);
        self.tell_training(place, 0, scored.len());
        let references = match self.is_its_reference(place.phase) {
            true => scored.iter().map(|scored| scored.trajectory.logprobs.clone()).collect(),
            false => self.reference_logprobs(scored, recipe).await?,
        };
        let loss = PolicyLoss { kl_coef: recipe.beta, temperature: recipe.temperature };
        let mut sums = Sums::default();
        for part in shares(scored.len(), recipe.updates) {
            let data = data(&scored[part.clone()], &references[part], self.config.training.aggregation, recipe.budget)?;
            if data.is_empty() {
                continue;
            }
            self.accumulate(place, adapter, data, loss, scored.len(), &mut sums).await?;
            let step = self.engine.optim_step(adapter, self.adam(recipe.learning_rate)).await?;
            sums.updates += 1;
            sums.grad_norm += step.grad_norm;
        }
        Ok(sums.learned())
    }

    /// Adds the gradient of `data` to the adapter's, a few micro-batches at a time, so that progress can be told.
    async fn accumulate(
        &self,
        place: Place,
        adapter: AdapterId,
        data: Vec<Datum>,
        loss: PolicyLoss,
        total: usize,
        sums: &mut Sums,
    ) -> Result<(), EvolveError> {
        let length = |datum: &Datum| datum.ids.len();
        for call in runs_of(data, length, MICRO_BATCHES_PER_CALL * self.config.training.micro_batch_tokens) {
            let result = self.engine.forward_backward(adapter, call.clone(), loss).await?;
            sums.loss += result.loss;
            sums.tokens += call.iter().map(length).sum::<usize>();
            sums.data.extend(call);
            sums.stats.extend(result.tokens);
            self.tell_training(place, sums.data.len(), total);
        }
        Ok(())
    }

    fn tell_training(&self, place: Place, done: usize, total: usize) {
        self.tell(&Event::Training { place, done, total, later: left_after(&self.config, place, Doing::Learning) });
    }

    async fn reference_logprobs(&self, scored: &[Scored<'_>], recipe: &Recipe) -> Result<Vec<Vec<f32>>, EvolveError> {
        let request = |scored: &Scored<'_>| {
            let Trajectory { ids, sampled, .. } = scored.trajectory;
            ScoreRequest { ids: ids.clone(), wanted: sampled.clone() }
        };
        Ok(self.engine.logprobs(scored.iter().map(request).collect(), recipe.reference, recipe.temperature).await?)
    }

    fn adam(&self, learning_rate: f32) -> AdamParams {
        let config = &self.config.training;
        AdamParams {
            learning_rate,
            beta1: config.beta1,
            beta2: config.beta2,
            weight_decay: config.weight_decay,
            max_grad_norm: config.max_grad_norm,
            ..AdamParams::default()
        }
    }
}

/// Deals `n` sequences to `updates` optimizer steps, in order and as evenly as can be.
fn shares(n: usize, updates: usize) -> impl Iterator<Item = Range<usize>> {
    (0..updates).map(move |update| update * n / updates..(update + 1) * n / updates).filter(|part| !part.is_empty())
}

/// Cuts a list into runs of at most `tokens` tokens, or one item where that is longer.
fn runs_of<T>(items: Vec<T>, length: impl Fn(&T) -> usize, tokens: usize) -> Vec<Vec<T>> {
    let mut runs: Vec<Vec<T>> = Vec::new();
    let mut room = 0;
    for item in items {
        let needed = length(&item);
        match runs.last_mut().filter(|_| needed <= room) {
            Some(run) => run.push(item),
            None => {
                runs.push(vec![item]);
                room = tokens.max(needed);
            }
        }
        room -= needed;
    }
    runs
}

#[derive(Default)]
struct Sums {
    updates: usize,
    tokens: usize,
    loss: f64,
    grad_norm: f64,
    data: Vec<Datum>,
    stats: Vec<TokenStats>,
}

impl Sums {
    fn learned(self) -> Learned {
        if self.updates == 0 {
            return Learned::skipped("no trajectory has a sampled token");
        }
        let StepMetrics {
            tokens: _,
            clip_low_fraction,
            clip_high_fraction,
            mean_prob_up_clipped,
            kl,
            drift,
            entropy,
            ratio_mean,
            ratio_max,
        } = step_metrics(&self.data, &self.stats);
        let updates = self.updates as f64;
        let mut metrics = vec![
            ("loss", self.loss / updates),
            ("grad_norm", self.grad_norm / updates),
            ("clip_low_fraction", clip_low_fraction),
            ("clip_high_fraction", clip_high_fraction),
            ("kl", kl),
            ("drift", drift),
            ("entropy", entropy),
            ("ratio_mean", ratio_mean),
            ("ratio_max", ratio_max),
        ];
        metrics.extend(mean_prob_up_clipped.map(|p| ("mean_prob_up_clipped", p)));
        let metrics = metrics.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Learned { outcome: Outcome::Trained, tokens: self.tokens, metrics }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_update_gets_an_even_share() {
        let sizes = |n, updates| shares(n, updates).map(|part| part.len()).collect::<Vec<_>>();
        assert_eq!(sizes(9, 4), [2, 2, 2, 3]);
        assert_eq!(sizes(8, 2), [4, 4]);
        assert_eq!(sizes(2, 3), [1, 1]);
        assert_eq!(shares(9, 4).flatten().collect::<Vec<_>>(), (0..9).collect::<Vec<_>>());
    }

    #[test]
    fn runs_keep_the_order_and_the_limit() {
        let lengths = |items: &[usize], limit| runs_of(items.to_vec(), |&n| n, limit);
        assert_eq!(lengths(&[3, 3, 3, 9, 1, 1], 6), [vec![3, 3], vec![3], vec![9], vec![1, 1]]);
        assert_eq!(lengths(&[], 6), Vec::<Vec<usize>>::new());
        assert_eq!(lengths(&[7, 7], 1), [[7], [7]]);
    }
}
