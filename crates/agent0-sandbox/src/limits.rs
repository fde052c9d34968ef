//! What one call may use.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::SandboxError;

/// What one call may use. CPU time judges; wall-clock time is only a backstop for code that sleeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// CPU time of the call, all its threads together, in seconds (at least 1).
    pub cpu_s: u64,
    /// Wall-clock time from the moment the call's process exists, in seconds. Time in the queue does not count, nor does time in which
    /// it was ready to run and others had the CPUs: a busy machine turns no answer into a timeout.
    pub wall_s: f64,
    /// Address space in bytes, the preloaded modules included (they take 130 to 250 MB of it).
    pub memory_bytes: u64,
    /// Size of a file, in the scratch folder if there is one.
    pub file_bytes: u64,
    /// Open files.
    pub open_files: u64,
    /// Threads. Without namespaces, of all the calls that run at the same time together.
    pub threads: u64,
    /// Bytes kept of stdout and of stderr, each: half from the beginning and half from the end.
    pub output_keep: usize,
    /// Bytes of stdout or of stderr at which the call is killed.
    pub output_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self::with_cpu(5)
    }
}

impl Limits {
    /// The default limits with `cpu_s` seconds of CPU time, and a wall-clock backstop of four times that or 10 s, whichever is more.
    pub fn with_cpu(cpu_s: u64) -> Self {
        Self {
            cpu_s,
            wall_s: (4.0 * cpu_s as f64).max(10.0),
            memory_bytes: 1 << 30,
            file_bytes: 16 << 20,
            open_files: 64,
            threads: 128,
            output_keep: 64 << 10,
            output_max: 4 << 20,
        }
    }

    /// The same for a call with a scratch folder of `bytes`, which a single file may fill.
    pub fn with_scratch(self, bytes: Option<u64>) -> Self {
        Self { file_bytes: self.file_bytes.max(bytes.unwrap_or(0)), ..self }
    }

    /// The wall-clock backstop.
    ///
    /// # Errors
    /// [`SandboxError::Limits`] when a limit is not one that the kernel can hold.
    pub(crate) fn wall(&self) -> Result<Duration, SandboxError> {
        let refuse = |what: &str| Err(SandboxError::Limits(what.to_owned()));
        if self.cpu_s == 0 {
            return refuse("cpu_s must be at least 1");
        }
        match Duration::try_from_secs_f64(self.wall_s) {
            Ok(wall) if !wall.is_zero() && wall < Duration::from_secs(1 << 32) => Ok(wall),
            _ => refuse("wall_s must be more than 0 seconds and less than a century"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_backstop_follows_the_cpu_limit() {
        assert_eq!(Limits::default().wall_s, 20.0);
        assert_eq!(Limits::with_cpu(1).wall_s, 10.0);
    }

    #[test]
    fn one_file_may_fill_the_scratch_folder() {
        let file_bytes = |scratch| Limits::default().with_scratch(scratch).file_bytes;
        assert_eq!([file_bytes(None), file_bytes(Some(1 << 20)), file_bytes(Some(64 << 20))], [16 << 20, 16 << 20, 64 << 20]);
    }

    #[test]
    fn senseless_limits_are_refused() {
        for wall_s in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Limits { wall_s, ..Limits::default() }.wall().is_err(), "{wall_s}");
        }
        assert!(Limits::with_cpu(0).wall().is_err());
        assert!(Limits::default().wall().is_ok());
    }
}
