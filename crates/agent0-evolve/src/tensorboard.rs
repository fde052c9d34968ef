//! TensorBoard event files with scalars: TFRecord framing, masked CRC-32C and the two protobuf messages they need,
//! encoded by hand. The files are a view of the store: rewritten from it when a run is opened, then appended to.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Writes one event file.
pub struct EventWriter {
    file: File,
}

impl EventWriter {
    /// Starts afresh in `folder`: older event files of this writer are removed.
    pub fn create(folder: &Path, time: f64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("events.out.tfevents.") {
                fs::remove_file(entry.path())?;
            }
        }
        let file = File::create(folder.join(format!("events.out.tfevents.{:010}.agent0", time as u64)))?;
        let mut writer = Self { file };
        let mut version = Vec::new();
        put_double(&mut version, WALL_TIME, time);
        put_bytes(&mut version, FILE_VERSION, b"brain.Event:2");
        writer.record(&version)?;
        Ok(writer)
    }

    /// Appends `value` of the curve `tag` at `step`; `time` is Unix time in seconds.
    pub fn scalar(&mut self, tag: &str, step: u64, value: f32, time: f64) -> io::Result<()> {
        let mut entry = Vec::new();
        put_bytes(&mut entry, TAG, tag.as_bytes());
        put_key(&mut entry, SIMPLE_VALUE, FIXED32);
        entry.extend(value.to_le_bytes());
        let mut summary = Vec::new();
        put_bytes(&mut summary, VALUE, &entry);
        let mut event = Vec::new();
        put_double(&mut event, WALL_TIME, time);
        put_key(&mut event, STEP, VARINT);
        put_varint(&mut event, step);
        put_bytes(&mut event, SUMMARY, &summary);
        self.record(&event)
    }

    /// TFRecord: length, its checksum, data, its checksum, in one write.
    fn record(&mut self, data: &[u8]) -> io::Result<()> {
        let length = (data.len() as u64).to_le_bytes();
        let mut record = Vec::with_capacity(data.len() + 16);
        record.extend(length);
        record.extend(masked_crc(&length).to_le_bytes());
        record.extend(data);
        record.extend(masked_crc(data).to_le_bytes());
        self.file.write_all(&record)
    }
}

// Fields of tensorflow.Event, Summary and Summary.Value.
const WALL_TIME: u64 = 1;
const STEP: u64 = 2;
const FILE_VERSION: u64 = 3;
const SUMMARY: u64 = 5;
const VALUE: u64 = 1;
const TAG: u64 = 1;
const SIMPLE_VALUE: u64 = 2;

// Protobuf wire types.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED32: u64 = 5;

fn put_key(out: &mut Vec<u8>, field: u64, wire_type: u64) {
    put_varint(out, field << 3 | wire_type);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_key(out, field, LENGTH);
    put_varint(out, bytes.len() as u64);
    out.extend(bytes);
}

fn put_double(out: &mut Vec<u8>, field: u64, value: f64) {
    put_key(out, field, FIXED64);
    out.extend(value.to_le_bytes());
}

fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), bit by bit: a few hundred bytes per step need no table.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_has_its_known_values() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[]), 0);
    }

    /// The bytes that the reader of the `tensorboard` package accepts.
    #[test]
    fn a_file_reads_as_records_with_valid_checksums() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(folder.path(), 1_700_000_000.5).unwrap();
        writer.scalar("executor/reward_mean", 300, 0.25, 1_700_000_001.0).unwrap();
        let bytes = fs::read(folder.path().join("events.out.tfevents.1700000000.agent0")).unwrap();
        let mut rest = bytes.as_slice();
        let mut records = Vec::new();
        while !rest.is_empty() {
            let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
            let length = word(0) as usize;
            assert_eq!((word(4), word(8)), (0, masked_crc(&rest[..8])));
            let data = &rest[12..12 + length];
            assert_eq!(word(12 + length), masked_crc(data));
            records.push(data.to_vec());
            rest = &rest[16 + length..];
        }
        assert_eq!(records.len(), 2);
        assert!(records[0].ends_with(b"brain.Event:2"));
        let mut expected = vec![0x09];
        expected.extend(1_700_000_001.0f64.to_le_bytes());
        expected.extend([0x10, 0xac, 0x02, 0x2a, 29, 0x0a, 27, 0x0a, 20]);
        expected.extend(b"executor/reward_mean");
        expected.push(0x15);
        expected.extend(0.25f32.to_le_bytes());
        assert_eq!(records[1], expected);
    }

    #[test]
    fn opening_again_replaces_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("notes.txt"), "mine").unwrap();
        drop(EventWriter::create(folder.path(), 1.0).unwrap());
        drop(EventWriter::create(folder.path(), 2.0).unwrap());
        let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["events.out.tfevents.0000000002.agent0", "notes.txt"]);
    }
}
