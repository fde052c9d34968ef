//! Matrix products at the shapes of a decoder of half a billion parameters (hidden 896, feed-forward 4,864). Throughput is
//! in operations: hold it against `agent0 bench engine --only roofline`.

use std::hint::black_box;
use std::time::Duration;

use agent0_compute::{Compute, Dtype, PackedMatrix, Write, gemm, gemm_tn};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Outputs and inputs of: query, key and value; output; gate and up; down.
const LAYERS: [(usize, usize); 4] = [(1152, 896), (896, 896), (9728, 896), (896, 4864)];

fn frozen_weights(c: &mut Criterion) {
    let cx = Compute::auto();
    for dtype in [Dtype::F32, Dtype::Bf16, Dtype::Q8] {
        let mut group = c.benchmark_group(format!("gemm {dtype:?}"));
        for (n, k) in LAYERS {
            let weights = PackedMatrix::pack(&cx, &vec![0.5; n * k], n, k, k, 1, 1.0, dtype);
            for m in [1, 16, 64, 512] {
                let (x, mut y) = (vec![0.5; m * k], vec![0.0; m * n]);
                group.throughput(Throughput::Elements((2 * m * n * k) as u64));
                group.bench_function(BenchmarkId::from_parameter(format!("{m} x {k} x {n}")), |b| {
                    b.iter(|| gemm(&cx, m, black_box(&x), k, &weights, &mut y, n, Write::Set));
                });
            }
        }
    }
}

fn adapter(c: &mut Criterion) {
    let cx = Compute::auto();
    let mut group = c.benchmark_group("gemm of rank 16");
    for (n, k) in [(16, 896), (896, 16), (16, 4864), (9728, 16)] {
        let weights = PackedMatrix::pack(&cx, &vec![0.5; n * k], n, k, k, 1, 1.0, Dtype::F32);
        for m in [64, 1024] {
            let (x, mut y) = (vec![0.5; m * k], vec![0.0; m * n]);
            group.throughput(Throughput::Elements((2 * m * n * k) as u64));
            group.bench_function(BenchmarkId::from_parameter(format!("{m} x {k} x {n}")), |b| {
                b.iter(|| gemm(&cx, m, black_box(&x), k, &weights, &mut y, n, Write::Add));
            });
        }
    }
}

fn gradients(c: &mut Criterion) {
    let cx = Compute::auto();
    let mut group = c.benchmark_group("gemm_tn");
    for (m, p, q) in [(1024, 16, 896), (1024, 16, 4864), (1024, 896, 16), (1024, 4864, 16)] {
        let (a, b, mut sum) = (vec![0.5; m * p], vec![0.5; m * q], vec![0.0; p * q]);
        group.throughput(Throughput::Elements((2 * m * p * q) as u64));
        group.bench_function(BenchmarkId::from_parameter(format!("{p} x {m} x {q}")), |bench| {
            bench.iter(|| gemm_tn(&cx, m, black_box(&a), p, p, &b, q, q, 1.0, &mut sum, q));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(400));
    targets = frozen_weights, adapter, gradients
}
criterion_main!(benches);
