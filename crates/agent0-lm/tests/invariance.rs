//! The promise of equal bits, put to random tests: what is sampled depends on the request and the weights alone. Not on the
//! rest of the batch, the order of arrival, threads, cached prefixes, or on being put back for want of memory; and the
//! trainer gives the same log-probabilities. For every instruction set and number format, on tiny random models.
//! Nor does it depend on the processor, as long as that fuses multiply-adds.

use std::path::{Path, PathBuf};

use agent0_compute::{Dtype, Isa};
use agent0_engine::{
    AdamParams, Datum, Engine, LINEAR_LAYERS, LoraSpec, PolicyLoss, SampleRequest, Sampled, SamplingParams, ScoreRequest, TokenId, Weights,
};
use agent0_lm::{LocalEngine, LocalOptions};
use futures::stream::{FuturesUnordered, StreamExt};

const REQUESTS: usize = 14;
const DTYPES: [Dtype; 3] = [Dtype::F32, Dtype::Bf16, Dtype::Q8];

/// Random numbers from a seed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) % n as u64) as usize
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn tokens(&mut self, count: usize) -> Vec<TokenId> {
        (0..count).map(|_| 3 + self.below(150) as TokenId).collect()
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

/// A request under the base (0) or one of two adapters.
#[derive(Clone)]
struct Case {
    prompt: Vec<TokenId>,
    n: usize,
    params: SamplingParams,
    weights: usize,
}

/// Requests of which many begin alike.
fn cases(random: &mut Random) -> Vec<Case> {
    let beginnings = [Vec::new(), random.tokens(16), random.tokens(53), random.tokens(70)];
    let case = |_| {
        let tail = 1 + random.below(30);
        let mut prompt = beginnings[random.below(4)].clone();
        prompt.extend(random.tokens(tail));
        let params = SamplingParams {
            max_tokens: 1 + random.below(40),
            temperature: random.of(&[0.0, 0.7, 1.0, 1.5]),
            top_p: random.of(&[1.0, 1.0, 0.9]),
            top_k: random.of(&[0, 0, 20]),
            stop_tokens: vec![random.below(150) as TokenId],
            seed: random.below(1000) as u64,
            ..Default::default()
        };
        Case { prompt, n: 1 + random.below(4), params, weights: random.below(3) }
    };
    (0..REQUESTS).map(case).collect()
}

/// An engine, and its base and two adapters that differ.
struct Subject {
    engine: LocalEngine,
    weights: [Weights; 3],
}

impl Subject {
    async fn open(name: &str, options: &LocalOptions) -> Self {
        let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(format!("tiny-{name}"));
        let engine = LocalEngine::open(&path, options).unwrap();
        let mut weights = [Weights::Base; 3];
        for (seed, weights) in weights.iter_mut().enumerate().skip(1) {
            let spec = LoraSpec { rank: 4, alpha: 8.0, targets: LINEAR_LAYERS.map(str::to_owned).to_vec(), seed: seed as u64 };
            let adapter = engine.create_adapter(spec).await.unwrap();
            let loss = PolicyLoss { temperature: 0.8, ..PolicyLoss::default() };
            engine.forward_backward(adapter, vec![datum(seed as u64)], loss).await.unwrap();
            engine.optim_step(adapter, AdamParams { learning_rate: 1e-2, ..Default::default() }).await.unwrap();
            *weights = Weights::Live(adapter);
        }
        Self { engine, weights }
    }

    async fn sample(&self, case: &Case) -> Vec<Sampled> {
        let Case { prompt, n, params, weights } = case.clone();
        self.engine.sample(SampleRequest { prompt, n, params, weights: self.weights[weights] }).await.unwrap()
    }

    /// The trainer's log-probabilities of a continuation.
    async fn score(&self, case: &Case, sampled: &Sampled) -> Vec<f32> {
        let ids = [case.prompt.as_slice(), &sampled.ids].concat();
        let wanted = vec![true; ids.len()];
        let scored =
            self.engine.logprobs(vec![ScoreRequest { ids, wanted }], self.weights[case.weights], case.params.scored_at()).await.unwrap();
        scored[0][case.prompt.len()..].to_vec()
    }
}

fn datum(seed: u64) -> Datum {
    let ids = Random(seed).tokens(24);
    let n = ids.len();
    let weights = (0..n).map(|i| if i > 4 { 0.05 } else { 0.0 }).collect();
    let (old_logprobs, ref_logprobs, advantages) = (vec![-3.0; n], vec![0.0; n], vec![1.0; n]);
    Datum { ids, weights, old_logprobs, ref_logprobs, advantages, clip_low: 0.2, clip_high: 1e9 }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

fn assert_same(got: &[Sampled], wanted: &[Sampled], what: &str) {
    assert_eq!(got.len(), wanted.len(), "{what}");
    for (got, wanted) in got.iter().zip(wanted) {
        assert_eq!((&got.ids, got.stop), (&wanted.ids, wanted.stop), "{what}");
        assert_eq!(bits(&got.logprobs), bits(&wanted.logprobs), "{what}: log-probabilities differ in bits");
    }
}

/// Samples all cases with about `together` in flight, in random order, some started and abandoned on the way.
async fn sample_mixed(subject: &Subject, cases: &[Case], together: usize, random: &mut Random) -> Vec<Vec<Sampled>> {
    let mut order: Vec<usize> = (0..cases.len()).collect();
    random.shuffle(&mut order);
    let start = |index: usize| async move { (index, subject.sample(&cases[index]).await) };
    let mut flying: FuturesUnordered<_> = order.drain(..together).map(start).collect();
    let mut results = vec![Vec::new(); cases.len()];
    while let Some((index, sampled)) = flying.next().await {
        results[index] = sampled;
        if let Some(next) = order.pop() {
            if random.below(3) == 0 {
                let abandoned = subject.sample(&cases[random.below(cases.len())]);
                let _ = futures::poll!(std::pin::pin!(abandoned));
            }
            flying.push(start(next));
        }
    }
    results
}

#[tokio::test]
async fn a_sequence_has_the_same_bits_in_whatever_company_it_is_computed() {
    let mut random = Random(7);
    for isa in Isa::available() {
        for dtype in DTYPES {
            let name = random.of(&["llama", "qwen2", "qwen3"]);
            let cases = cases(&mut random);
            let options = LocalOptions { isa: Some(isa), dtype: Some(dtype), threads: Some(1), ..Default::default() };
            let alone = Subject::open(name, &options).await;
            let mut expected = Vec::new();
            for (index, case) in cases.iter().enumerate() {
                let sampled = alone.sample(case).await;
                for sampled in &sampled {
                    let scored = alone.score(case, sampled).await;
                    assert_eq!(bits(&scored), bits(&sampled.logprobs), "{name} {isa} {dtype:?} case {index}: trainer and sampler differ");
                }
                expected.push(sampled);
            }
            // The least memory there can be, 16 blocks, is far less than the batch wants.
            for (threads, kv_bytes) in [(2, None), (1, Some(1)), (2, Some(1))] {
                let (max_batch, together) = (1 + random.below(12), 1 + random.below(REQUESTS));
                let options = LocalOptions { threads: Some(threads), kv_bytes, max_batch: Some(max_batch), ..options.clone() };
                let subject = Subject::open(name, &options).await;
                let got = sample_mixed(&subject, &cases, together, &mut random).await;
                for (index, (got, wanted)) in got.iter().zip(&expected).enumerate() {
                    let what = format!("{name} {isa} {dtype:?} {threads} threads, kv {kv_bytes:?}, batch {max_batch}, case {index}");
                    assert_same(got, wanted, &what);
                }
            }
        }
    }
}

/// One number for ids and log-probabilities of all answers (FNV-1a over words), which training has had a part in.
async fn fingerprint(subject: &Subject, cases: &[Case]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    for case in cases {
        for sampled in subject.sample(case).await {
            let words = sampled.ids.iter().copied().chain(bits(&sampled.logprobs));
            hash = words.fold(hash, |hash, word| (hash ^ u64::from(word)).wrapping_mul(0x0100_0000_01b3));
        }
    }
    hash
}

/// Results that are published with their commands can be repeated to the digit on another processor as long as these numbers stay.
/// They were recorded with AVX2; a change of the order in which anything is summed changes them, and those results. What the engine says of its
/// numbers must change with them, or runs and evaluations go on with others than they began with.
#[tokio::test]
async fn every_processor_that_fuses_multiply_adds_gives_the_recorded_bits() {
    let cases = cases(&mut Random(5));
    // In the order of `DTYPES`.
    let recorded = [
        ("llama", [0xe1a7_1348_d40a_a6ac, 0x3441_8f5c_e110_6cfa, 0x90d2_442b_768f_a8ce]),
        ("qwen2", [0x0b46_3300_4771_359e, 0x2cc0_7cc2_5fee_3369, 0x0502_e4b3_7b56_cf8f]),
        ("qwen3", [0x2177_1a75_169a_4eeb, 0x6325_1280_f650_e5ce, 0x1b25_2f2d_b39d_a005]),
    ];
    for isa in Isa::available().into_iter().filter(|isa| isa.fuses()) {
        for (name, recorded) in recorded {
            let mut got = [0; DTYPES.len()];
            for ((dtype, numerics), got) in DTYPES.into_iter().zip(["f32", "bf16", "q8 w7"]).zip(&mut got) {
                let options = LocalOptions { isa: Some(isa), dtype: Some(dtype), threads: Some(1), ..Default::default() };
                let subject = Subject::open(name, &options).await;
                assert_eq!(subject.engine.info().numerics, numerics);
                *got = fingerprint(&subject, &cases).await;
            }
            assert_eq!(got, recorded, "{name} {isa} {DTYPES:?}: {got:#018x?}");
        }
    }
}

#[tokio::test]
async fn a_storm_of_requests_in_little_memory_is_answered_in_full() {
    let mut random = Random(11);
    let options = LocalOptions { threads: Some(2), kv_bytes: Some(1), max_batch: Some(64), ..Default::default() };
    let subject = Subject::open("llama", &options).await;
    let context = subject.engine.info().context;
    let storm: Vec<Case> = (0..60)
        .map(|seed| {
            let length = 1 + random.below(context - 2);
            let params = SamplingParams { max_tokens: context, temperature: 1.0, seed, ..Default::default() };
            Case { prompt: random.tokens(length), n: 1 + random.below(3), params, weights: random.below(3) }
        })
        .collect();
    let got = sample_mixed(&subject, &storm, storm.len(), &mut random).await;
    for (case, sampled) in storm.iter().zip(got) {
        assert_eq!(sampled.len(), case.n);
        assert!(sampled.iter().all(|s| case.prompt.len() + s.ids.len() == context), "every one runs to the end of the context");
    }
}
