//! Steps of the launcher that may fail, and steps tried out in a process of their own. Their errors cross process boundaries as text.
#![allow(unsafe_code)]

use std::io::{self, Read, Write};
use std::path::Path;

use crate::sys::check;

/// A step's result; the error says what was attempted and what the system answered.
pub type Attempt<T> = Result<T, String>;

/// Naming what failed.
pub trait Failure<T> {
    /// Names what was attempted.
    fn attempt(self, what: &str) -> Attempt<T>;
    /// Names what was attempted with a path.
    fn attempt_at(self, what: &str, path: &Path) -> Attempt<T>;
}

impl<T> Failure<T> for io::Result<T> {
    fn attempt(self, what: &str) -> Attempt<T> {
        self.map_err(|error| format!("{what}: {error}"))
    }

    fn attempt_at(self, what: &str, path: &Path) -> Attempt<T> {
        self.map_err(|error| format!("{what} {}: {error}", path.display()))
    }
}

/// Runs `work` in a forked process, which ends with it, and brings back its result. Processes forked by `work` may go on in its place.
pub fn in_helper(work: impl FnOnce() -> Attempt<()>) -> Attempt<()> {
    const DONE: &str = "done";
    let (mut reader, mut writer) = io::pipe().attempt("making a pipe")?;
    // SAFETY: this process has one thread, so the child can go on as its parent would.
    let helper = check(unsafe { libc::fork() }).attempt("forking a helper")? as i32;
    if helper == 0 {
        let result = work();
        let _ = writer.write_all(result.as_ref().err().map_or(DONE, String::as_str).as_bytes());
        // SAFETY: ends this process at once.
        unsafe { libc::_exit(0) }
    }
    drop(writer);
    let mut result = String::new();
    let read = reader.read_to_string(&mut result);
    wait_for(helper);
    read.attempt("hearing from a helper")?;
    match result.as_str() {
        DONE => Ok(()),
        "" => Err("a helper process was killed".into()),
        failure => Err(failure.into()),
    }
}

/// Waits for a child process and returns its exit code (128 when a signal killed it).
pub fn wait_for(child: i32) -> i32 {
    let mut status = 0;
    // SAFETY: `status` is a valid place for the result.
    while check(unsafe { libc::waitpid(child, &mut status, 0) }).is_err_and(|e| e.kind() == io::ErrorKind::Interrupted) {}
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 }
}
