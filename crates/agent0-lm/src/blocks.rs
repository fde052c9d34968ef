//! Number formats of stored weights, and reading them as f32. Knows nothing of what the numbers mean.
//!
//! The block layouts are ggml's: a block is a fixed number of consecutive weights of one row with their scales.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlockType {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
}

/// Bytes read from the file at a time: they stay in cache until they are decoded.
const READ_BYTES: usize = 1 << 16;

impl BlockType {
    /// The format that a GGUF file means by `id`.
    pub(crate) fn from_ggml(id: u32) -> Option<Self> {
        Some(match id {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            6 => Self::Q5_0,
            7 => Self::Q5_1,
            8 => Self::Q8_0,
            12 => Self::Q4K,
            13 => Self::Q5K,
            14 => Self::Q6K,
            30 => Self::Bf16,
            _ => return None,
        })
    }

    /// Weights in a block.
    pub(crate) fn weights(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q4K | Self::Q5K | Self::Q6K => 256,
        }
    }

    /// Bytes of a block.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }

    /// Bytes of `weights` stored weights; `None` when they do not fill whole blocks or the number overflows.
    pub(crate) fn stored_bytes(self, weights: usize) -> Option<usize> {
        if weights.is_multiple_of(self.weights()) { (weights / self.weights()).checked_mul(self.bytes()) } else { None }
    }

    /// Fills `out`, a whole number of blocks, from the bytes of `file` at `offset`.
    ///
    /// The file is read, not mapped: a mapped file that someone shortens kills the program, and a copy out of the page cache
    /// costs little beside decoding.
    pub(crate) fn read(self, file: &File, mut offset: u64, out: &mut [f32]) -> io::Result<()> {
        let blocks = (READ_BYTES / self.bytes()).min(out.len() / self.weights());
        let mut buffer = vec![0; blocks * self.bytes()];
        for part in out.chunks_mut((blocks * self.weights()).max(1)) {
            let bytes = &mut buffer[..part.len() / self.weights() * self.bytes()];
            file.read_exact_at(bytes, offset)?;
            self.decode(bytes, part);
            offset += bytes.len() as u64;
        }
        Ok(())
    }

    /// Decodes whole blocks.
    fn decode(self, bytes: &[u8], out: &mut [f32]) {
        match self {
            Self::F32 => each(bytes, out, |b: &[u8; 4], y: &mut [f32; 1]| y[0] = f32::from_le_bytes(*b)),
            Self::F16 => each(bytes, out, |b: &[u8; 2], y: &mut [f32; 1]| y[0] = f16(b, 0)),
            Self::Bf16 => each(bytes, out, |b: &[u8; 2], y: &mut [f32; 1]| y[0] = f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16)),
            Self::Q4_0 => each(bytes, out, q4_0),
            Self::Q4_1 => each(bytes, out, q4_1),
            Self::Q5_0 => each(bytes, out, q5_0),
            Self::Q5_1 => each(bytes, out, q5_1),
            Self::Q8_0 => each(bytes, out, q8_0),
            Self::Q4K => each(bytes, out, q4_k),
            Self::Q5K => each(bytes, out, q5_k),
            Self::Q6K => each(bytes, out, q6_k),
        }
    }
}

/// Applies `decode` to each block.
fn each<const B: usize, const W: usize>(bytes: &[u8], out: &mut [f32], decode: impl Fn(&[u8; B], &mut [f32; W])) {
    for (block, weights) in bytes.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        decode(block, weights);
    }
}

fn f16(bytes: &[u8], at: usize) -> f32 {
    half::f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// f16 scale, 16 bytes of two 4-bit numbers: low halves are weights 0..16, high halves 16..32.
fn q4_0(block: &[u8; 18], y: &mut [f32; 32]) {
    let d = f16(block, 0);
    for (j, &q) in block[2..].iter().enumerate() {
        y[j] = (i32::from(q & 15) - 8) as f32 * d;
        y[j + 16] = (i32::from(q >> 4) - 8) as f32 * d;
    }
}

/// f16 scale, f16 minimum, numbers as in `q4_0`.
fn q4_1(block: &[u8; 20], y: &mut [f32; 32]) {
    let (d, m) = (f16(block, 0), f16(block, 2));
    for (j, &q) in block[4..].iter().enumerate() {
        y[j] = f32::from(q & 15) * d + m;
        y[j + 16] = f32::from(q >> 4) * d + m;
    }
}

/// The 5-bit numbers of weights `j` and `j + 16`: fifth bits in `high`, the others in `low` as in `q4_0`.
fn five_bits(high: &[u8], low: &[u8], j: usize) -> (u8, u8) {
    let bit = |i: usize| (high[i / 8] >> (i % 8) & 1) << 4;
    (low[j] & 15 | bit(j), low[j] >> 4 | bit(j + 16))
}

/// f16 scale, 4 bytes of fifth bits, 16 of the others.
fn q5_0(block: &[u8; 22], y: &mut [f32; 32]) {
    let d = f16(block, 0);
    for j in 0..16 {
        let (a, b) = five_bits(&block[2..6], &block[6..], j);
        y[j] = (i32::from(a) - 16) as f32 * d;
        y[j + 16] = (i32::from(b) - 16) as f32 * d;
    }
}

/// f16 scale, f16 minimum, 4 bytes of fifth bits, 16 of the others.
fn q5_1(block: &[u8; 24], y: &mut [f32; 32]) {
    let (d, m) = (f16(block, 0), f16(block, 2));
    for j in 0..16 {
        let (a, b) = five_bits(&block[4..8], &block[8..], j);
        y[j] = f32::from(a) * d + m;
        y[j + 16] = f32::from(b) * d + m;
    }
}

/// f16 scale, 32 signed bytes.
fn q8_0(block: &[u8; 34], y: &mut [f32; 32]) {
    let d = f16(block, 0);
    for (y, &q) in y.iter_mut().zip(&block[2..]) {
        *y = f32::from(q as i8) * d;
    }
}

/// 6-bit scale and minimum of sub-block `j` of 8, packed in 12 bytes.
fn scale_min(packed: &[u8], j: usize) -> (f32, f32) {
    let (scale, min) = if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        (packed[j + 4] & 15 | packed[j - 4] >> 6 << 4, packed[j + 4] >> 4 | packed[j] >> 6 << 4)
    };
    (f32::from(scale), f32::from(min))
}

/// f16 scale of scales, f16 scale of minima, 12 bytes of both, 128 bytes: each 32 hold a sub-block in their low halves and
/// the next one in their high halves.
fn q4_k(block: &[u8; 144], y: &mut [f32; 256]) {
    let (d, dmin) = (f16(block, 0), f16(block, 2));
    for j in 0..8 {
        let (scale, min) = scale_min(&block[4..16], j);
        let (scale, min) = (d * scale, dmin * min);
        let quants = &block[16 + j / 2 * 32..][..32];
        for (y, q) in y[j * 32..].iter_mut().zip(quants) {
            *y = scale * f32::from(q >> (j % 2 * 4) & 15) - min;
        }
    }
}

/// As `q4_k`, with 32 bytes of fifth bits before the numbers: bit `j` of each byte belongs to sub-block `j`.
fn q5_k(block: &[u8; 176], y: &mut [f32; 256]) {
    let (d, dmin) = (f16(block, 0), f16(block, 2));
    let high = &block[16..48];
    for j in 0..8 {
        let (scale, min) = scale_min(&block[4..16], j);
        let (scale, min) = (d * scale, dmin * min);
        let quants = &block[48 + j / 2 * 32..][..32];
        for ((y, q), h) in y[j * 32..].iter_mut().zip(quants).zip(high) {
            *y = scale * f32::from(q >> (j % 2 * 4) & 15 | (h >> j & 1) << 4) - min;
        }
    }
}

/// 128 bytes of low 4 bits, 64 of high 2 bits, 16 signed scales (one per 16 weights), f16 scale of scales. Each half of 128
/// weights is four runs of 32: low bits of runs 0 and 2 share bytes, so do 1 and 3; the high bits of all four share bytes.
fn q6_k(block: &[u8; 210], y: &mut [f32; 256]) {
    let d = f16(block, 208);
    for (i, y) in y.iter_mut().enumerate() {
        let (half, run, at) = (i / 128, i / 32 % 4, i % 32);
        let low = block[half * 64 + run % 2 * 32 + at] >> (run / 2 * 4) & 15;
        let high = block[128 + half * 32 + at] >> (run * 2) & 3;
        let scale = d * f32::from(block[192 + i / 16] as i8);
        *y = scale * (i32::from(low | high << 4) - 32) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// Random blocks of every type and their values by the reference implementation of ggml's Python package.
    const BLOCKS: &[u8] = include_bytes!("../tests/fixtures/blocks.safetensors");

    const NAMES: [(&str, BlockType); 11] = [
        ("F32", BlockType::F32),
        ("F16", BlockType::F16),
        ("BF16", BlockType::Bf16),
        ("Q4_0", BlockType::Q4_0),
        ("Q4_1", BlockType::Q4_1),
        ("Q5_0", BlockType::Q5_0),
        ("Q5_1", BlockType::Q5_1),
        ("Q8_0", BlockType::Q8_0),
        ("Q4_K", BlockType::Q4K),
        ("Q5_K", BlockType::Q5K),
        ("Q6_K", BlockType::Q6K),
    ];

    fn values(bytes: &[u8]) -> Vec<f32> {
        bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
    }

    #[test]
    fn every_type_decodes_to_the_reference_values_bit_for_bit() {
        let fixture = safetensors::SafeTensors::deserialize(BLOCKS).unwrap();
        for (name, kind) in NAMES {
            let stored = fixture.tensor(&format!("{name}.stored")).unwrap();
            let expected = values(fixture.tensor(&format!("{name}.values")).unwrap().data());
            assert_eq!(kind.stored_bytes(expected.len()), Some(stored.data().len()), "{name}");
            let mut decoded = vec![f32::NAN; expected.len()];
            kind.decode(stored.data(), &mut decoded);
            let same = decoded.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same, "{name}");
        }
    }

    #[test]
    fn reading_in_pieces_gives_what_one_pass_gives() {
        let kind = BlockType::Q8_0;
        let blocks = 3 * READ_BYTES / 34 + 7;
        let bytes: Vec<u8> = (0..blocks * kind.bytes()).map(|i| if i % 34 == 1 { 0x3c } else { (i * 7919 / 8) as u8 }).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"skipped").unwrap();
        file.write_all(&bytes).unwrap();

        let (mut pieces, mut whole) = (vec![0.0; blocks * 32], vec![0.0; blocks * 32]);
        kind.read(&file, 7, &mut pieces).unwrap();
        kind.decode(&bytes, &mut whole);
        assert_eq!(pieces, whole);
        assert!(kind.read(&file, 8, &mut pieces).is_err(), "past the end of the file");
    }

    #[test]
    fn a_part_of_a_block_is_no_tensor() {
        assert_eq!(BlockType::Q4K.stored_bytes(255), None);
        assert_eq!(BlockType::F32.stored_bytes(usize::MAX), None);
    }
}
