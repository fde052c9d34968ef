//! SHA-256 of files, and stamps that remember a verified file so that it need not be read again.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use crate::ProvisionError;
use crate::progress::Task;

/// Lower-case hex of a digest.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// SHA-256 of some text, lower-case hex.
pub fn sha256_text(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

/// SHA-256 of a file, lower-case hex.
pub(crate) fn sha256_file(path: &Path, task: &Task) -> Result<String, ProvisionError> {
    let mut file = File::open(path).map_err(ProvisionError::io("open", path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut done = 0;
    loop {
        let n = file.read(&mut buffer).map_err(ProvisionError::io("read", path))?;
        if n == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..n]);
        done += n as u64;
        task.advanced(done);
    }
}

/// SHA-256 of a file, lower-case hex, without a word on how far it is.
///
/// # Errors
/// When it cannot be read.
pub fn file_sha256(path: &Path) -> Result<String, ProvisionError> {
    sha256_file(path, &Task::start(&|_| {}, String::new(), None))
}

/// What a stamp says: this digest was found in the file of this path, size and modification time.
fn stamp_text(path: &Path, sha256: &str) -> Result<String, ProvisionError> {
    let meta = fs::metadata(path).map_err(ProvisionError::io("look at", path))?;
    Ok(format!("sha256 {sha256}\nbytes {}\nmodified {}\npath {}\n", meta.len(), modified(&meta), path.display()))
}

/// Modification time in nanoseconds since 1970; 0 where it is not known.
pub(crate) fn modified(meta: &fs::Metadata) -> u64 {
    meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).and_then(|d| d.as_nanos().try_into().ok()).unwrap_or(0)
}

/// Whether `stamp` still vouches for the file.
pub(crate) fn is_stamped(stamp: &Path, path: &Path, sha256: &str) -> bool {
    fs::read_to_string(stamp).is_ok_and(|found| stamp_text(path, sha256).is_ok_and(|text| text == found))
}

/// Remembers that the file was verified. A stamp half written is one that does not match, so no care is needed.
pub(crate) fn write_stamp(stamp: &Path, path: &Path, sha256: &str) -> Result<(), ProvisionError> {
    fs::write(stamp, stamp_text(path, sha256)?).map_err(ProvisionError::io("write", stamp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_vouches_for_the_unchanged_file_only() {
        let dir = tempfile::tempdir().unwrap();
        let (file, stamp) = (dir.path().join("f"), dir.path().join("f.verified"));
        fs::write(&file, "abc").unwrap();
        let task = Task::start(&|_| {}, String::new(), None);
        let digest = sha256_file(&file, &task).unwrap();
        assert_eq!(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(digest, sha256_text("abc"));
        assert!(!is_stamped(&stamp, &file, &digest));
        write_stamp(&stamp, &file, &digest).unwrap();
        assert!(is_stamped(&stamp, &file, &digest));
        assert!(!is_stamped(&stamp, &file, &sha256_text("abd")));
        let before = fs::metadata(&file).unwrap().modified().unwrap();
        fs::write(&file, "abd").unwrap();
        File::options().write(true).open(&file).unwrap().set_modified(before + std::time::Duration::from_secs(1)).unwrap();
        assert!(!is_stamped(&stamp, &file, &digest));
    }
}
