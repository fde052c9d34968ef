//! Numbers as signed bytes: groups of 64 that share a scale, `x = q * scale`.
//!
//! Weights and activations are made of the same groups. In a product the bytes are multiplied and summed as integers,
//! which is exact; only the sums of groups are multiplied by their scales and added up in `f32`.
//!
//! Activations have `q` in -127..=127, weights in -64..=64. With the 64 that is added to them when they are stored, two products of
//! a weight and an activation are at most 2 * 128 * 127 = 32,512 together, which 16 bits hold: processors without an 8-bit dot
//! product sum pairs of products in 16 bits, and are half as fast again as with weights of 8 bits.

/// Elements along `k` that share a scale.
pub(crate) const GROUP: usize = 64;
/// Words of four bytes in a group.
pub(crate) const GROUP_ROWS: usize = GROUP / 4;

/// A group of numbers as bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bytes {
    /// Four signed bytes each: byte `b` of word `w` is number `16 b + w`, so that words are made without moving numbers between
    /// lanes. The order within a group does not matter to its sum.
    pub(crate) words: [u32; GROUP_ROWS],
    /// Largest magnitude / largest byte, zero for zeros; NaN where a number of the group was not finite.
    pub(crate) scale: f32,
    /// Sum of the bytes.
    pub(crate) sum: i32,
}

/// Adding it rounds to an integer (nearest, ties to even) and leaves that in the low bits.
const ROUND: f32 = 12_582_912.0;

/// Largest byte of activations ...
const ACTIVATION: f32 = 127.0;
/// ... and of weights, which is added to them when they are stored.
pub(crate) const WEIGHT: i32 = 64;

/// The bytes nearest to activations; all zero where even the largest is next to nothing (below 1e-36).
#[inline(always)]
pub(crate) fn quantize_activations(x: &[f32; GROUP]) -> Bytes {
    quantize(x, ACTIVATION)
}

/// The same for weights.
#[inline(always)]
pub(crate) fn quantize_weights(x: &[f32; GROUP]) -> Bytes {
    quantize(x, WEIGHT as f32)
}

#[inline(always)]
fn quantize(x: &[f32; GROUP], largest_byte: f32) -> Bytes {
    // As integers, magnitudes keep their order, NaN comes after infinity, and a compiler may take them in any order.
    let largest = x.iter().fold(0, |largest, x| x.abs().to_bits().max(largest));
    let largest = f32::from_bits(largest);
    let inverse = if (1e-36..f32::INFINITY).contains(&largest) { largest_byte / largest } else { 0.0 };
    let scale = if inverse > 0.0 { largest / largest_byte } else { largest * 0.0 };
    let (mut words, mut sum) = ([0u32; GROUP_ROWS], 0i32);
    for (i, x) in x.chunks_exact(GROUP_ROWS).enumerate() {
        for (word, x) in words.iter_mut().zip(x) {
            let q = (x * inverse + ROUND).to_bits().wrapping_sub(ROUND.to_bits());
            *word |= (q & 0xff) << (8 * i);
            sum += q as i32;
        }
    }
    Bytes { words, scale, sum }
}

/// Signed bytes as stored in weights: each plus [`WEIGHT`], since processors multiply unsigned bytes with signed ones.
#[inline(always)]
pub(crate) fn weight_word(signed: u32) -> u32 {
    // With 128 added to each, none borrows from the next.
    (signed ^ 0x8080_8080) - (0x8080_8080 - WEIGHT as u32 * 0x0101_0101)
}

/// Byte `i` of a weight word, without what was added.
#[inline(always)]
pub(crate) fn weight_byte(word: u32, i: usize) -> i32 {
    (word >> (8 * i) & 0xff) as i32 - WEIGHT
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    #[test]
    fn bytes_are_the_nearest_and_their_sum_is_theirs() {
        for (quantize, largest) in [(quantize_activations as fn(&_) -> _, 127), (quantize_weights, 64)] {
            for seed in 0..50 {
                let x: [f32; GROUP] = noise(GROUP, seed).try_into().unwrap();
                let bytes = quantize(&x.map(|x| x * 10f32.powi(seed as i32 - 25)));
                let (mut sum, mut most) = (0, 0);
                for (i, &x) in x.iter().enumerate() {
                    let q = i32::from((bytes.words[i % GROUP_ROWS] >> (8 * (i / GROUP_ROWS))) as i8);
                    let x = f64::from(x * 10f32.powi(seed as i32 - 25));
                    assert!((f64::from(q) * f64::from(bytes.scale) - x).abs() <= 0.50001 * f64::from(bytes.scale), "{q} for {x}");
                    (sum, most) = (sum + q, most.max(q.abs()));
                }
                assert_eq!((sum, most), (bytes.sum, largest));
            }
            let zero = quantize(&[0.0; GROUP]);
            assert_eq!((zero.words, zero.scale, zero.sum), ([0; GROUP_ROWS], 0.0, 0));
        }
    }

    #[test]
    fn ties_go_to_even() {
        let mut x = [0.0; GROUP];
        (x[0], x[1], x[2], x[3]) = (-127.0, 0.5, 1.5, -2.5);
        let words = quantize_activations(&x).words;
        assert_eq!([0, 1, 2, 3].map(|i| words[i] as u8 as i8), [-127, 0, 2, -2]);
    }

    #[test]
    fn stored_weights_come_back() {
        for q in -WEIGHT..=WEIGHT {
            let word = weight_word(u32::from_le_bytes([q, -q, WEIGHT, -WEIGHT].map(|q| q as u8)));
            assert_eq!([0, 1, 2, 3].map(|i| weight_byte(word, i)), [q, -q, WEIGHT, -WEIGHT]);
        }
    }

    #[test]
    fn what_is_not_finite_shows_in_the_scale() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = [1.0; GROUP];
            x[17] = bad;
            assert!(quantize_activations(&x).scale.is_nan() && quantize_weights(&x).scale.is_nan());
        }
    }
}
