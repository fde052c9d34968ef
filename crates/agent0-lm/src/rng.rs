//! Counter-based random numbers: draw `i` of a stream depends on the stream's seed and `i` alone.

/// A stream of random numbers (SplitMix64: a Weyl sequence through a 64-bit finaliser).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stream {
    seed: u64,
}

impl Stream {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed: mix(seed) }
    }

    /// The stream of the `index`-th sequence of a request.
    pub(crate) fn of_sequence(seed: u64, index: usize) -> Self {
        Self::new(mix(seed).wrapping_add(index as u64))
    }

    /// Number `index` of the stream, uniform in [0, 1) with 53 random bits.
    pub(crate) fn uniform(&self, index: u64) -> f64 {
        let bits = mix(self.seed.wrapping_add((index + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        (bits >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_uniform_and_independent_of_each_other() {
        let mean = |s: Stream| (0..4000).map(|i| s.uniform(i)).sum::<f64>() / 4000.0;
        for index in 0..20 {
            assert!((mean(Stream::of_sequence(7, index)) - 0.5).abs() < 0.03);
        }
        let (a, b) = (Stream::of_sequence(7, 0), Stream::of_sequence(7, 1));
        let agreement = (0..4000).filter(|&i| (a.uniform(i) < 0.5) == (b.uniform(i) < 0.5)).count();
        assert!((1800..2200).contains(&agreement), "{agreement}");
        assert_ne!(Stream::new(0).uniform(0), Stream::new(1).uniform(0));
    }
}
