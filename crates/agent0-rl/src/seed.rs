//! Seeds of random streams, derived along a path (algorithm.md section 7). Draws no random numbers itself.

/// The seed of one random stream, or of all streams below it.
///
/// Seeds form a tree: `Seed::root(run).child("iteration").child(2).child("task").child(17)`. The same path gives the
/// same seed whatever else was derived before, so a result does not depend on what ran together with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seed(u64);

/// One step of a seed's path. Text and numbers are different steps: `"3"` is not `3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag<'a> {
    /// A name, such as a phase.
    Name(&'a str),
    /// A place in a list.
    Index(u64),
}

impl<'a> From<&'a str> for Tag<'a> {
    fn from(name: &'a str) -> Self {
        Tag::Name(name)
    }
}

impl From<u64> for Tag<'_> {
    fn from(index: u64) -> Self {
        Tag::Index(index)
    }
}

impl From<usize> for Tag<'_> {
    fn from(index: usize) -> Self {
        Tag::Index(index as u64)
    }
}

impl Seed {
    /// The seed of a whole run.
    pub fn root(run: u64) -> Self {
        Seed(mix(run ^ ROOT))
    }

    /// The seed of one branch below this one.
    pub fn child<'a>(self, tag: impl Into<Tag<'a>>) -> Self {
        let step = match tag.into() {
            Tag::Index(index) => mix(index ^ INDEX),
            Tag::Name(name) => mix(fnv1a(name.as_bytes()) ^ NAME),
        };
        // The parent is mixed again before the step joins it: the order of steps counts, and equal steps never cancel.
        Seed(mix(mix(self.0.wrapping_add(GOLDEN)) ^ step))
    }

    /// The numbers below `n` in an order drawn by this seed.
    pub fn shuffled(self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by_key(|&index| (self.child(index).value(), index));
        order
    }

    /// The seed as a number, for a generator.
    pub fn value(self) -> u64 {
        self.0
    }
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
// Digits of pi; they keep roots, numbers and names apart.
const ROOT: u64 = 0x243f_6a88_85a3_08d3;
const INDEX: u64 = 0x1319_8a2e_0370_7344;
const NAME: u64 = 0xa409_3822_299f_31d0;

/// The finaliser of SplitMix64 (Stafford's variant 13): a bijection in which every input bit moves half of the output.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The 64-bit FNV-1a hash.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn paths_do_not_collide() {
        let root = Seed::root(0);
        let mut seen = HashSet::from([root]);
        for phase in ["curriculum", "frontier", "executor"] {
            for task in 0..100u64 {
                for sample in 0..100u64 {
                    assert!(seen.insert(root.child(phase).child(task).child(sample)));
                }
            }
        }
    }

    #[test]
    fn order_kind_and_run_matter() {
        let root = Seed::root(7);
        assert_ne!(root.child(1u64).child(2u64), root.child(2u64).child(1u64));
        assert_ne!(root.child("1"), root.child(1u64));
        assert_ne!(root.child(5u64).child(5u64), root);
        assert_ne!(root, Seed::root(8));
        assert_eq!(root.child("task").child(3usize), root.child("task").child(3u64));
    }

    /// Stored runs depend on these values: changing the derivation breaks their resume.
    #[test]
    fn derivation_is_fixed() {
        assert_eq!(Seed::root(42).child("executor").child(3u64).value(), 5_229_908_124_358_899_168);
    }

    #[test]
    fn neighbouring_seeds_share_half_of_their_bits() {
        let root = Seed::root(1);
        let differing: u32 = (0..1000u64).map(|i| (root.child(i).value() ^ root.child(i + 1).value()).count_ones()).sum();
        assert!((31_000..33_000).contains(&differing), "{differing}");
    }

    #[test]
    fn an_order_is_a_permutation_that_depends_on_the_seed() {
        let (a, b) = (Seed::root(1).shuffled(40), Seed::root(2).shuffled(40));
        assert_ne!(a, b);
        assert_eq!(a, Seed::root(1).shuffled(40));
        let mut sorted = a;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..40).collect::<Vec<_>>());
        assert!(Seed::root(1).shuffled(0).is_empty());
    }
}
