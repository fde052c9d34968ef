//! How a call ended, and the bounded capture of what it wrote.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use crate::names::{Names, Renamer};

/// What a call did, and what it used. Whatever ended it, the output up to then is here.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// How it ended.
    pub status: Status,
    /// Its standard output; when longer than `Limits::output_keep`, the beginning and the end of it.
    pub stdout: String,
    /// Its standard error, bounded in the same way. Tracebacks are here.
    pub stderr: String,
    /// CPU time used (user and system) in seconds.
    pub cpu_s: f64,
    /// Wall-clock time from the start of its process to its end, in seconds.
    pub wall_s: f64,
    /// Peak resident memory, the shared pages of the preloaded modules included.
    pub peak_rss_bytes: u64,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It ran to its end: 0, or 1 after an uncaught exception, or what it gave `sys.exit`.
    Finished {
        /// The exit code.
        code: i32,
    },
    /// A signal killed it, such as 11 after a fault in native code.
    Signal(i32),
    /// It used up its CPU time.
    CpuLimit,
    /// It was still there at the wall-clock backstop.
    WallLimit,
    /// The kernel killed it because the machine was out of memory. Reaching `Limits::memory_bytes` is a `MemoryError` instead.
    MemoryLimit,
    /// It wrote more than `Limits::output_max` bytes.
    OutputLimit,
}

impl Status {
    /// Whether it ran to its end with exit code 0.
    pub fn is_success(self) -> bool {
        self == Self::Finished { code: 0 }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished { code } => write!(f, "finished with exit code {code}"),
            Self::Signal(signal) => write!(f, "killed by signal {signal}{}", signal_name(*signal)),
            Self::CpuLimit => write!(f, "killed: CPU time limit"),
            Self::WallLimit => write!(f, "killed: time limit"),
            Self::MemoryLimit => write!(f, "killed: out of memory"),
            Self::OutputLimit => write!(f, "killed: too much output"),
        }
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        libc::SIGSEGV => " (segmentation fault)",
        libc::SIGABRT => " (abort)",
        libc::SIGFPE => " (arithmetic fault)",
        libc::SIGBUS => " (bus error)",
        libc::SIGILL => " (illegal instruction)",
        libc::SIGSYS => " (forbidden system call)",
        _ => "",
    }
}

/// Keeps the beginning and the end of a stream of bytes, up to the byte at which the stream is too long.
#[derive(Debug)]
pub(crate) struct Capture {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    /// Bytes that came, before renaming.
    came: usize,
    /// Bytes after renaming.
    total: usize,
    keep: usize,
    max: usize,
    renamer: Renamer,
}

impl Capture {
    pub fn new(keep: usize, max: usize, names: Arc<Names>) -> Self {
        Self { head: Vec::new(), tail: VecDeque::new(), came: 0, total: 0, keep, max, renamer: Renamer::new(names) }
    }

    /// Takes the next bytes. What lies beyond the maximum is dropped, so that the text does not depend on when the writer was killed.
    pub fn push(&mut self, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(self.max.saturating_sub(self.came))];
        self.came += bytes.len();
        let renamed = self.renamer.push(bytes);
        self.take(&renamed);
    }

    fn take(&mut self, bytes: &[u8]) {
        self.total += bytes.len();
        let (head, rest) = bytes.split_at(bytes.len().min(self.head_room()));
        self.head.extend_from_slice(head);
        let tail_keep = self.keep / 2;
        if rest.len() >= tail_keep {
            self.tail.clear();
        }
        self.tail.extend(&rest[rest.len().saturating_sub(tail_keep)..]);
        let excess = self.tail.len().saturating_sub(tail_keep);
        self.tail.drain(..excess);
    }

    /// Whether the stream reached its maximum.
    pub fn is_full(&self) -> bool {
        self.came >= self.max
    }

    /// The text, with a line in the middle that says how much is missing.
    pub fn text(mut self) -> String {
        let rest = self.renamer.finish();
        self.take(&rest);
        let missing = self.total - self.head.len() - self.tail.len();
        if missing == 0 {
            self.head.extend(self.tail);
            return String::from_utf8_lossy(&self.head).into_owned();
        }
        let tail: Vec<u8> = self.tail.into();
        format!("{}\n[... {missing} bytes left out ...]\n{}", String::from_utf8_lossy(&self.head), String::from_utf8_lossy(&tail))
    }

    fn head_room(&self) -> usize {
        (self.keep - self.keep / 2) - self.head.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(keep: usize, max: usize, pieces: &[&str]) -> String {
        let mut capture = Capture::new(keep, max, Arc::default());
        for piece in pieces {
            capture.push(piece.as_bytes());
        }
        capture.text()
    }

    #[test]
    fn short_output_is_whole() {
        assert_eq!(capture(8, 100, &["ab", "", "cde", "fgh"]), "abcdefgh");
    }

    #[test]
    fn long_output_keeps_both_ends_however_it_arrives() {
        let whole = "abcdXXXXXwxyz";
        let wanted = "abcd\n[... 5 bytes left out ...]\nwxyz";
        assert_eq!(capture(8, 100, &[whole]), wanted);
        for cut in 0..whole.len() {
            assert_eq!(capture(8, 100, &[&whole[..cut], &whole[cut..]]), wanted, "cut at {cut}");
        }
    }

    #[test]
    fn nothing_beyond_the_maximum_is_seen() {
        assert_eq!(capture(8, 6, &["abcd", "efgh"]), "abcdef");
        let mut full = Capture::new(8, 6, Arc::default());
        full.push(b"abcde");
        assert!(!full.is_full());
        full.push(b"f");
        assert!(full.is_full());
    }
}
