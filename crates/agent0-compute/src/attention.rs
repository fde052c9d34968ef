//! Causal grouped-query attention over paged key/value blocks.
