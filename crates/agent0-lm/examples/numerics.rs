//! What the formats of the frozen weights cost in precision: log-probabilities of a text in bf16 and q8 against f32.
//!
//! usage: cargo run --release -p agent0-lm --example numerics -- MODEL TEXT

use std::path::Path;

use agent0_compute::Dtype;
use agent0_engine::{Codec, Engine, ScoreRequest, Weights};
use agent0_lm::{LocalEngine, LocalOptions, Tokenizer};

/// Tokens scored together.
const PIECE: usize = 512;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(model), Some(text)) = (args.next(), args.next()) else { return Err("usage: numerics MODEL TEXT".into()) };
    let ids = Tokenizer::open(Path::new(&model))?.encode(&std::fs::read_to_string(text)?)?;
    let pieces: Vec<ScoreRequest> = ids
        .chunks(PIECE)
        .filter(|ids| ids.len() > 1)
        .map(|ids| ScoreRequest { ids: ids.to_vec(), wanted: vec![true; ids.len()] })
        .collect();

    let mut exact: Vec<f32> = Vec::new();
    for dtype in [Dtype::F32, Dtype::Bf16, Dtype::Q8] {
        let engine = LocalEngine::open(Path::new(&model), &LocalOptions { dtype: Some(dtype), ..Default::default() })?;
        let scored: Vec<f32> =
            engine.logprobs(pieces.clone(), Weights::Base, 1.0).await?.iter().flat_map(|piece| &piece[1..]).copied().collect();
        let count = scored.len() as f32;
        print!("{dtype:?}: {count} tokens, loss {:.5}", -scored.iter().sum::<f32>() / count);
        if dtype == Dtype::F32 {
            exact = scored;
            println!();
            continue;
        }
        let mut off: Vec<f32> = scored.iter().zip(&exact).map(|(a, b)| (a - b).abs()).collect();
        off.sort_by(f32::total_cmp);
        let (mean, p99, largest) = (off.iter().sum::<f32>() / count, off[off.len() * 99 / 100], off[off.len() - 1]);
        println!("; off f32 by {mean:.4} on average, {p99:.3} at the 99th percentile, {largest:.3} at most");
    }
    Ok(())
}
