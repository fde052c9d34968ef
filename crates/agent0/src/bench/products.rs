//! Matrix products at a model's shapes, held against the peak of their arithmetic.

use agent0_compute::roofline::{Arithmetic, Roofline, best_seconds};
use agent0_compute::{Compute, Dtype, PackedMatrix, Write, gemm};
use agent0_lm::ModelConfig;
use serde::Serialize;

/// The speed of `[m, k] x [n, k]^T`.
#[derive(Debug, Clone, Serialize)]
pub struct Product {
    /// Whose weights have this shape.
    pub layer: &'static str,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub gflops: f64,
    pub share_of_peak: f64,
    /// Bytes of weights per second. From memory only where they are larger than the cache.
    pub weights_gbps: f64,
}

/// Rows of the products: decoding alone and in batches, prefill, training.
const ROWS: [usize; 5] = [1, 16, 64, 256, 1024];
/// Most numbers in an output: past it a product takes long and tells nothing new.
const MOST_OUTPUTS: usize = 64 << 20;

/// Measures the products of each kind of layer, handing each result on as it comes.
pub fn measure(cx: &Compute, config: &ModelConfig, dtype: Dtype, roofline: &Roofline, mut each: impl FnMut(Product)) {
    let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
    let peak = roofline.ops(match dtype {
        Dtype::F32 => Arithmetic::F32,
        Dtype::Bf16 => Arithmetic::Bf16,
        Dtype::Q8 => Arithmetic::Int8,
    });
    let layers = [
        ("qkv", q + 2 * kv, config.hidden),
        ("output", config.hidden, q),
        ("gate and up", 2 * config.ffn, config.hidden),
        ("down", config.hidden, config.ffn),
        ("head", config.vocab, config.hidden),
    ];
    for (layer, n, k) in layers {
        let weights = PackedMatrix::pack(cx, &vec![0.5; n * k], n, k, k, 1, 1.0, dtype);
        for m in ROWS.into_iter().filter(|m| m * n <= MOST_OUTPUTS) {
            let (x, mut y) = (vec![0.5; m * k], vec![0.0; m * n]);
            let seconds = best_seconds(|| gemm(cx, m, &x, k, &weights, &mut y, n, Write::Set));
            let flops = 2.0 * (m * n * k) as f64 / seconds;
            let weights_gbps = weights.bytes() as f64 / seconds / 1e9;
            each(Product { layer, m, n, k, gflops: flops / 1e9, share_of_peak: flops / peak, weights_gbps });
        }
    }
}
