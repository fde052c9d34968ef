//! How close the matrix products come to what the processor can do.
//!
//! Prints the measured peak of the multiply-add instructions and the read bandwidth, then the speed of each shape of a
//! 0.5-billion-parameter decoder. `cargo run --release -p agent0-compute --example gemm_peak [f32|bf16] [isa] [threads]`.
#![allow(unsafe_code)]

use agent0_compute::{Compute, Dtype, Isa, PackedMatrix, Write, gemm, gemm_tn};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Best time of a few hundred milliseconds of repetitions.
fn best(mut f: impl FnMut()) -> f64 {
    f();
    let (start, mut best) = (Instant::now(), Duration::MAX);
    while start.elapsed() < Duration::from_millis(250) {
        let each = Instant::now();
        f();
        best = best.min(each.elapsed());
    }
    best.as_secs_f64()
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let chosen = Isa::available().into_iter().find(|isa| wanted.contains(&isa.to_string()));
    let threads = wanted.iter().find_map(|w| w.parse().ok());
    let cx = Compute::new(threads.unwrap_or(Compute::auto().threads()), chosen.unwrap_or(Isa::detect()));
    println!("{} threads, {}", cx.threads(), cx.isa());
    println!("read bandwidth {:.1} GB/s", bandwidth(&cx));
    for (name, dtype) in [("bf16", Dtype::Bf16), ("f32", Dtype::F32)] {
        if wanted.iter().any(|w| w == "bf16" || w == "f32") && !wanted.iter().any(|w| w == name) {
            continue;
        }
        let peak = peak(&cx, dtype);
        println!("\n{name}: peak {:.0} GFLOP/s", peak / 1e9);
        println!("{:>6} {:>7} {:>7} {:>9} {:>6} {:>10}", "m", "k", "n", "GFLOP/s", "peak", "weights");
        for (n, k) in [(1152, 896), (896, 896), (9728, 896), (896, 4864), (896, 9728), (151_936, 896)] {
            let w = PackedMatrix::pack(&cx, &vec![0.5; n * k], n, k, k, 1, 1.0, dtype);
            for m in [1, 8, 16, 64, 256, 1024] {
                if m * n <= 64 << 20 {
                    product(&cx, m, &w, peak);
                }
            }
        }
    }
    println!("\nlow rank, f32");
    let peak = peak(&cx, Dtype::F32);
    for (n, k) in [(16, 896), (16, 4864), (896, 16), (9728, 16)] {
        let w = PackedMatrix::pack(&cx, &vec![0.5; n * k], n, k, k, 1, 1.0, Dtype::F32);
        for m in [1, 64, 1024] {
            product(&cx, m, &w, peak);
        }
    }
    println!("\ngradient, f32: c[p, q] += a[m, p]^T b[m, q]");
    for (m, p, q) in [(1024, 16, 896), (1024, 16, 4864), (1024, 896, 16), (1024, 4864, 16)] {
        let (a, b, mut c) = (vec![0.5; m * p], vec![0.5; m * q], vec![0.0; p * q]);
        let seconds = best(|| gemm_tn(&cx, m, &a, p, p, &b, q, q, 1.0, &mut c, q));
        let flops = 2.0 * (m * p * q) as f64 / seconds;
        println!("{m:>6} {p:>7} {q:>7} {:>9.1} {:>5.0}%", flops / 1e9, 100.0 * flops / peak);
    }
}

fn product(cx: &Compute, m: usize, w: &PackedMatrix, peak: f64) {
    let (n, k) = (w.n(), w.k());
    let (x, mut y) = (vec![0.5; m * k], vec![0.0; m * n]);
    let seconds = best(|| gemm(cx, m, &x, k, w, &mut y, n, Write::Set));
    let flops = 2.0 * (m * n * k) as f64 / seconds;
    let read = w.bytes() as f64 / seconds;
    println!("{m:>6} {k:>7} {n:>7} {:>9.1} {:>5.0}% {:>5.1} GB/s", flops / 1e9, 100.0 * flops / peak, read / 1e9);
}

/// Bytes per second (in 1e9) that all threads read from memory together.
fn bandwidth(cx: &Compute) -> f64 {
    let data = vec![1u64; 64 << 20];
    let part = data.len() / 64;
    let seconds = best(|| {
        cx.run(64, &|i| {
            let sum = data[i * part..(i + 1) * part].chunks_exact(8).fold([0u64; 8], |sum, x| std::array::from_fn(|j| sum[j] ^ x[j]));
            black_box(sum);
        })
    });
    (data.len() * 8) as f64 / seconds / 1e9
}

/// Multiply-adds (as two operations each) per second of all threads, from registers alone.
fn peak(cx: &Compute, dtype: Dtype) -> f64 {
    const STEPS: usize = 400_000;
    let per_step = 2.0 * 24.0 * lanes(cx.isa()) as f64 * if dot(cx.isa(), dtype) { 2.0 } else { 1.0 };
    let seconds = best(|| cx.run(cx.threads(), &|_| busy(cx.isa(), dtype, STEPS)));
    per_step * (STEPS * cx.threads()) as f64 / seconds
}

fn lanes(isa: Isa) -> usize {
    match isa {
        Isa::Portable => 4,
        Isa::Avx2 => 8,
        Isa::Avx512 | Isa::Avx512Bf16 => 16,
    }
}

fn dot(isa: Isa, dtype: Dtype) -> bool {
    isa == Isa::Avx512Bf16 && dtype == Dtype::Bf16
}

/// `steps` rounds of 24 multiply-adds, twelve of them independent.
fn busy(isa: Isa, dtype: Dtype, steps: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the level of a `Compute` never exceeds what the processor has.
    match isa {
        Isa::Avx512Bf16 if dtype == Dtype::Bf16 => return unsafe { x86::dot(steps) },
        Isa::Avx512 | Isa::Avx512Bf16 => return unsafe { x86::avx512(steps) },
        Isa::Avx2 => return unsafe { x86::avx2(steps) },
        Isa::Portable => {}
    }
    let _ = (isa, dtype);
    let (mut sums, half) = (black_box([[1.0f32; 4]; 12]), black_box(0.5));
    for _ in 0..2 * steps {
        for sum in &mut sums {
            *sum = sum.map(|s| s * half + half);
        }
    }
    black_box(sums);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    macro_rules! rounds {
        ($name:ident, $features:literal, $one:expr, $half:expr, |$sum:ident, $x:ident| $step:expr) => {
            #[target_feature(enable = $features)]
            pub(super) fn $name(steps: usize) {
                let (mut sums, $x) = (black_box([$one; 12]), black_box($half));
                for _ in 0..2 * steps {
                    for $sum in &mut sums {
                        *$sum = $step;
                    }
                }
                black_box(sums);
            }
        };
    }

    rounds!(avx2, "avx2,fma", _mm256_set1_ps(1.0), _mm256_set1_ps(0.5), |s, x| _mm256_fmadd_ps(*s, x, x));
    rounds!(avx512, "avx512f", _mm512_set1_ps(1.0), _mm512_set1_ps(0.5), |s, x| _mm512_fmadd_ps(*s, x, x));
    rounds!(dot, "avx512f,avx512bf16", _mm512_set1_ps(1.0), halves(), |s, x| _mm512_dpbf16_ps(*s, x, x));

    fn halves() -> __m512bh {
        // SAFETY: 512 plain bits: 32 times one half in bf16.
        unsafe { std::mem::transmute([0x3f00_3f00_u32; 16]) }
    }
}
