//! Advantages, ADPO scales and clips, per-token losses, aggregations and step metrics against a NumPy transcription of
//! the formulas (`fixtures/objective.json`).

use agent0_engine::{Datum, TokenStats};
use agent0_rl::{AdpoParams, Aggregation, Clip, Ending, Scored, StepMetrics, Trajectory, adpo_group, data, grpo_group, step_metrics};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    beta: f64,
    budget: usize,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    groups: Vec<Group>,
    grpo: Expected,
    adpo: Expected,
}

#[derive(Deserialize)]
struct Group {
    p_hat: f64,
    rewards: Vec<f64>,
    sequences: Vec<Sequence>,
}

#[derive(Deserialize)]
struct Sequence {
    prompt_len: usize,
    sampled: Vec<bool>,
    old: Vec<f32>,
    new: Vec<f32>,
    #[serde(rename = "ref")]
    reference: Vec<f32>,
    entropy: Vec<f32>,
}

#[derive(Deserialize)]
struct Expected {
    groups: Vec<Option<ExpectedGroup>>,
    token_losses: Vec<f64>,
    token_mean: f64,
    seq_mean_token_mean: f64,
    seq_sum_const: f64,
    metrics: StepMetrics,
}

#[derive(Deserialize)]
struct ExpectedGroup {
    advantages: Vec<f64>,
    clip: [f64; 2],
}

impl Sequence {
    fn trajectory(&self) -> Trajectory {
        Trajectory {
            ids: (0..self.sampled.len() as u32).collect(),
            prompt_len: self.prompt_len,
            sampled: self.sampled.clone(),
            logprobs: self.old.clone(),
            tool_calls: Vec::new(),
            dropped: 0,
            ending: Ending::Stop,
            answer: None,
        }
    }
}

/// The loss of each token of weight above 0, before weighting: the engine's part, as `Datum` states it.
fn token_losses(datum: &Datum, logprobs: &[f32], beta: f64) -> Vec<f64> {
    let (low, high) = (1.0 - f64::from(datum.clip_low), 1.0 + f64::from(datum.clip_high));
    (0..datum.ids.len())
        .filter(|&t| datum.weights[t] != 0.0)
        .map(|t| {
            let logp = f64::from(logprobs[t]);
            let a = f64::from(datum.advantages[t]);
            let r = (logp - f64::from(datum.old_logprobs[t])).exp();
            let d = f64::from(datum.ref_logprobs[t]) - logp;
            -(r * a).min(r.clamp(low, high) * a) + beta * (d.exp() - d - 1.0)
        })
        .collect()
}

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-6 * expected.abs().max(1.0), "{found} vs {expected}");
}

fn check(fixture: &Fixture, case: &Case, expected: &Expected, score: impl for<'a> Fn(&'a [Trajectory], &Group) -> Option<Vec<Scored<'a>>>) {
    let trajectories: Vec<Vec<Trajectory>> =
        case.groups.iter().map(|group| group.sequences.iter().map(Sequence::trajectory).collect()).collect();
    let mut step = Vec::new();
    let mut sequences = Vec::new();
    for ((group, trajectories), expected) in case.groups.iter().zip(&trajectories).zip(&expected.groups) {
        let scored = score(trajectories, group);
        assert_eq!(scored.is_some(), expected.is_some());
        let (Some(scored), Some(expected)) = (scored, expected) else { continue };
        for (scored, advantage) in scored.iter().zip(&expected.advantages) {
            assert!((scored.advantage - advantage).abs() < 1e-12);
            assert!((scored.clip.low - expected.clip[0]).abs() < 1e-15 && (scored.clip.high - expected.clip[1]).abs() < 1e-15);
        }
        step.extend(scored);
        sequences.extend(&group.sequences);
    }
    let references: Vec<Vec<f32>> = sequences.iter().map(|sequence| sequence.reference.clone()).collect();
    let trained: Vec<&&Sequence> = sequences.iter().filter(|sequence| sequence.sampled.contains(&true)).collect();

    for (aggregation, total) in [
        (Aggregation::TokenMean, expected.token_mean),
        (Aggregation::SeqMeanTokenMean, expected.seq_mean_token_mean),
        (Aggregation::SeqSumConst, expected.seq_sum_const),
    ] {
        let data = data(&step, &references, aggregation, fixture.budget).unwrap();
        assert_eq!(data.len(), trained.len());
        let mut losses = Vec::new();
        let mut sum = 0.0;
        for (datum, sequence) in data.iter().zip(&trained) {
            assert!(datum.weights.iter().zip(&sequence.sampled).all(|(&weight, &sampled)| (weight != 0.0) == sampled));
            let weights = datum.weights.iter().filter(|&&weight| weight != 0.0);
            let of_datum = token_losses(datum, &sequence.new, fixture.beta);
            sum += weights.zip(&of_datum).map(|(&weight, loss)| f64::from(weight) * loss).sum::<f64>();
            losses.extend(of_datum);
        }
        assert_eq!(losses.len(), expected.token_losses.len());
        losses.iter().zip(&expected.token_losses).for_each(|(&found, &expected)| close(found, expected));
        close(sum, total);

        let stats: Vec<TokenStats> =
            trained.iter().map(|sequence| TokenStats { logprobs: sequence.new.clone(), entropies: sequence.entropy.clone() }).collect();
        same_metrics(&step_metrics(&data, &stats), &expected.metrics);
    }
}

fn same_metrics(found: &StepMetrics, expected: &StepMetrics) {
    assert_eq!(found.tokens, expected.tokens);
    close(found.clip_low_fraction, expected.clip_low_fraction);
    close(found.clip_high_fraction, expected.clip_high_fraction);
    assert_eq!(found.mean_prob_up_clipped.is_some(), expected.mean_prob_up_clipped.is_some());
    close(found.mean_prob_up_clipped.unwrap_or(0.0), expected.mean_prob_up_clipped.unwrap_or(0.0));
    close(found.kl, expected.kl);
    close(found.drift, expected.drift);
    close(found.entropy, expected.entropy);
    close(found.ratio_mean, expected.ratio_mean);
    close(found.ratio_max, expected.ratio_max);
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("fixtures/objective.json")).unwrap()
}

#[test]
fn grpo_is_the_formulas() {
    let fixture = fixture();
    for case in &fixture.cases {
        check(&fixture, case, &case.grpo, |trajectories, group| grpo_group(trajectories, &group.rewards, Clip::default()));
    }
}

#[test]
fn adpo_is_the_formulas() {
    let fixture = fixture();
    let clipped = |case: &Case| case.adpo.metrics.clip_low_fraction > 0.0 && case.adpo.metrics.clip_high_fraction > 0.0;
    assert!(fixture.cases.iter().any(clipped), "the fixture clips on both sides");
    for case in &fixture.cases {
        let params = AdpoParams::default();
        check(&fixture, case, &case.adpo, |trajectories, group| adpo_group(trajectories, &group.rewards, group.p_hat, &params));
    }
}

#[test]
fn reference_logprobs_must_fit() {
    let trajectory =
        Sequence { prompt_len: 1, sampled: vec![false, true], old: vec![0.0, -1.0], new: vec![], reference: vec![], entropy: vec![] }
            .trajectory();
    let step = [Scored { trajectory: &trajectory, advantage: 1.0, clip: Clip::default() }];
    assert!(data(&step, &[vec![0.0]], Aggregation::TokenMean, 1).unwrap_err().to_string().contains("2 tokens but 1 reference"));
    assert!(data(&step, &[], Aggregation::TokenMean, 1).is_err());
    assert_eq!(data(&step, &[vec![0.0, -1.0]], Aggregation::TokenMean, 1).unwrap().len(), 1);
}
