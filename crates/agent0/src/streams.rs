//! Standard output and standard error, as the whole program writes to them. Either may go away while it works: the `head` of a pipe has
//! read enough, Ctrl-C ends the `tee` too, a terminal is closed. `std`'s own macros panic then, so these take their names.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};

/// `std::println!`, but a reader that has gone is none that has to be told.
macro_rules! println {
    ($($text:tt)+) => { $crate::streams::print(format_args!("{}\n", format_args!($($text)+))) };
}

/// `std::print!`, likewise.
macro_rules! print {
    ($($text:tt)+) => { $crate::streams::print(format_args!($($text)+)) };
}

/// `std::eprintln!`, but nothing is done where it cannot be heard.
macro_rules! eprintln {
    ($($text:tt)+) => { $crate::streams::remark(format_args!("{}\n", format_args!($($text)+))) };
}

/// `std::eprint!`, likewise.
macro_rules! eprint {
    ($($text:tt)+) => { $crate::streams::remark(format_args!($($text)+)) };
}

/// Standard output, for results. Once its reader has gone, what is written is dropped: the work is done to its end all the same.
pub struct Results;

impl Write for Results {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stdout().write(bytes).or_else(|error| if_gone(error, bytes.len()))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush().or_else(|error| if_gone(error, ()))
    }
}

/// Standard error, for all else. Nothing ends because nobody hears of it.
pub struct Remarks;

impl Write for Remarks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a result. Where it cannot be kept, as on a full disk, the program fails: whoever waits for it must not take it for an empty one.
pub fn print(text: Arguments) {
    let mut out = io::stdout().lock();
    let written = out.write_fmt(text).and_then(|()| out.flush());
    if let Err(error) = written.or_else(|error| if_gone(error, ())) {
        eprintln!("agent0: writing to standard output: {error}");
        std::process::exit(1);
    }
}

/// Says something on standard error.
pub fn remark(text: Arguments) {
    let _ = io::stderr().lock().write_fmt(text);
}

/// `done` where the error is that nobody reads any more.
fn if_gone<T>(error: io::Error, done: T) -> io::Result<T> {
    if error.kind() == ErrorKind::BrokenPipe { Ok(done) } else { Err(error) }
}
