//! Instruction-set levels: which one the processor has, and the macro that compiles one body for each of them.

use std::fmt;

/// An instruction-set level. Levels compare with `<`: a higher one is at least as fast. Each includes the ones before it of its
/// architecture, but for AVX-VNNI, which laptops have in place of AVX-512, and few processors beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// What the compilation target guarantees (SSE2 on x86-64, NEON on AArch64).
    Portable,
    /// NEON with the dot product of bytes (`FEAT_DotProd`).
    NeonDot,
    /// AVX2 with fused multiply-add.
    Avx2,
    /// AVX2 with the dot product of bytes (AVX-VNNI).
    Avx2Vnni,
    /// AVX-512 F, BW, VL and DQ.
    Avx512,
    /// AVX-512 with the dot product of bytes (VNNI).
    Avx512Vnni,
    /// The same with that of bf16.
    Avx512Bf16,
}

impl Isa {
    const ALL: [Isa; 7] = [Isa::Portable, Isa::NeonDot, Isa::Avx2, Isa::Avx2Vnni, Isa::Avx512, Isa::Avx512Vnni, Isa::Avx512Bf16];

    /// The highest level of this processor.
    pub fn detect() -> Self {
        Isa::Avx512Bf16.lowered()
    }

    /// The highest level of this processor that is no higher than this one.
    pub fn lowered(self) -> Self {
        Self::available().into_iter().rfind(|&isa| isa <= self).unwrap_or(Isa::Portable)
    }

    /// Every level this processor has, lowest first.
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_available()).collect()
    }

    #[cfg(target_arch = "x86_64")]
    fn is_available(self) -> bool {
        use std::arch::is_x86_feature_detected as has;
        match self {
            Isa::Portable => true,
            Isa::NeonDot => false,
            Isa::Avx2 => has!("avx2") && has!("fma"),
            Isa::Avx2Vnni => Isa::Avx2.is_available() && has!("avxvnni"),
            Isa::Avx512 => Isa::Avx2.is_available() && has!("avx512f") && has!("avx512bw") && has!("avx512vl") && has!("avx512dq"),
            Isa::Avx512Vnni => Isa::Avx512.is_available() && has!("avx512vnni"),
            Isa::Avx512Bf16 => Isa::Avx512Vnni.is_available() && has!("avx512bf16"),
        }
    }

    #[cfg(target_arch = "aarch64")]
    fn is_available(self) -> bool {
        self == Isa::Portable || self == Isa::NeonDot && std::arch::is_aarch64_feature_detected!("dotprod")
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn is_available(self) -> bool {
        self == Isa::Portable
    }

    /// Whether a product and the sum it is added to are rounded once, together. All levels that do so give the same bits in
    /// everything; portable code rounds twice where the compilation target has no instruction for it, and gives others.
    pub fn fuses(self) -> bool {
        self >= Isa::Avx2 || PORTABLE_FUSES
    }
}

/// Whether every processor of the compilation target fuses (all of AArch64 do, x86-64 from v3 on).
const PORTABLE_FUSES: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

/// `a * b + c` for portable code.
#[inline(always)]
pub(crate) fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    if PORTABLE_FUSES { a.mul_add(b, c) } else { a * b + c }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Isa::Portable => "portable",
            Isa::NeonDot => "neon-dot",
            Isa::Avx2 => "avx2",
            Isa::Avx2Vnni => "avx2-vnni",
            Isa::Avx512 => "avx512",
            Isa::Avx512Vnni => "avx512-vnni",
            Isa::Avx512Bf16 => "avx512-bf16",
        })
    }
}

/// Compiles `body` once per instruction-set level and calls the copy for the level of a [`Compute`](crate::Compute).
///
/// `simd!(pub(crate) fn axpy(a: f32, x: &[f32], y: &mut [f32]) = axpy_body);` defines `axpy(cx, a, x, y)`.
/// The body is an `#[inline(always)] fn axpy_body(..)` of plain loops, which the compiler vectorises anew in every copy;
/// what it calls must be `#[inline(always)]` too.
macro_rules! simd {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:ident) => {
        $(#[$meta])*
        #[allow(unsafe_code, clippy::too_many_arguments)]
        $vis fn $name(cx: &$crate::pool::Compute, $($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
                fn avx512($($arg: $ty),*) $(-> $ret)? {
                    $body($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $ty),*) $(-> $ret)? {
                    $body($($arg),*)
                }
                // SAFETY: the level of a `Compute` never exceeds what the processor has (`Compute::new`).
                match cx.isa() {
                    $crate::cpu::Isa::Portable | $crate::cpu::Isa::NeonDot => {}
                    $crate::cpu::Isa::Avx2 | $crate::cpu::Isa::Avx2Vnni => return unsafe { avx2($($arg),*) },
                    $crate::cpu::Isa::Avx512 | $crate::cpu::Isa::Avx512Vnni | $crate::cpu::Isa::Avx512Bf16 => {
                        return unsafe { avx512($($arg),*) }
                    }
                }
            }
            let _ = cx;
            $body($($arg),*)
        }
    };
}
pub(crate) use simd;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Compute;

    #[inline(always)]
    fn dot_body(x: &[f32], y: &[f32]) -> f32 {
        x.iter().zip(y).map(|(&x, &y)| x * y).sum()
    }
    simd!(fn dot(x: &[f32], y: &[f32]) -> f32 = dot_body);

    #[test]
    fn every_level_runs_the_stamped_body() {
        let x: Vec<f32> = (0..37).map(|i| i as f32).collect();
        for isa in Isa::available() {
            assert_eq!(dot(&Compute::new(1, isa), &x, &x), 16206.0, "{isa}");
        }
    }

    #[test]
    fn levels_are_ordered_and_end_with_the_detected_one() {
        let levels = Isa::available();
        assert!(levels.is_sorted());
        assert_eq!(levels[0], Isa::Portable);
        assert_eq!(*levels.last().unwrap(), Isa::detect());
    }
}
