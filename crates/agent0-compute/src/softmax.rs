//! Log-softmax statistics and their backward pass.
