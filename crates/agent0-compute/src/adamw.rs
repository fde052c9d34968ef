//! The AdamW update and the gradient norm.
