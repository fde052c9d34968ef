//! What this machine could do at best: arithmetic from registers alone, and bytes from and to memory. Every speed can be
//! held against these figures (the roofline model: Williams, Waterman and Patterson, 2009).
//!
//! Arithmetic counts a multiply and an add as two operations. It is that of the level of a [`Compute`], so a level that is
//! held down is held against its own peak. Nothing here is a kernel of the engine.
#![allow(unsafe_code)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::cpu::{Isa, multiply_add};
use crate::pool::Compute;

/// Kinds of arithmetic that have a peak of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// Products and sums of `f32`.
    F32,
    /// Products of bf16 summed in `f32`; where there is no bf16 dot product the numbers are widened, and the peak is that
    /// of `f32`.
    Bf16,
    /// Products of 8-bit integers summed in 32 bits.
    Int8,
}

/// The measured limits of a machine, for the threads and the level of one [`Compute`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Roofline {
    /// Operations of `f32` per second.
    pub f32_ops: f64,
    /// Operations of bf16 per second.
    pub bf16_ops: f64,
    /// Operations of 8-bit integers per second.
    pub int8_ops: f64,
    /// Bytes read per second.
    pub read_bytes: f64,
    /// Bytes read plus bytes written per second by a copy.
    pub copy_bytes: f64,
}

impl Roofline {
    /// Measures everything, in two to three seconds. Wants 512 MiB for as long.
    pub fn measure(cx: &Compute) -> Self {
        Self {
            f32_ops: peak(cx, Arithmetic::F32),
            bf16_ops: peak(cx, Arithmetic::Bf16),
            int8_ops: peak(cx, Arithmetic::Int8),
            read_bytes: read_bandwidth(cx),
            copy_bytes: copy_bandwidth(cx),
        }
    }

    /// Operations per second of one kind.
    pub fn ops(&self, arithmetic: Arithmetic) -> f64 {
        match arithmetic {
            Arithmetic::F32 => self.f32_ops,
            Arithmetic::Bf16 => self.bf16_ops,
            Arithmetic::Int8 => self.int8_ops,
        }
    }
}

/// Shortest time, in seconds, of a quarter of a second of repetitions, after one that is not counted.
pub fn best_seconds(mut f: impl FnMut()) -> f64 {
    f();
    let (start, mut best) = (Instant::now(), Duration::MAX);
    while best == Duration::MAX || start.elapsed() < Duration::from_millis(250) {
        let each = Instant::now();
        f();
        best = best.min(each.elapsed());
    }
    best.as_secs_f64()
}

/// Memory that the bandwidths are measured on: far more than any cache holds.
const BYTES: usize = 512 << 20;
/// Words of 8 bytes in it.
const WORDS: usize = BYTES / 8;
/// Parts it is read in, as tasks.
const PARTS: usize = 64;

/// Bytes per second that all threads together read from memory.
pub fn read_bandwidth(cx: &Compute) -> f64 {
    let data = vec![1u64; WORDS];
    let part = WORDS / PARTS;
    let seconds = best_seconds(|| {
        cx.run(PARTS, &|i| {
            let sum = data[i * part..(i + 1) * part].chunks_exact(8).fold([0u64; 8], |sum, x| std::array::from_fn(|j| sum[j] ^ x[j]));
            black_box(sum);
        });
    });
    BYTES as f64 / seconds
}

/// Bytes per second, read and written ones together, that all threads copy from one half of the memory to the other.
pub fn copy_bandwidth(cx: &Compute) -> f64 {
    let from = vec![1u64; WORDS / 2];
    let mut to = vec![0u64; WORDS / 2];
    let part = (WORDS / 2).div_ceil(cx.threads());
    let pieces: Vec<_> = from.chunks(part).zip(to.chunks_mut(part)).map(|(from, to)| (from, std::sync::Mutex::new(to))).collect();
    let seconds = best_seconds(|| {
        cx.run(pieces.len(), &|i| {
            let (from, to) = &pieces[i];
            // Each piece is one task's: nobody ever waits for the lock.
            if let Ok(mut to) = to.lock() {
                to.copy_from_slice(from);
                black_box(&to);
            }
        });
    });
    BYTES as f64 / seconds
}

/// Operations per second of all threads together, from registers alone.
pub fn peak(cx: &Compute, arithmetic: Arithmetic) -> f64 {
    const ROUNDS: usize = 100_000;
    let round = Round::of(cx.isa(), arithmetic);
    let seconds = best_seconds(|| {
        // SAFETY: the level of a `Compute` never exceeds what the processor has.
        cx.run(cx.threads(), &|_| unsafe { (round.run)(ROUNDS) });
    });
    (round.operations * ROUNDS * cx.threads()) as f64 / seconds
}

/// Sums that a round adds to: enough independent ones to cover the latency of every instruction here.
const SUMS: usize = 12;

/// A loop of multiply-adds.
struct Round {
    /// Operations in one of its rounds.
    operations: usize,
    /// Goes through so many rounds. Calling it demands the instruction set that it was chosen for.
    run: unsafe fn(usize),
}

impl Round {
    fn new(multiply_adds: usize, run: unsafe fn(usize)) -> Self {
        Self { operations: 2 * SUMS * multiply_adds, run }
    }

    /// The best multiply-add that a processor at level `isa` has for this arithmetic.
    fn of(isa: Isa, arithmetic: Arithmetic) -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            use Arithmetic::{Bf16, F32, Int8};
            match arithmetic {
                Int8 if isa >= Isa::Avx512Vnni => return Self::new(64, x86::int8_vnni),
                Int8 if isa >= Isa::Avx512 => return Self::new(64, x86::int8_avx512),
                Int8 if isa >= Isa::Avx2Vnni => return Self::new(32, x86::int8_avx2_vnni),
                Int8 if isa >= Isa::Avx2 => return Self::new(32, x86::int8_avx2),
                Bf16 if isa >= Isa::Avx512Bf16 => return Self::new(32, x86::bf16_dot),
                F32 | Bf16 if isa >= Isa::Avx512 => return Self::new(16, x86::f32_avx512),
                F32 | Bf16 if isa >= Isa::Avx2 => return Self::new(8, x86::f32_avx2),
                _ => {}
            }
        }
        #[cfg(target_arch = "aarch64")]
        if (isa, arithmetic) == (Isa::NeonDot, Arithmetic::Int8) {
            return Self::new(16, int8_neon);
        }
        let _ = isa;
        match arithmetic {
            Arithmetic::Int8 => Self::new(4, int8_portable),
            Arithmetic::F32 | Arithmetic::Bf16 => Self::new(4, f32_portable),
        }
    }
}

fn f32_portable(rounds: usize) {
    let (mut sums, half) = (black_box([[1.0f32; 4]; SUMS]), black_box(0.5));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = sum.map(|s| multiply_add(s, half, half));
        }
    }
    black_box(sums);
}

fn int8_portable(rounds: usize) {
    let (mut sums, three) = (black_box([[1i32; 4]; SUMS]), black_box(3i8));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = sum.map(|s| (s as i8 as i32 * i32::from(three)).wrapping_add(s));
        }
    }
    black_box(sums);
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon,dotprod")]
fn int8_neon(rounds: usize) {
    use std::arch::{aarch64::vdupq_n_s32, asm};
    let (mut sums, x) = (black_box([vdupq_n_s32(1); SUMS]), black_box(vdupq_n_s32(0x0101_0101)));
    for _ in 0..rounds {
        for sum in &mut sums {
            // SAFETY: only `sum` changes. (The intrinsic is not stable yet.)
            unsafe {
                asm!("sdot {0:v}.4s, {1:v}.16b, {1:v}.16b", inout(vreg) *sum, in(vreg) x, options(pure, nomem, nostack, preserves_flags))
            };
        }
    }
    black_box(sums);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::SUMS;
    use std::arch::x86_64::*;
    use std::hint::black_box;

    /// A loop whose every multiply-add depends on its own sum, so that none can be left out.
    macro_rules! rounds {
        ($name:ident, $features:literal, $one:expr, $x:expr, |$sum:ident, $factor:ident| $step:expr) => {
            #[target_feature(enable = $features)]
            pub(super) fn $name(rounds: usize) {
                let (mut sums, $factor) = (black_box([$one; SUMS]), black_box($x));
                for _ in 0..rounds {
                    for sum in &mut sums {
                        let $sum = *sum;
                        *sum = $step;
                    }
                }
                black_box(sums);
            }
        };
    }

    rounds!(f32_avx2, "avx2,fma", _mm256_set1_ps(1.0), _mm256_set1_ps(0.5), |s, x| _mm256_fmadd_ps(s, x, x));
    rounds!(f32_avx512, "avx512f", _mm512_set1_ps(1.0), _mm512_set1_ps(0.5), |s, x| _mm512_fmadd_ps(s, x, x));
    rounds!(bf16_dot, "avx512f,avx512bf16", _mm512_set1_ps(1.0), halves(), |s, x| _mm512_dpbf16_ps(s, x, x));
    rounds!(int8_avx2_vnni, "avx2,avxvnni", _mm256_set1_epi32(1), _mm256_set1_epi8(1), |s, x| _mm256_dpbusd_avx_epi32(s, x, x));
    rounds!(int8_vnni, "avx512f,avx512vnni", _mm512_set1_epi32(1), _mm512_set1_epi8(1), |s, x| _mm512_dpbusd_epi32(s, x, x));
    // Without a dot product: bytes to 16-bit pairs, those to 32-bit pairs, and a sum.
    rounds!(int8_avx512, "avx512f,avx512bw", _mm512_set1_epi32(1), _mm512_set1_epi8(1), |s, x| {
        _mm512_add_epi32(s, _mm512_madd_epi16(_mm512_maddubs_epi16(x, s), x))
    });
    rounds!(int8_avx2, "avx2", _mm256_set1_epi32(1), _mm256_set1_epi8(1), |s, x| {
        _mm256_add_epi32(s, _mm256_madd_epi16(_mm256_maddubs_epi16(x, s), x))
    });

    fn halves() -> __m512bh {
        // SAFETY: 512 plain bits: 32 times one half in bf16.
        unsafe { std::mem::transmute([0x3f00_3f00_u32; 16]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loop_runs_at_every_level() {
        for isa in Isa::available() {
            for arithmetic in [Arithmetic::F32, Arithmetic::Bf16, Arithmetic::Int8] {
                let round = Round::of(isa, arithmetic);
                // SAFETY: the level is one of this processor's.
                unsafe { (round.run)(3) };
                assert!(round.operations.is_multiple_of(2 * SUMS), "{isa} {arithmetic:?}");
            }
        }
    }

    #[test]
    fn a_wider_level_counts_more_operations() {
        for arithmetic in [Arithmetic::F32, Arithmetic::Bf16, Arithmetic::Int8] {
            let counts: Vec<usize> = Isa::available().into_iter().map(|isa| Round::of(isa, arithmetic).operations).collect();
            assert!(counts.is_sorted(), "{arithmetic:?}: {counts:?}");
        }
    }
}
