//! Numbers as signed bytes: groups of 32 that share a scale, `x = q * scale` with `q` in -127..=127.
//!
//! Weights and activations are made of the same groups. In a product the bytes are multiplied and summed as integers,
//! which is exact; only the sums of groups are multiplied by their scales and added up in `f32`.

/// Elements along `k` that share a scale.
pub(crate) const GROUP: usize = 32;
/// Words of four bytes in a group.
pub(crate) const GROUP_ROWS: usize = GROUP / 4;

/// A group of numbers as bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bytes {
    /// Four signed bytes each, the first lowest.
    pub(crate) words: [u32; GROUP_ROWS],
    /// Largest magnitude / 127; NaN where a number of the group was not finite.
    pub(crate) scale: f32,
    /// Sum of the bytes.
    pub(crate) sum: i32,
}

/// Adding it rounds to an integer (nearest, ties to even) and leaves that in the low bits.
const ROUND: f32 = 12_582_912.0;

/// The bytes nearest to `x`.
#[inline(always)]
pub(crate) fn quantize(x: &[f32; GROUP]) -> Bytes {
    let mut largest = [0.0f32; GROUP / 2];
    let mut poison = [0.0f32; GROUP / 2];
    let (low, high) = x.split_at(GROUP / 2);
    for i in 0..GROUP / 2 {
        let (a, b) = (low[i].abs(), high[i].abs());
        largest[i] = if a > b { a } else { b };
        // Zero, unless one of the two is infinite or NaN.
        poison[i] = low[i] * 0.0 + high[i] * 0.0;
    }
    let mut half = GROUP / 4;
    while half > 0 {
        for i in 0..half {
            largest[i] = if largest[i] > largest[i + half] { largest[i] } else { largest[i + half] };
            poison[i] += poison[i + half];
        }
        half /= 2;
    }
    let inverse = if largest[0] > 0.0 { 127.0 / largest[0] } else { 0.0 };
    let bytes: [i8; GROUP] = std::array::from_fn(|i| (x[i] * inverse + ROUND).to_bits() as i8);
    let word = |i: usize| u32::from_le_bytes([bytes[4 * i] as u8, bytes[4 * i + 1] as u8, bytes[4 * i + 2] as u8, bytes[4 * i + 3] as u8]);
    Bytes { words: std::array::from_fn(word), scale: largest[0] / 127.0 + poison[0], sum: bytes.iter().map(|&q| i32::from(q)).sum() }
}

/// Signed bytes as stored in weights: each plus 128, since the processor multiplies unsigned bytes with signed ones.
#[inline(always)]
pub(crate) fn weight_word(signed: u32) -> u32 {
    signed ^ 0x8080_8080
}

/// Byte `i` of a weight word, without the 128.
#[inline(always)]
pub(crate) fn weight_byte(word: u32, i: usize) -> i32 {
    (word >> (8 * i) & 0xff) as i32 - 128
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    #[test]
    fn bytes_are_the_nearest_and_their_sum_is_theirs() {
        for seed in 0..50 {
            let x: [f32; GROUP] = noise(GROUP, seed).try_into().unwrap();
            let bytes = quantize(&x.map(|x| x * 10f32.powi(seed as i32 - 25)));
            let mut sum = 0;
            for (i, &x) in x.iter().enumerate() {
                let q = weight_byte(weight_word(bytes.words[i / 4]), i % 4);
                let x = f64::from(x * 10f32.powi(seed as i32 - 25));
                assert!((f64::from(q) * f64::from(bytes.scale) - x).abs() <= 0.50001 * f64::from(bytes.scale), "{q} for {x}");
                sum += q;
            }
            assert_eq!(sum, bytes.sum);
        }
        let zero = quantize(&[0.0; GROUP]);
        assert_eq!((zero.words, zero.scale, zero.sum), ([0; GROUP_ROWS], 0.0, 0));
    }

    #[test]
    fn ties_go_to_even_and_the_largest_is_127() {
        let mut x = [0.0; GROUP];
        (x[0], x[1], x[2], x[3]) = (-127.0, 0.5, 1.5, -2.5);
        let word = weight_word(quantize(&x).words[0]);
        assert_eq!([0, 1, 2, 3].map(|i| weight_byte(word, i)), [-127, 0, 2, -2]);
    }

    #[test]
    fn what_is_not_finite_shows_in_the_scale() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = [1.0; GROUP];
            x[17] = bad;
            assert!(quantize(&x).scale.is_nan());
        }
    }
}
