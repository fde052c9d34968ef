//! Which key/value blocks are in use, shared or free: reference counts and the prefix cache. Holds no numbers.
//!
//! A full block is known by its tokens and by the block before it, back to the weights it was computed with. So two
//! sequences that begin alike under the same weights share blocks, and a sequence that comes back after a tool call finds
//! most of itself again. Blocks nobody uses stay findable until their room is needed, oldest first.

use std::collections::{BTreeMap, HashMap};

use agent0_compute::KV_BLOCK;
use agent0_engine::TokenId;

/// What a block follows: nothing but its weights, or another cached block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Parent {
    /// First block of a sequence under the weights of this version.
    Weights(u64),
    /// Serial number of the cached block before it.
    Block(u64),
}

type Key = (Parent, [TokenId; KV_BLOCK]);

/// A fixed number of blocks.
pub(crate) struct BlockPool {
    references: Vec<u32>,
    free: Vec<u32>,
    /// Key, serial number and time of last use of cached blocks.
    cached: Vec<Option<(Key, u64, u64)>>,
    by_key: HashMap<Key, u32>,
    /// Cached blocks without references, by time of last use.
    idle: BTreeMap<u64, u32>,
    clock: u64,
}

impl BlockPool {
    pub(crate) fn new(blocks: usize) -> Self {
        Self {
            references: vec![0; blocks],
            free: (0..blocks as u32).rev().collect(),
            cached: vec![None; blocks],
            by_key: HashMap::new(),
            idle: BTreeMap::new(),
            clock: 0,
        }
    }

    /// Blocks in all.
    pub(crate) fn len(&self) -> usize {
        self.references.len()
    }

    /// Blocks that [`BlockPool::allocate`] could give now.
    pub(crate) fn available(&self) -> usize {
        self.free.len() + self.idle.len()
    }

    /// The cached block with these tokens after `parent`, and what follows it; takes no reference.
    pub(crate) fn find(&self, parent: Parent, tokens: &[TokenId]) -> Option<(u32, Parent)> {
        let key = (parent, tokens.try_into().ok()?);
        let block = *self.by_key.get(&key)?;
        self.cached[block as usize].as_ref().map(|(_, serial, _)| (block, Parent::Block(*serial)))
    }

    /// Takes a reference to a cached block.
    pub(crate) fn retain(&mut self, block: u32) {
        self.references[block as usize] += 1;
        if let Some((_, _, used)) = &self.cached[block as usize] {
            self.idle.remove(used);
        }
    }

    /// A block for new tokens, with one reference: a free one, or the longest unused cached one.
    pub(crate) fn allocate(&mut self) -> Option<u32> {
        let block = match self.free.pop() {
            Some(block) => block,
            None => {
                let (_, block) = self.idle.pop_first()?;
                if let Some((key, _, _)) = self.cached[block as usize].take() {
                    self.by_key.remove(&key);
                }
                block
            }
        };
        self.references[block as usize] = 1;
        Some(block)
    }

    /// Makes a filled block findable; returns what the next block follows. When an equal block is cached already,
    /// that one stays the findable one.
    pub(crate) fn register(&mut self, parent: Parent, tokens: &[TokenId], block: u32) -> Parent {
        if let Some((_, next)) = self.find(parent, tokens) {
            return next;
        }
        let Ok(tokens) = tokens.try_into() else { return parent };
        self.clock += 1;
        self.by_key.insert((parent, tokens), block);
        self.cached[block as usize] = Some(((parent, tokens), self.clock, self.clock));
        Parent::Block(self.clock)
    }

    /// Gives the references of a sequence back. Its last blocks are the first to be taken by others: without its beginning the rest of a
    /// prefix cannot be found.
    pub(crate) fn release(&mut self, blocks: &[u32]) {
        for &block in blocks.iter().rev() {
            let at = block as usize;
            self.references[at] -= 1;
            if self.references[at] == 0 {
                self.clock += 1;
                match &mut self.cached[at] {
                    Some((_, _, used)) => {
                        *used = self.clock;
                        self.idle.insert(self.clock, block);
                    }
                    None => self.free.push(block),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(first: u32) -> Vec<TokenId> {
        (first..first + KV_BLOCK as u32).collect()
    }

    #[test]
    fn prefixes_are_found_only_under_their_own_history() {
        let mut pool = BlockPool::new(4);
        let a = pool.allocate().unwrap();
        let b = pool.allocate().unwrap();
        let after_a = pool.register(Parent::Weights(1), &tokens(0), a);
        pool.register(after_a, &tokens(100), b);
        assert_eq!(pool.find(Parent::Weights(1), &tokens(0)), Some((a, after_a)));
        assert!(pool.find(Parent::Weights(2), &tokens(0)).is_none(), "other weights");
        assert!(pool.find(Parent::Weights(1), &tokens(100)).is_none(), "same tokens after something else");
        assert_eq!(pool.find(after_a, &tokens(100)).map(|f| f.0), Some(b));
    }

    #[test]
    fn idle_blocks_are_reused_oldest_first_and_then_forgotten() {
        let mut pool = BlockPool::new(2);
        let a = pool.allocate().unwrap();
        let b = pool.allocate().unwrap();
        pool.register(Parent::Weights(0), &tokens(0), a);
        pool.register(Parent::Weights(0), &tokens(50), b);
        assert!(pool.allocate().is_none());
        pool.release(&[b]);
        pool.release(&[a]);
        pool.retain(b);
        assert_eq!(pool.allocate(), Some(a), "b is in use again");
        assert!(pool.find(Parent::Weights(0), &tokens(0)).is_none());
        assert_eq!(pool.available(), 0);
        pool.release(&[a, b]);
        assert_eq!(pool.available(), 2);
    }
}
