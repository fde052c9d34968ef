//! RMS normalisation of rows and of heads, forward and backward, and the bias addition.
