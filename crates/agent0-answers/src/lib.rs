//! What the final answer of a text is, and when two answers are the same.
