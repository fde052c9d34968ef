//! SIMD kernels over plain slices and the thread pool they share.
//!
//! The nouns. [`Isa`] is an instruction-set level, found at run time. [`Compute`] is a level together with a pool of
//! threads; every kernel takes one. [`PackedMatrix`] is a frozen weight matrix laid out once for [`gemm`]. All other
//! operands are row-major `f32` slices with a row stride `ld` in elements.
//!
//! Two promises hold for every kernel. Its bits do not depend on the thread count: work is split by outputs only, and
//! each output is reduced in one fixed order. And a row's result does not depend on which rows it is batched with.
//!
//! No model is known here: which kernel follows which is the business of `agent0-lm`.

mod activation;
mod adamw;
mod attention;
mod bf16;
mod buffer;
mod cpu;
mod dot;
mod exp;
mod gemm;
mod gemm_tn;
mod lanes;
mod norm;
mod pool;
pub mod roofline;
mod rope;
mod share;
mod softmax;
#[cfg(test)]
mod testing;

pub use activation::*;
pub use adamw::*;
pub use attention::*;
pub use buffer::AlignedBuffer;
pub use cpu::Isa;
pub use gemm::{Dtype, PackedMatrix, Write, gemm};
pub use gemm_tn::gemm_tn;
pub use norm::*;
pub use pool::Compute;
pub use rope::*;
pub use share::for_rows;
pub use softmax::*;
