//! SIMD kernels over plain slices and the thread pool they share.
