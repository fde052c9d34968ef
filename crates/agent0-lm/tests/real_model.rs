//! The default model, obtained as a user's first run obtains it: its greedy continuations against transformers, and
//! its sampler against its trainer.

mod common;

use agent0_compute::Dtype;
use agent0_engine::{Engine, SampleRequest, Sampled, SamplingParams, ScoreRequest, TokenId, Weights};
use agent0_lm::{LocalEngine, LocalOptions};
use serde::Deserialize;

/// A continuation by transformers; `gaps` are the distances between its best and second best logits.
#[derive(Deserialize)]
struct Greedy {
    prompt: Vec<TokenId>,
    continuation: Vec<TokenId>,
    gaps: Vec<f32>,
}

fn open(dtype: Dtype) -> LocalEngine {
    let path = common::model("qwen2.5-coder-0.5b-instruct");
    let options = LocalOptions { dtype: Some(dtype), max_batch: Some(8), context: Some(512), ..Default::default() };
    LocalEngine::open(&path, &options).unwrap()
}

async fn sample(engine: &LocalEngine, prompt: &[TokenId], temperature: f32) -> Sampled {
    let params = SamplingParams { max_tokens: 64, temperature, seed: 3, ..Default::default() };
    let request = SampleRequest { prompt: prompt.to_vec(), n: 1, params, weights: Weights::Base };
    engine.sample(request).await.unwrap().remove(0)
}

fn every(ids: &[TokenId]) -> ScoreRequest {
    ScoreRequest { ids: ids.to_vec(), wanted: vec![true; ids.len()] }
}

#[tokio::test]
async fn greedy_continuations_and_logprobs_of_the_default_model() {
    let expected: Vec<Greedy> = serde_json::from_str(include_str!("fixtures/greedy.json")).unwrap();
    let reference = open(Dtype::F32);
    let mut sampled = Vec::new();
    for row in &expected {
        let ours = sample(&reference, &row.prompt, 0.0).await;
        if let Some(at) = (0..64).find(|&i| ours.ids[i] != row.continuation[i]) {
            assert!(row.gaps[at] < 1e-3, "token {at} is {} not {}; the gap was {}", ours.ids[at], row.continuation[at], row.gaps[at]);
        }
        sampled.push(sample(&reference, &row.prompt, 1.0).await);
    }
    let sequences: Vec<Vec<TokenId>> = expected.iter().zip(&sampled).map(|(row, s)| [row.prompt.as_slice(), &s.ids].concat()).collect();
    let exact = reference.logprobs(sequences.iter().map(|ids| every(ids)).collect(), Weights::Base, 1.0).await.unwrap();
    for ((row, s), exact) in expected.iter().zip(&sampled).zip(&exact) {
        assert_eq!(s.logprobs, exact[row.prompt.len()..], "f32: the trainer scores what was sampled to the same bits");
    }
    drop(reference);

    for dtype in [Dtype::Bf16, Dtype::Q8] {
        let fast = open(dtype);
        let mut largest = 0.0f32;
        for ((row, sequence), exact) in expected.iter().zip(&sequences).zip(&exact) {
            let ours = sample(&fast, &row.prompt, 1.0).await;
            let whole = [row.prompt.as_slice(), &ours.ids].concat();
            let scored = fast.logprobs(vec![every(&whole), every(sequence)], Weights::Base, 1.0).await.unwrap();
            assert_eq!(ours.logprobs, scored[0][row.prompt.len()..], "{dtype:?}: the trainer scores what was sampled to the same bits");
            let differences: Vec<f32> = scored[1].iter().zip(exact).map(|(a, b)| (a - b).abs()).collect();
            largest = differences.iter().copied().fold(largest, f32::max);
            let mean = differences.iter().sum::<f32>() / sequence.len() as f32;
            assert!(mean < 0.05, "{dtype:?} is {mean} off f32 on average");
        }
        println!("{dtype:?} against f32 log-probabilities: largest difference {largest}");
    }
}
