//! The embedded engine through its public face, on tiny random models: batching changes nothing, training learns,
//! adapters survive the disk, bad requests are refused.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use agent0_compute::{Dtype, Isa};
use agent0_engine::{
    AdamParams, AdapterId, Datum, Engine, EngineError, LINEAR_LAYERS, LoraSpec, PolicyLoss, SampleRequest, Sampled, SamplingParams,
    ScoreRequest, StopReason, StopRule, StopState, TokenId, Weights,
};
use agent0_lm::{LocalEngine, LocalOptions};
use futures::future::join_all;

fn tiny(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(format!("tiny-{name}"))
}

fn engine(name: &str, dtype: Dtype) -> LocalEngine {
    open(name, &LocalOptions { dtype: Some(dtype), threads: Some(2), ..Default::default() })
}

fn open(name: &str, options: &LocalOptions) -> LocalEngine {
    LocalEngine::open(&tiny(name), options).unwrap()
}

fn request(prompt: &[TokenId], n: usize, seed: u64, max_tokens: usize, weights: Weights) -> SampleRequest {
    let params = SamplingParams { max_tokens, seed, top_p: 0.98, ..Default::default() };
    SampleRequest { prompt: prompt.to_vec(), n, params, weights }
}

fn prompt(length: usize, salt: u32) -> Vec<TokenId> {
    (0..length as u32).map(|i| 3 + (i * 7 + salt * 13) % 150).collect()
}

fn spec() -> LoraSpec {
    LoraSpec { rank: 4, alpha: 8.0, targets: LINEAR_LAYERS.map(str::to_owned).to_vec(), seed: 5 }
}

/// Asks for every token of a sequence after the first `prompt`.
fn after(prompt: usize, ids: &[TokenId]) -> ScoreRequest {
    ScoreRequest { ids: ids.to_vec(), wanted: (0..ids.len()).map(|t| t >= prompt).collect() }
}

/// An adapter that differs from the base: a few steps on arbitrary data.
async fn trained(engine: &LocalEngine, steps: usize) -> AdapterId {
    let adapter = engine.create_adapter(spec()).await.unwrap();
    for step in 0..steps {
        train(engine, adapter, &[datum(&prompt(24, step as u32), 8, 1.0)]).await;
    }
    adapter
}

/// A datum on the policy: everything from `first` on is trained with one advantage.
fn datum(ids: &[TokenId], first: usize, advantage: f32) -> Datum {
    let n = ids.len();
    let weights = (0..n).map(|i| if i >= first { 1.0 / (n - first) as f32 } else { 0.0 }).collect();
    let zeros = vec![0.0; n];
    let low = vec![-3.0; n];
    let advantages = vec![advantage; n];
    Datum { ids: ids.to_vec(), weights, old_logprobs: low, ref_logprobs: zeros, advantages, clip_low: 0.2, clip_high: 1e9 }
}

async fn train(engine: &LocalEngine, adapter: AdapterId, data: &[Datum]) {
    engine.forward_backward(adapter, data.to_vec(), PolicyLoss::default()).await.unwrap();
    let params = AdamParams { learning_rate: 1e-2, ..Default::default() };
    engine.optim_step(adapter, params).await.unwrap();
}

#[tokio::test]
async fn samples_do_not_depend_on_batch_threads_cache_or_preemption() {
    for (name, dtype) in [("llama", Dtype::F32), ("qwen2", Dtype::Bf16), ("qwen3", Dtype::Bf16)] {
        for isa in Isa::available() {
            let options = LocalOptions { dtype: Some(dtype), isa: Some(isa), threads: Some(1), ..Default::default() };
            let alone = open(name, &options);
            let mut expected = Vec::new();
            for salt in 0..9u32 {
                let r = request(&prompt(5 + 11 * salt as usize, salt % 4), 1, u64::from(salt), 40, Weights::Base);
                expected.push(alone.sample(r).await.unwrap().remove(0));
            }
            // Two blocks short of what three sequences need: some must wait or be put back and recomputed.
            for (threads, kv_bytes, max_batch) in [(2, None, 64), (3, None, 4), (2, Some(40_000), 64)] {
                let kv_bytes = kv_bytes.map(|b: u64| b.max(1));
                let options = LocalOptions { threads: Some(threads), kv_bytes, max_batch: Some(max_batch), ..options.clone() };
                let together = open(name, &options);
                let all = (0..9u32).map(|salt| {
                    let r = request(&prompt(5 + 11 * salt as usize, salt % 4), 1, u64::from(salt), 40, Weights::Base);
                    together.sample(r)
                });
                for (salt, (got, wanted)) in join_all(all).await.into_iter().zip(&expected).enumerate() {
                    assert_same(&got.unwrap()[0], wanted, &format!("{name} {isa} threads {threads} sequence {salt}"));
                }
            }
        }
    }
}

#[tokio::test]
async fn every_token_is_told_once_and_in_order() {
    // With so little memory some sequences are put back and computed again.
    let options = LocalOptions { dtype: Some(Dtype::F32), threads: Some(2), kv_bytes: Some(40_000), ..Default::default() };
    let engine = open("qwen2", &options);
    let told = Arc::new(Mutex::new(vec![Vec::<(TokenId, f32)>::new(); 6]));
    let mut watched = request(&prompt(40, 1), 6, 3, 40, Weights::Base);
    let silent = engine.sample(watched.clone()).await.unwrap();
    watched.params.on_token = Some(Arc::new({
        let told = told.clone();
        move |index, id, logprob| told.lock().unwrap()[index].push((id, logprob))
    }));
    let sampled = engine.sample(watched).await.unwrap();
    let told = told.lock().unwrap();
    for (told, sampled) in told.iter().zip(&sampled) {
        assert_eq!(*told, sampled.ids.iter().copied().zip(sampled.logprobs.iter().copied()).collect::<Vec<_>>());
    }
    assert_eq!(sampled, silent, "listening changes nothing");
}

fn assert_same(got: &Sampled, wanted: &Sampled, what: &str) {
    assert_eq!(got.ids, wanted.ids, "{what}");
    assert_eq!(bits(&got.logprobs), bits(&wanted.logprobs), "{what}: log-probabilities differ in bits");
    assert_eq!(got.stop, wanted.stop, "{what}");
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[tokio::test]
async fn adapters_share_a_batch_and_the_samples_of_a_request_differ() {
    let engine = engine("qwen2", Dtype::F32);
    let adapter = trained(&engine, 3).await;
    let snapshot = engine.publish(adapter).await.unwrap();
    let p = prompt(37, 1);
    let base = engine.sample(request(&p, 4, 9, 20, Weights::Base)).await.unwrap();
    let live = engine.sample(request(&p, 4, 9, 20, Weights::Live(adapter))).await.unwrap();
    assert_ne!(base, live);
    assert!(base.iter().all(|s| base.iter().filter(|t| t.ids == s.ids).count() == 1), "each sample has its own random stream");
    let mixed = join_all([
        engine.sample(request(&p, 4, 9, 20, Weights::Live(adapter))),
        engine.sample(request(&p, 4, 9, 20, Weights::Base)),
        engine.sample(request(&p, 4, 9, 20, Weights::Snapshot(snapshot))),
    ])
    .await;
    let mixed: Vec<_> = mixed.into_iter().map(Result::unwrap).collect();
    assert_eq!((&mixed[0], &mixed[1], &mixed[2]), (&live, &base, &live));

    train(&engine, adapter, &[datum(&p, 8, -1.0)]).await;
    let after = engine.sample(request(&p, 4, 9, 20, Weights::Live(adapter))).await.unwrap();
    assert_ne!(after, live, "the live adapter has moved");
    let frozen = engine.sample(request(&p, 4, 9, 20, Weights::Snapshot(snapshot))).await.unwrap();
    assert_eq!(frozen, live, "the snapshot has not");
    engine.release(snapshot).await.unwrap();
    let gone = engine.sample(request(&p, 1, 9, 20, Weights::Snapshot(snapshot))).await;
    assert!(matches!(gone, Err(EngineError::UnknownWeights(_))));
}

#[tokio::test]
async fn prompts_that_take_several_steps_may_have_adapters() {
    let engine = engine("qwen3", Dtype::F32);
    let adapter = trained(&engine, 1).await;
    // Three prompts take the steps up to the middle of the last one, so that its adapter has rows in a step and no token to draw.
    let weights = [Weights::Base, Weights::Base, Weights::Base, Weights::Live(adapter)];
    let requests: Vec<_> = weights.into_iter().zip(0..).map(|(weights, salt)| request(&prompt(400, salt), 1, 3, 4, weights)).collect();
    let together = join_all(requests.iter().map(|request| engine.sample(request.clone()))).await;
    for (request, got) in requests.into_iter().zip(together) {
        assert_same(&got.unwrap()[0], &engine.sample(request).await.unwrap()[0], "alone and together");
    }
}

#[tokio::test]
async fn trainer_and_sampler_agree_on_every_logprob() {
    for (name, dtype) in [("llama", Dtype::F32), ("qwen2", Dtype::Bf16), ("qwen3", Dtype::F32), ("qwen3", Dtype::Bf16)] {
        let engine = engine(name, dtype);
        let weights = Weights::Live(trained(&engine, 2).await);
        let p = prompt(21, 2);
        let samples = engine.sample(request(&p, 5, 3, 50, weights)).await.unwrap();
        let sequences: Vec<Vec<TokenId>> = samples.iter().map(|s| [p.as_slice(), &s.ids].concat()).collect();
        let requests = sequences.iter().map(|ids| after(p.len(), ids)).collect();
        let scored = engine.logprobs(requests, weights, 1.0).await.unwrap();
        for (sample, scored) in samples.iter().zip(&scored) {
            assert_eq!(bits(&sample.logprobs), bits(&scored[p.len()..]), "{name} {dtype:?}");
            assert!(scored[..p.len()].iter().all(|&l| l == 0.0), "nothing else was asked for");
        }
        // Together the samples shared the prompt; alone they give the same.
        for (ids, scored) in sequences.iter().zip(&scored) {
            let alone = engine.logprobs(vec![after(p.len(), ids)], weights, 1.0).await.unwrap();
            assert_eq!(bits(&alone[0]), bits(scored), "{name} {dtype:?} alone");
        }
    }
}

#[tokio::test]
async fn repeated_steps_raise_a_rewarded_sequence_and_masked_tokens_stay_out() {
    let engine = engine("qwen2", Dtype::F32);
    let adapter = engine.create_adapter(spec()).await.unwrap();
    let ids = prompt(30, 4);
    let total = |l: &[Vec<f32>]| l[0][10..].iter().sum::<f32>();
    let before = total(&engine.logprobs(vec![after(1, &ids)], Weights::Live(adapter), 1.0).await.unwrap());
    let mut last = before;
    for round in 0..3 {
        for _ in 0..5 {
            train(&engine, adapter, &[datum(&ids, 10, 1.0)]).await;
        }
        let now = total(&engine.logprobs(vec![after(1, &ids)], Weights::Live(adapter), 1.0).await.unwrap());
        assert!(now > last, "round {round}: {now} after {last}");
        last = now;
    }
    assert!(last > before + 5.0, "{before} -> {last}");

    // Coefficients of masked tokens are irrelevant: the update is the same to the bit.
    let mut noisy = datum(&ids, 10, 1.0);
    for t in 0..10 {
        noisy.advantages[t] = 1e3;
        noisy.old_logprobs[t] = -50.0;
    }
    let (a, b) = (engine.create_adapter(spec()).await.unwrap(), engine.create_adapter(spec()).await.unwrap());
    train(&engine, a, &[datum(&ids, 10, 1.0)]).await;
    train(&engine, b, &[noisy]).await;
    let (a, b) = (Weights::Live(a), Weights::Live(b));
    assert_eq!(engine.logprobs(vec![after(1, &ids)], a, 1.0).await.unwrap(), engine.logprobs(vec![after(1, &ids)], b, 1.0).await.unwrap());

    // Nothing but masked tokens: no gradient at all.
    let c = engine.create_adapter(spec()).await.unwrap();
    engine.forward_backward(c, vec![datum(&ids, ids.len(), 1.0)], PolicyLoss { kl_coef: 1.0, ..PolicyLoss::default() }).await.unwrap();
    assert_eq!(engine.optim_step(c, AdamParams::default()).await.unwrap().grad_norm, 0.0);
}

#[tokio::test]
async fn a_saved_adapter_trains_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let ids = prompt(30, 4);
    let first = engine("qwen3", Dtype::Bf16);
    let adapter = trained(&first, 3).await;
    first.save(adapter, folder.path()).await.unwrap();
    train(&first, adapter, &[datum(&ids, 10, 1.0)]).await;
    let expected = first.logprobs(vec![after(1, &ids)], Weights::Live(adapter), 1.0).await.unwrap();

    let second = engine("qwen3", Dtype::Bf16);
    let loaded = second.load(folder.path()).await.unwrap();
    train(&second, loaded, &[datum(&ids, 10, 1.0)]).await;
    let got = second.logprobs(vec![after(1, &ids)], Weights::Live(loaded), 1.0).await.unwrap();
    assert_eq!(bits(&got[0]), bits(&expected[0]));

    let damaged = folder.path().join("adapter_model.safetensors");
    std::fs::write(&damaged, b"not a tensor file").unwrap();
    let error = second.load(folder.path()).await.unwrap_err().to_string();
    assert!(error.contains("adapter_model.safetensors"), "{error}");
    let other = engine("llama", Dtype::F32);
    assert!(other.load(&folder.path().join("nowhere")).await.is_err());
}

/// Ends a continuation after its third token.
struct ThirdToken;

struct Count(usize);

impl StopRule for ThirdToken {
    fn start(&self) -> Box<dyn StopState> {
        Box::new(Count(0))
    }
}

impl StopState for Count {
    fn push(&mut self, _: TokenId) -> bool {
        self.0 += 1;
        self.0 == 3
    }
}

#[tokio::test]
async fn every_way_to_stop() {
    let engine = engine("llama", Dtype::F32);
    let p = prompt(9, 0);
    let free = engine.sample(request(&p, 1, 1, 30, Weights::Base)).await.unwrap().remove(0);
    assert_eq!((free.ids.len(), free.stop), (30, StopReason::Length));
    let first_of = |id: TokenId| free.ids.iter().position(|&t| t == id).unwrap();

    let with = |change: &dyn Fn(&mut SamplingParams)| {
        let mut r = request(&p, 1, 1, 30, Weights::Base);
        change(&mut r.params);
        engine.sample(r)
    };
    let token = free.ids[12];
    let stopped = with(&|params| params.stop_tokens = vec![token]).await.unwrap().remove(0);
    assert_eq!((stopped.ids.as_slice(), stopped.stop), (&free.ids[..=first_of(token)], StopReason::StopToken));

    let pair = free.ids[6..8].to_vec();
    let stopped = with(&|params| params.stop_sequences = vec![vec![1], pair.clone()]).await.unwrap().remove(0);
    assert_eq!(stopped.stop, StopReason::StopSequence);
    assert!(stopped.ids.ends_with(&pair) && stopped.ids.len() <= 8 && free.ids.starts_with(&stopped.ids));

    let stopped = with(&|params| params.stop_rule = Some(Arc::new(ThirdToken))).await.unwrap().remove(0);
    assert_eq!((stopped.ids.as_slice(), stopped.stop), (&free.ids[..3], StopReason::StopRule));

    let greedy = with(&|params| params.temperature = 0.0).await.unwrap().remove(0);
    let mut second = request(&p, 1, 99, 30, Weights::Base);
    second.params.temperature = 0.0;
    assert_eq!(engine.sample(second).await.unwrap().remove(0).ids, greedy.ids, "a greedy continuation needs no seed");
}

#[tokio::test]
async fn a_dropped_request_leaves_the_others_alone() {
    let engine = engine("llama", Dtype::F32);
    let p = prompt(9, 0);
    let expected = engine.sample(request(&p, 1, 1, 60, Weights::Base)).await.unwrap();
    let long = engine.sample(request(&prompt(20, 3), 30, 2, 400, Weights::Base));
    let short = engine.sample(request(&p, 1, 1, 60, Weights::Base));
    let got = tokio::select! {
        biased;
        _ = long => panic!("the long request cannot be done first"),
        got = short => got,
    };
    assert_eq!(got.unwrap(), expected);
    assert_eq!(engine.sample(request(&p, 1, 1, 60, Weights::Base)).await.unwrap(), expected);
}

#[tokio::test]
async fn bad_requests_are_refused_with_a_reason() {
    let engine = engine("qwen2", Dtype::F32);
    let bad = [
        request(&[], 1, 0, 5, Weights::Base),
        request(&[5000], 1, 0, 5, Weights::Base),
        request(&prompt(5, 0), 0, 0, 5, Weights::Base),
        request(&prompt(100_000, 0), 1, 0, 5, Weights::Base),
        request(&prompt(5, 0), 1, 0, 5, Weights::Live(AdapterId(77))),
    ];
    for r in bad {
        let error = engine.sample(r).await.unwrap_err();
        assert!(matches!(error, EngineError::Request(_) | EngineError::UnknownWeights(_)), "{error}");
    }
    let adapter = engine.create_adapter(spec()).await.unwrap();
    let mut short = datum(&prompt(9, 0), 2, 1.0);
    short.advantages.pop();
    let mut first = datum(&prompt(9, 0), 2, 1.0);
    first.weights[0] = 1.0;
    let mut infinite = datum(&prompt(9, 0), 2, 1.0);
    infinite.old_logprobs[5] = f32::NAN;
    for d in [short, first, infinite] {
        assert!(engine.forward_backward(adapter, vec![d], PolicyLoss::default()).await.is_err());
    }
    let mut unmarked = after(2, &prompt(9, 0));
    unmarked.wanted.pop();
    assert!(engine.logprobs(vec![unmarked], Weights::Base, 1.0).await.is_err());
    let unknown = LoraSpec { targets: vec!["q".into()], ..spec() };
    assert!(engine.create_adapter(unknown).await.unwrap_err().to_string().contains("q_proj"));
    let ok = engine.sample(request(&prompt(5, 0), 1, 0, 5, Weights::Base)).await;
    assert_eq!(ok.unwrap()[0].ids.len(), 5, "and the engine goes on");
}
