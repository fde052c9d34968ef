//! SwiGLU, forward and backward.
