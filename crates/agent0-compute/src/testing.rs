//! What the tests of the kernels share.

use crate::{Compute, Isa};

/// `n` numbers in [-1, 1) that depend on `seed` only.
pub(crate) fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

/// Every instruction set the processor has, each on one thread and on two.
pub(crate) fn computes() -> Vec<Compute> {
    Isa::available().into_iter().flat_map(|isa| [Compute::new(1, isa), Compute::new(2, isa)]).collect()
}

/// Fails where `got` is further from `expected` than `tolerance`, absolute and relative taken together.
#[track_caller]
pub(crate) fn assert_close(got: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len());
    for (i, (&g, &e)) in got.iter().zip(expected).enumerate() {
        let error = (f64::from(g) - e).abs();
        assert!(error <= tolerance * (1.0 + e.abs()), "element {i}: {g} instead of {e}");
    }
}

/// Runs `kernel` on every instruction set; one thread and two must give the same bits, and so must all sets that fuse
/// multiply-adds. Returns the results, one per set.
#[track_caller]
pub(crate) fn on_all(kernel: impl Fn(&Compute) -> Vec<f32>) -> Vec<(Isa, Vec<f32>)> {
    let mut results: Vec<(Isa, Vec<f32>)> = Vec::new();
    for pair in computes().chunks(2) {
        let (isa, one, two) = (pair[0].isa(), kernel(&pair[0]), kernel(&pair[1]));
        assert!(one.iter().zip(&two).all(|(a, b)| a.to_bits() == b.to_bits()), "{isa}: threads change the result");
        if let Some((other, expected)) = results.iter().find(|(other, _)| other.fuses() && isa.fuses()) {
            // What NaN looks like is nobody's promise.
            let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
            assert!(one.len() == expected.len() && one.iter().zip(expected).all(same), "{isa} and {other} give different bits");
        }
        results.push((isa, one));
    }
    results
}

/// As doubles.
pub(crate) fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}
