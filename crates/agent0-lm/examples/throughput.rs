//! Sampled and trained tokens per second of the embedded engine on this machine.
//!
//! usage: cargo run --release -p agent0-lm --example throughput -- MODEL.gguf [f32|bf16]

use std::path::Path;
use std::time::Instant;

use agent0_compute::Dtype;
use agent0_engine::{AdamParams, Datum, Engine, LINEAR_LAYERS, LoraSpec, PolicyLoss, SampleRequest, SamplingParams, Weights};
use agent0_lm::{LocalEngine, LocalOptions};
use futures::future::join_all;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("usage: throughput MODEL.gguf [f32|bf16]")?;
    let dtype = if args.next().as_deref() == Some("f32") { Dtype::F32 } else { Dtype::Bf16 };
    let started = Instant::now();
    let engine = LocalEngine::open(Path::new(&path), &LocalOptions { dtype: Some(dtype), ..Default::default() })?;
    println!("{} in {}: loaded in {:.1} s", engine.info().model, engine.info().numerics, started.elapsed().as_secs_f64());

    let adapter =
        engine.create_adapter(LoraSpec { rank: 16, alpha: 32.0, targets: LINEAR_LAYERS.map(str::to_owned).to_vec(), seed: 1 }).await?;
    let (prompt_tokens, new_tokens) = (256, 128);
    for batch in [1usize, 16, 64] {
        let started = Instant::now();
        let requests = (0..batch).map(|i| {
            let prompt = (0..prompt_tokens).map(|t| 1000 + (t * 37 + i as u32 * 101) % 20000).collect();
            let params = SamplingParams { max_tokens: new_tokens, seed: i as u64, ..Default::default() };
            engine.sample(SampleRequest { prompt, n: 1, params, weights: Weights::Live(adapter) })
        });
        let tokens: usize = join_all(requests).await.into_iter().map(|r| r.map(|s| s[0].ids.len())).sum::<Result<usize, _>>()?;
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "sample  batch {batch:3}: {:7.1} tokens/s ({tokens} new after {prompt_tokens} of prompt each, prompts included)",
            tokens as f64 / seconds
        );
    }
    for (sequences, length) in [(8usize, 512usize), (4, 1024)] {
        let data: Vec<Datum> = (0..sequences).map(|s| datum(length, s as u32)).collect();
        let mut best = f64::INFINITY;
        for _ in 0..2 {
            let started = Instant::now();
            engine.forward_backward(adapter, data.clone(), PolicyLoss { kl_coef: 0.01 }).await?;
            engine.optim_step(adapter, AdamParams::default()).await?;
            best = best.min(started.elapsed().as_secs_f64());
        }
        println!("train   {sequences} x {length}: {:7.1} tokens/s (half of them trained)", (sequences * length) as f64 / best);
    }
    Ok(())
}

/// A sequence whose second half is trained.
fn datum(length: usize, salt: u32) -> Datum {
    let weights = (0..length).map(|t| if t >= length / 2 { 1.0 / length as f32 } else { 0.0 }).collect();
    Datum {
        ids: (0..length as u32).map(|t| 1000 + (t * 31 + salt * 97) % 20000).collect(),
        weights,
        old_logprobs: vec![-9.0; length],
        ref_logprobs: vec![-9.0; length],
        advantages: vec![1.0; length],
        clip_low: 0.2,
        clip_high: 0.2,
    }
}
