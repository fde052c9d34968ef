//! Cuts sequences into micro-batches of a bounded number of rows and lays each out for the forward and backward pass.
//! Knows token ids only.
//!
//! Neighbours that begin alike, such as the answers to one question, share the rows of their common beginning, in whole
//! key/value blocks. The rows then are those of a tree, depth first: each sequence adds what the one before it has not.
//!
//! ```text
//! sequence 0 | question | answer 0 |
//! sequence 1 | question | answer 1 |     rows | question | answer 0 | answer 1 | answer 2 |
//! sequence 2 | question | answer 2 |
//! ```

use std::ops::Range;
use std::sync::Arc;

use agent0_compute::{KV_BLOCK, Segment};
use agent0_engine::TokenId;

use crate::forward::{Batch, Row};
use crate::lora::LoraWeights;

/// Rows that fill a micro-batch: with more, products are no faster, and memory is touched that was not before.
const AMPLE_ROWS: usize = 512;
/// A sequence joins a filled micro-batch when at least this part of it is there already.
const WORTHWHILE_PART: usize = 4;

/// Consecutive sequences, laid out as rows.
#[derive(Default)]
pub(crate) struct MicroBatch {
    rows: Vec<Row>,
    /// The blocks of each sequence. Blocks are numbered as their rows stand.
    tables: Vec<Vec<u32>>,
    /// First row of each block, and the end of the rows that see it.
    blocks: Vec<Range<usize>>,
}

/// The micro-batches of `inputs`, each with the sequences it holds. Together they have at most `limit` rows, and no more
/// than [`AMPLE_ROWS`] where sharing saves little; but a longer sequence stands alone.
pub(crate) fn micro_batches(inputs: &[&[TokenId]], limit: usize) -> Vec<(Range<usize>, MicroBatch)> {
    let mut batches: Vec<(Range<usize>, MicroBatch)> = Vec::new();
    for (index, sequence) in inputs.iter().enumerate() {
        if let Some((range, batch)) = batches.last_mut() {
            let shared = common_blocks(inputs[index - 1], sequence);
            let worthwhile = WORTHWHILE_PART * shared * KV_BLOCK >= sequence.len();
            let limit = if worthwhile { limit } else { limit.min(AMPLE_ROWS) };
            if batch.rows.len() + sequence.len() - shared * KV_BLOCK <= limit {
                batch.push(sequence, shared);
                range.end = index + 1;
                continue;
            }
        }
        let mut batch = MicroBatch::default();
        batch.push(sequence, 0);
        batches.push((index..index + 1, batch));
    }
    batches
}

/// Full blocks that two sequences begin with alike.
pub(crate) fn common_blocks(a: &[TokenId], b: &[TokenId]) -> usize {
    a.chunks_exact(KV_BLOCK).zip(b.chunks_exact(KV_BLOCK)).take_while(|(a, b)| a == b).count()
}

impl MicroBatch {
    /// Adds a sequence whose first `shared` blocks are those of the one before it.
    fn push(&mut self, sequence: &[TokenId], shared: usize) {
        let mut table = self.tables.last().map_or(Vec::new(), |last| last[..shared].to_vec());
        for (index, tokens) in sequence.chunks(KV_BLOCK).enumerate().skip(shared) {
            table.push(self.blocks.len() as u32);
            self.blocks.push(self.rows.len()..0);
            let row = |(i, &token)| Row { token, sequence: self.tables.len() as u32, position: (index * KV_BLOCK + i) as u32 };
            self.rows.extend(tokens.iter().enumerate().map(row));
        }
        for &block in &table {
            self.blocks[block as usize].end = self.rows.len();
        }
        self.tables.push(table);
    }

    /// Rows in all.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Key/value blocks in all.
    pub(crate) fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// The row of a sequence's token at `position`.
    pub(crate) fn row(&self, sequence: usize, position: usize) -> usize {
        self.blocks[self.tables[sequence][position / KV_BLOCK] as usize].start + position % KV_BLOCK
    }

    /// The work of the forward pass.
    pub(crate) fn batch(&self, weights: Option<Arc<LoraWeights>>) -> Batch<'_> {
        let tables = self.tables.iter().map(Vec::as_slice).collect();
        Batch { rows: self.rows.clone(), tables, adapters: vec![(0..self.rows.len(), weights)] }
    }

    /// Who sees whom, for the backward pass. Neighbouring blocks that are seen up to the same row follow each other in
    /// a sequence, and become one segment.
    pub(crate) fn segments(&self) -> Vec<Segment> {
        let starts = self.blocks.iter().map(|block| block.start);
        let ends = starts.skip(1).chain([self.rows.len()]);
        let mut segments: Vec<Segment> = Vec::new();
        for (block, end) in self.blocks.iter().zip(ends) {
            match segments.last_mut() {
                Some(last) if last.until == block.end => last.rows.end = end,
                _ => segments.push(Segment { rows: block.start..end, until: block.end }),
            }
        }
        segments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `common` tokens that all sequences share, then `own` that depend on `salt`.
    fn sequence(common: u32, own: u32, salt: u32) -> Vec<TokenId> {
        (0..common).chain((0..own).map(|i| 1000 * salt + i)).collect()
    }

    fn lay_out(sequences: &[Vec<TokenId>], limit: usize) -> Vec<(Range<usize>, MicroBatch)> {
        let inputs: Vec<&[TokenId]> = sequences.iter().map(Vec::as_slice).collect();
        micro_batches(&inputs, limit)
    }

    #[test]
    fn the_limit_counts_shared_rows_once() {
        // 40 common tokens are two blocks of 16 and 8 tokens that each sequence keeps for itself.
        let sequences = [sequence(40, 10, 1), sequence(40, 10, 2), sequence(40, 10, 3), sequence(0, 80, 4), sequence(0, 0, 5)];
        let ranges = |limit| lay_out(&sequences, limit).into_iter().map(|(range, _)| range).collect::<Vec<_>>();
        assert_eq!(ranges(50 + 2 * 18), [0..3, 3..5]);
        assert_eq!(ranges(50 + 2 * 18 - 1), [0..2, 2..3, 3..5]);
        assert_eq!(ranges(1), [0..1, 1..2, 2..3, 3..4, 4..5]);
        assert_eq!(lay_out(&[], 10).len(), 0);
    }

    #[test]
    fn a_filled_micro_batch_takes_only_what_shares_much() {
        let counts = |common, own| {
            let sequences: Vec<_> = (0..4).map(|salt| sequence(common, own, salt)).collect();
            lay_out(&sequences, 4 * AMPLE_ROWS).into_iter().map(|(range, _)| range.len()).collect::<Vec<_>>()
        };
        assert_eq!(counts(160, 320), [4]);
        assert_eq!(counts(64, 320), [1, 1, 1, 1]);
        assert_eq!(counts(0, AMPLE_ROWS as u32 / 2), [2, 2]);
    }

    #[test]
    fn every_token_has_its_row_and_every_row_its_readers() {
        let sequences = [sequence(40, 10, 1), sequence(70, 5, 2), sequence(70, 20, 3), sequence(64, 0, 4), sequence(20, 7, 5)];
        let batches = lay_out(&sequences, 1000);
        let (range, micro) = &batches[0];
        assert_eq!((batches.len(), range.clone()), (1, 0..5));
        let batch = micro.batch(None);
        let segments = micro.segments();
        assert!(segments.windows(2).all(|w| w[0].rows.end == w[1].rows.start && w[0].until != w[1].until));
        assert_eq!((segments[0].rows.start, segments[segments.len() - 1].rows.end), (0, micro.len()));
        let sees = |reader: usize, row: usize| {
            let segment = segments.iter().find(|s| s.rows.contains(&row)).unwrap();
            row <= reader && reader < segment.until
        };
        for (s, ids) in sequences.iter().enumerate() {
            let rows: Vec<usize> = (0..ids.len()).map(|p| micro.row(s, p)).collect();
            for (p, (&id, &row)) in ids.iter().zip(&rows).enumerate() {
                assert_eq!((batch.rows[row].token, batch.rows[row].position as usize), (id, p));
                let seen: Vec<usize> = (0..micro.len()).filter(|&other| sees(row, other)).collect();
                assert_eq!(seen, rows[..=p], "sequence {s} position {p}");
            }
        }
        // The first sequence, what the others have of their own, and nothing twice.
        assert_eq!(micro.len(), 50 + (75 - 32) + (90 - 64) + (27 - 16));
    }
}
