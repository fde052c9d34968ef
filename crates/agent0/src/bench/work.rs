//! The work that is timed: one call of sampling, one step of training. Says nothing of how the figures are shown.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use agent0_engine::{
    AdamParams, AdapterId, Datum, Engine, EngineError, PolicyLoss, SampleRequest, SamplingParams, ScoreRequest, StopRule, StopState,
    TokenId, Weights,
};
use agent0_rl::Seed;
use futures_util::future::try_join_all;

/// A call of sampling.
#[derive(Debug, Clone, Copy)]
pub struct Sampling {
    /// Sequences at once.
    pub batch: usize,
    /// How many of them share a prompt.
    pub group: usize,
    /// Tokens of each prompt.
    pub prompt: usize,
    /// Tokens sampled after each.
    pub new: usize,
}

/// What a call of sampling took.
#[derive(Debug, Clone, Copy)]
pub struct SamplingTimes {
    /// From the first request to the last answer.
    pub seconds: f64,
    /// Until the last sequence had its first token; sequences read before it decode beside the reading.
    pub prefill_s: f64,
    /// Mean time of a step with all sequences decoding: after the prefill and before the first sequence's end. None when
    /// no step was of that kind.
    pub step_s: Option<f64>,
}

/// Samples continuations of random prompts, none of which was seen before under this `salt`.
pub async fn sample(engine: &dyn Engine, weights: Weights, work: Sampling, salt: u64) -> Result<SamplingTimes, EngineError> {
    let clock = Arc::new(Clock::default());
    let vocab = engine.info().vocab;
    let began = Instant::now();
    let requests = (0..work.batch).step_by(work.group.max(1)).map(|first| {
        let params = SamplingParams {
            max_tokens: work.new,
            stop_rule: Some(clock.clone()),
            seed: salt.wrapping_add(first as u64),
            ..SamplingParams::default()
        };
        let prompt = noise(vocab, work.prompt, salt.wrapping_add(first as u64));
        engine.sample(SampleRequest { prompt, n: work.group.min(work.batch - first), params, weights })
    });
    try_join_all(requests).await?;
    let seconds = began.elapsed().as_secs_f64();
    Ok(clock.times(began, seconds))
}

/// `count` token ids that look random, others for each `salt`.
fn noise(vocab: usize, count: usize, salt: u64) -> Vec<TokenId> {
    let seed = Seed::root(salt);
    (0..count).map(|i| (seed.child(i).value() % vocab.max(1) as u64) as TokenId).collect()
}

/// A stop rule that never stops: it notes when each token of each sequence is drawn.
#[derive(Default)]
struct Clock {
    sequences: Mutex<Vec<Arc<Mutex<Vec<Instant>>>>>,
}

/// One sequence's ticks.
struct Ticks(Arc<Mutex<Vec<Instant>>>);

impl StopRule for Clock {
    fn start(&self) -> Box<dyn StopState> {
        let ticks = Arc::new(Mutex::new(Vec::new()));
        self.sequences.lock().unwrap_or_else(PoisonError::into_inner).push(ticks.clone());
        Box::new(Ticks(ticks))
    }
}

impl StopState for Ticks {
    fn push(&mut self, _: TokenId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        false
    }
}

impl Clock {
    fn times(&self, began: Instant, seconds: f64) -> SamplingTimes {
        let sequences = self.sequences.lock().unwrap_or_else(PoisonError::into_inner);
        let ticks: Vec<Vec<f64>> = sequences
            .iter()
            .map(|ticks| ticks.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|t| (*t - began).as_secs_f64()).collect())
            .collect();
        let prefill_s = ticks.iter().filter_map(|t| t.first()).fold(0.0, |a: f64, &b| a.max(b));
        let first_end = ticks.iter().filter_map(|t| t.last()).fold(seconds, |a: f64, &b| a.min(b));
        let drawn = ticks.iter().flatten().filter(|&&t| prefill_s < t && t <= first_end).count();
        let step_s = (drawn > 0).then(|| (first_end - prefill_s) * ticks.len() as f64 / drawn as f64);
        SamplingTimes { seconds, prefill_s, step_s }
    }
}

/// What a step of training took.
#[derive(Debug, Clone, Copy)]
pub struct TrainingTimes {
    /// Gradient and optimizer together.
    pub seconds: f64,
    /// The layers alone: the log-probability of one token of each sequence, without gradient.
    pub forward_s: f64,
    /// What the log-probabilities of all trained tokens take beyond that.
    pub head_s: f64,
    /// What the gradient takes beyond those.
    pub backward_s: f64,
    /// AdamW.
    pub optimizer_s: f64,
}

/// Trains an adapter for one step on random sequences whose second halves carry loss.
pub async fn train(
    engine: &dyn Engine,
    adapter: AdapterId,
    sequences: usize,
    tokens: usize,
    salt: u64,
) -> Result<TrainingTimes, EngineError> {
    let vocab = engine.info().vocab;
    let data: Vec<Datum> = (0..sequences as u64).map(|s| datum(noise(vocab, tokens, salt.wrapping_add(s)))).collect();
    let forward_s = score(engine, adapter, &data, |t| t + 1 == tokens).await?;
    let scored_s = score(engine, adapter, &data, |t| t >= tokens - trained(tokens)).await?;
    let began = Instant::now();
    engine.forward_backward(adapter, data, PolicyLoss { kl_coef: 0.01, ..PolicyLoss::default() }).await?;
    let gradient_s = began.elapsed().as_secs_f64();
    engine.optim_step(adapter, AdamParams::default()).await?;
    let seconds = began.elapsed().as_secs_f64();
    Ok(TrainingTimes {
        seconds,
        forward_s,
        head_s: (scored_s - forward_s).max(0.0),
        backward_s: (gradient_s - scored_s).max(0.0),
        optimizer_s: seconds - gradient_s,
    })
}

/// Seconds that the log-probabilities of some tokens of each sequence take.
async fn score(engine: &dyn Engine, adapter: AdapterId, data: &[Datum], wanted: impl Fn(usize) -> bool) -> Result<f64, EngineError> {
    let request = |d: &Datum| ScoreRequest { ids: d.ids.clone(), wanted: (0..d.ids.len()).map(&wanted).collect() };
    let requests = data.iter().map(request).collect();
    let began = Instant::now();
    engine.logprobs(requests, Weights::Live(adapter), 1.0).await?;
    Ok(began.elapsed().as_secs_f64())
}

/// Tokens of a sequence that carry loss.
pub fn trained(tokens: usize) -> usize {
    tokens - tokens / 2
}

fn datum(ids: Vec<TokenId>) -> Datum {
    let length = ids.len();
    let first = length - trained(length);
    let weights = (0..length).map(|t| if t >= first.max(1) { 1.0 / length as f32 } else { 0.0 }).collect();
    Datum {
        ids,
        weights,
        old_logprobs: vec![-9.0; length],
        ref_logprobs: vec![-9.0; length],
        advantages: vec![1.0; length],
        clip_low: 0.2,
        clip_high: 0.2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_clock_tells_prefill_from_full_steps() {
        let (clock, began) = (Clock::default(), Instant::now());
        let at = |s: f64| began + Duration::from_secs_f64(s);
        // The first sequence starts at 1 and ends at 5, the second starts at 2 and ends at 6: two steps of both.
        for ticks in [[1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 3.0, 4.0, 5.0, 6.0]] {
            drop(clock.start());
            let sequences = clock.sequences.lock().unwrap();
            *sequences.last().unwrap().lock().unwrap() = ticks.map(at).to_vec();
        }
        let times = clock.times(began, 6.5);
        assert!((times.prefill_s - 2.0).abs() < 1e-6 && (times.step_s.unwrap() - 1.0).abs() < 1e-6, "{times:?}");
    }

    #[test]
    fn prompts_differ_and_stay_within_the_vocabulary() {
        let prompts: Vec<_> = (0..64).map(|bit| noise(160, 64, 1 << bit)).collect();
        for (i, prompt) in prompts.iter().enumerate() {
            assert!(prompt.iter().all(|&id| id < 160) && prompt.iter().max() != prompt.iter().min());
            assert!(!prompts[..i].contains(prompt), "bit {i} of the salt makes no difference");
        }
    }
}
