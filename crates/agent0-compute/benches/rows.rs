//! Work on rows one by one, at the shapes of a decoder of half a billion parameters: norms, rotation, activation, softmax.
//! Throughput is in numbers read.

use std::hint::black_box;
use std::time::Duration;

use agent0_compute::{Compute, RopeTable, TokenTerm, log_softmax_stats, rms_norm, rope, softmax_backward, swiglu};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const HIDDEN: usize = 896;
const FFN: usize = 4864;
const VOCAB: usize = 151_936;
/// Heads that are rotated: 14 of queries and 2 of keys. Values stand beside them in a row of `QKV` numbers.
const HEADS: usize = 16;
const HEAD_DIM: usize = 64;
const QKV: usize = 1152;

fn layer(c: &mut Criterion) {
    let cx = Compute::auto();
    let mut group = c.benchmark_group("rows of a layer");
    for m in [1, 64, 1024] {
        let (x, weight, mut y) = (vec![0.5; m * HIDDEN], vec![1.0; HIDDEN], vec![0.0; m * HIDDEN]);
        group.throughput(Throughput::Elements((m * HIDDEN) as u64));
        group.bench_function(BenchmarkId::new("rms_norm", m), |b| {
            b.iter(|| rms_norm(&cx, m, black_box(&x), HIDDEN, &weight, 1e-6, &mut y));
        });

        let table = RopeTable::new(&[0.01; HEAD_DIM / 2], m, 1.0);
        let (mut qkv, positions) = (vec![0.5; m * QKV], (0..m as u32).collect::<Vec<_>>());
        group.throughput(Throughput::Elements((m * HEADS * HEAD_DIM) as u64));
        group.bench_function(BenchmarkId::new("rope", m), |b| {
            b.iter(|| rope(&cx, m, black_box(&mut qkv), QKV, HEADS, HEAD_DIM, &positions, &table, false));
        });

        let (gate_up, mut act) = (vec![0.5; m * 2 * FFN], vec![0.0; m * FFN]);
        group.throughput(Throughput::Elements((m * 2 * FFN) as u64));
        group.bench_function(BenchmarkId::new("swiglu", m), |b| b.iter(|| swiglu(&cx, m, black_box(&gate_up), FFN, &mut act)));
    }
}

fn head(c: &mut Criterion) {
    let cx = Compute::auto();
    let mut group = c.benchmark_group("rows of the head");
    for m in [1, 64] {
        let mut logits: Vec<f32> = (0..m * VOCAB).map(|i| (i % 97) as f32 / 10.0).collect();
        let (targets, coefficients) = (vec![5; m], vec![0.0; m]);
        let mut terms = vec![TokenTerm::default(); m];
        group.throughput(Throughput::Elements((m * VOCAB) as u64));
        group.bench_function(BenchmarkId::new("log_softmax_stats", m), |b| {
            b.iter(|| log_softmax_stats(&cx, m, black_box(&logits), VOCAB, VOCAB, &targets, 1.0, &mut terms));
        });
        group.bench_function(BenchmarkId::new("softmax_backward", m), |b| {
            b.iter(|| softmax_backward(&cx, m, black_box(&mut logits), VOCAB, VOCAB, &targets, &terms, &coefficients, 1.0));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(400));
    targets = layer, head
}
criterion_main!(benches);
