//! The transformer against PyTorch: logits of tiny models, and LoRA gradients from autograd.
//! Fixtures and the scripts that made them are in `tests/fixtures`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use agent0_compute::{Compute, Dtype, Isa, rms_norm};
use agent0_engine::{Datum, PolicyLoss};
use safetensors::SafeTensors;

use crate::checkpoint::{LayerTensor, Tensor};
use crate::export::{Export, WeightFormat, export_model};
use crate::files::open;
use crate::head::Head;
use crate::lora::{LoraGradient, LoraWeights};
use crate::model::Model;
use crate::peft;
use crate::train::Trainer;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn load(cx: &Compute, name: &str) -> Model {
    Model::load(cx, open(&fixture(name)).unwrap().as_ref(), Dtype::F32, 512).unwrap()
}

fn floats(tensors: &SafeTensors, name: &str) -> Vec<f32> {
    tensors.tensor(name).unwrap().data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn ids(tensors: &SafeTensors, name: &str) -> Vec<u32> {
    tensors.tensor(name).unwrap().data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as u32).collect()
}

#[test]
fn logits_match_transformers() {
    for name in ["tiny-llama", "tiny-qwen2", "tiny-qwen3"] {
        let bytes = std::fs::read(fixture(name).join("expected.safetensors")).unwrap();
        let expected = SafeTensors::deserialize(&bytes).unwrap();
        let (all_ids, expected) = (ids(&expected, "ids"), floats(&expected, "logits"));
        for isa in Isa::available() {
            let cx = Compute::new(2, isa);
            let sequences: Vec<&[u32]> = all_ids.chunks(37).collect();
            let worst = largest_difference(&logits(&cx, &load(&cx, name), &sequences), &expected);
            println!("{name} {isa}: largest difference {worst:e}");
            assert!(worst <= 1e-4, "{name} {isa}: {worst}");
        }
    }
}

/// Logits of sequences of one length, end to end.
fn logits(cx: &Compute, model: &Model, sequences: &[&[u32]]) -> Vec<f32> {
    let (length, width) = (sequences[0].len(), model.config.hidden);
    let stream = Trainer::default().stream(cx, model, sequences);
    let mut hidden = vec![0.0; stream.len()];
    rms_norm(cx, stream.len() / width, &stream, width, &model.final_norm, model.config.rms_eps, &mut hidden);
    let mut head = Head::default();
    hidden.chunks(length * width).flat_map(|hidden| head.logits(cx, model, length, hidden).to_vec()).collect()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// An exported folder holds the weights of PEFT's merged model and computes its logits, in each format.
#[test]
fn a_merged_export_is_pefts_merged_model() {
    for kind in ["qwen2", "qwen3"] {
        let adapter = fixture(&format!("gradients-{kind}"));
        let bytes = std::fs::read(adapter.join("merged.safetensors")).unwrap();
        let expected = SafeTensors::deserialize(&bytes).unwrap();
        for (format, name) in [(WeightFormat::F32, "logits"), (WeightFormat::Bf16, "logits_bf16")] {
            let folder = tempfile::tempdir().unwrap();
            let (model, out) = (fixture(&format!("tiny-{kind}")), folder.path().join("merged"));
            let request = Export { model: &model, adapter: Some(&adapter.join("adapter")), format, out: &out };
            export_model(&request, &|_, _| {}).unwrap();
            let merged = open(&out).unwrap();
            let weights = [
                (0, LayerTensor::Q, "model.layers.0.self_attn.q_proj.weight"),
                (1, LayerTensor::V, "model.layers.1.self_attn.v_proj.weight"),
                (1, LayerTensor::Down, "model.layers.1.mlp.down_proj.weight"),
            ];
            for (layer, part, name) in weights {
                let off = largest_difference(&merged.tensor(Tensor::Layer(layer, part)).unwrap(), &floats(&expected, name));
                // Weights are below 1: bf16 rounds them by up to 1/512.
                let bound = if format == WeightFormat::F32 { 1e-6 } else { 2e-3 };
                assert!(off <= bound, "{kind} {format:?} {name}: off by {off}");
            }
            let cx = Compute::new(2, Isa::detect());
            let model = Model::load(&cx, merged.as_ref(), Dtype::F32, 512).unwrap();
            let off = largest_difference(&logits(&cx, &model, &[&ids(&expected, "ids")]), &floats(&expected, name));
            println!("{kind} {format:?}: largest difference {off:e}");
            // A sum in another order rounds a few weights to the other neighbour in bf16.
            let bound = if format == WeightFormat::F32 { 1e-4 } else { 1e-2 };
            assert!(off <= bound, "{kind} {format:?}: logits off by {off}");
        }
    }
}

#[test]
fn lora_gradients_match_autograd() {
    for kind in ["qwen2", "qwen3"] {
        let folder = fixture(&format!("gradients-{kind}"));
        let bytes = std::fs::read(folder.join("gradients.safetensors")).unwrap();
        let expected = SafeTensors::deserialize(&bytes).unwrap();
        for isa in Isa::available() {
            let cx = Compute::new(2, isa);
            let model = load(&cx, &format!("tiny-{kind}"));
            let (weights, _) = peft::load(&cx, &folder.join("adapter"), &model.config).unwrap();
            let data: Vec<Datum> = (0..2).map(|s| datum(&expected, s)).collect();
            // A limit of 30 makes two micro-batches, whose gradients must add up; below a sequence's length, projections
            // are computed again.
            for micro_tokens in [1000, 30, 5] {
                let (gradient, loss) = gradient(&cx, &model, &weights, &data, micro_tokens, &expected);
                assert!((loss - f64::from(floats(&expected, "loss")[0])).abs() < 1e-5);
                for (name, ours) in peft::named(&model.config, &weights, &gradient.matrices) {
                    let theirs = floats(&expected, &name);
                    let scale = theirs.iter().fold(0.0f32, |m, v| m.max(v.abs()));
                    let worst = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    assert!(scale > 0.0 && worst / scale <= 1e-4, "{kind} {isa} {name}: off by {worst} of {scale}");
                }
            }
        }
    }
}

#[test]
fn a_shared_beginning_changes_no_logprob_and_the_gradient_by_rounding_only() {
    let folder = fixture("gradients-qwen3");
    let bytes = std::fs::read(folder.join("gradients.safetensors")).unwrap();
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    for isa in Isa::available() {
        let cx = Compute::new(2, isa);
        let model = load(&cx, "tiny-qwen3");
        let weights = Arc::new(peft::load(&cx, &folder.join("adapter"), &model.config).unwrap().0);
        // The first two share 50 tokens, the last two 70: three blocks and one more. All but the first 20 are trained.
        let data: Vec<Datum> = [(50, 9), (70, 30), (70, 21)]
            .iter()
            .enumerate()
            .map(|(s, &(common, own))| {
                let ids: Vec<u32> = (0..common).map(|i| 3 + i * 7 % 150).chain((0..own).map(|i| 5 + (i * 11 + s as u32) % 140)).collect();
                let n = ids.len();
                Datum {
                    weights: (0..n).map(|t| if t < 20 { 0.0 } else { 0.01 }).collect(),
                    old_logprobs: vec![-5.0; n],
                    ref_logprobs: vec![-5.1; n],
                    advantages: vec![[0.7, -1.1, 1.3][s]; n],
                    ids,
                    ..datum(&stored, 0)
                }
            })
            .collect();
        let run = |gradient: &mut LoraGradient, data: &[Datum]| {
            let loss = PolicyLoss { kl_coef: 0.05, ..PolicyLoss::default() };
            Trainer::default().forward_backward(&cx, &model, &weights, gradient, data, loss, 1000).unwrap().tokens
        };
        let (mut shared, mut apart) = (LoraGradient::zeros(&weights), LoraGradient::zeros(&weights));
        let together = run(&mut shared, &data);
        for (one, tokens) in data.iter().zip(&together) {
            let alone = &run(&mut apart, std::slice::from_ref(one))[0];
            assert!(alone.logprobs.iter().zip(&tokens.logprobs).all(|(a, b)| a.to_bits() == b.to_bits()), "{isa}");
        }
        for (shared, apart) in shared.matrices.iter().zip(&apart.matrices) {
            let scale = apart.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            let worst = shared.iter().zip(apart).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(scale > 0.0 && worst <= 1e-5 * scale, "{isa}: off by {worst} of {scale}");
        }
    }
}

/// The narrower formats round weights, activations and gradients; the direction that they give stays that of `f32`.
#[test]
fn gradients_in_narrower_formats_point_where_f32_does() {
    let folder = fixture("gradients-qwen3");
    let bytes = std::fs::read(folder.join("gradients.safetensors")).unwrap();
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    let data: Vec<Datum> = (0..2).map(|s| datum(&stored, s)).collect();
    for isa in Isa::available() {
        let cx = Compute::new(2, isa);
        let gradient = |dtype| {
            let model = Model::load(&cx, open(&fixture("tiny-qwen3")).unwrap().as_ref(), dtype, 512).unwrap();
            let weights = Arc::new(peft::load(&cx, &folder.join("adapter"), &model.config).unwrap().0);
            let mut gradient = LoraGradient::zeros(&weights);
            let loss = PolicyLoss { kl_coef: 0.05, ..PolicyLoss::default() };
            Trainer::default().forward_backward(&cx, &model, &weights, &mut gradient, &data, loss, 1000).unwrap();
            gradient.matrices.iter().flat_map(|matrix| matrix.iter().map(|&x| f64::from(x))).collect::<Vec<f64>>()
        };
        let exact = gradient(Dtype::F32);
        for (dtype, bound) in [(Dtype::Bf16, 0.04), (Dtype::Q8, 0.3)] {
            let off: f64 = gradient(dtype).iter().zip(&exact).map(|(a, b)| (a - b).powi(2)).sum();
            let off = (off / exact.iter().map(|x| x * x).sum::<f64>()).sqrt();
            println!("{isa} {dtype:?}: off by {off:.4} of its length");
            assert!(off < bound, "{isa} {dtype:?}: off by {off} of its length");
        }
    }
}

fn datum(stored: &SafeTensors, s: usize) -> Datum {
    Datum {
        ids: ids(stored, &format!("{s}.ids")),
        weights: floats(stored, &format!("{s}.weights")),
        old_logprobs: floats(stored, &format!("{s}.old_logprobs")),
        ref_logprobs: floats(stored, &format!("{s}.ref_logprobs")),
        advantages: floats(stored, &format!("{s}.advantages")),
        clip_low: 0.2,
        clip_high: 0.28,
    }
}

/// The gradient and the loss; checks log-probabilities and entropies on the way.
fn gradient(
    cx: &Compute,
    model: &Model,
    weights: &LoraWeights,
    data: &[Datum],
    micro_tokens: usize,
    expected: &SafeTensors,
) -> (LoraGradient, f64) {
    let mut gradient = LoraGradient::zeros(weights);
    let weights = Arc::new(weights.clone());
    let loss = PolicyLoss { kl_coef: 0.05, ..PolicyLoss::default() };
    let result = Trainer::default().forward_backward(cx, model, &weights, &mut gradient, data, loss, micro_tokens).unwrap();
    for (s, stats) in result.tokens.iter().enumerate() {
        for (ours, name) in [(&stats.logprobs, "logprobs"), (&stats.entropies, "entropies")] {
            let theirs = floats(expected, &format!("{s}.{name}"));
            let worst = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 2e-5, "{name} of sequence {s}: off by {worst}");
        }
    }
    (gradient, result.loss)
}
