//! The user's Python interpreter: finding it, asking its version, running it and saying what went wrong.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::ProvisionError;

/// The oldest Python that the pinned packages support.
const OLDEST: (u32, u32) = (3, 10);

/// Asks an interpreter who it is. Of a virtual environment, the interpreter below it is the one that lasts.
const WHO: &str = "import os, sys; print(*sys.version_info[:3]); \
    print(os.path.realpath(getattr(sys, '_base_executable', None) or sys.executable))";

/// An interpreter that answers.
#[derive(Debug, Clone)]
pub(crate) struct Python {
    pub(crate) path: PathBuf,
    pub(crate) version: (u32, u32, u32),
}

impl Python {
    /// `explicit`, else `$AGENT0_PYTHON`, else `python3` on the PATH.
    ///
    /// # Errors
    /// When it is missing, does not answer, or is older than 3.10.
    pub(crate) fn find(explicit: Option<&Path>) -> Result<Self, ProvisionError> {
        let from_env = || std::env::var_os("AGENT0_PYTHON").filter(|v| !v.is_empty());
        let program = explicit.map(|p| p.as_os_str().to_owned()).or_else(from_env).unwrap_or_else(|| OsString::from("python3"));
        let name = program.to_string_lossy().into_owned();
        let answer = run(Command::new(&program).args(["-I", "-c", WHO])).map_err(|cause| ProvisionError::NoPython { cause })?;
        let python = parse_who(&answer).ok_or_else(|| ProvisionError::NoPython { cause: format!("{name} did not say its version") })?;
        let (major, minor, _) = python.version;
        if (major, minor) < OLDEST {
            return Err(ProvisionError::NoPython { cause: format!("{name} is Python {major}.{minor}, too old") });
        }
        Ok(python)
    }

    /// The version as text, such as `3.11.7`.
    pub(crate) fn version_text(&self) -> String {
        let (major, minor, patch) = self.version;
        format!("{major}.{minor}.{patch}")
    }

    /// A command that runs a module of this interpreter, in the root: `-m` looks for modules in the present folder first, and that may
    /// hold anybody's.
    pub(crate) fn module(&self, module: &str) -> Command {
        module_of(&self.path, module)
    }
}

/// [`Python::module`] of the interpreter at `path`.
pub(crate) fn module_of(path: &Path, module: &str) -> Command {
    let mut command = Command::new(path);
    command.current_dir("/").args(["-m", module]);
    command
}

fn parse_who(answer: &str) -> Option<Python> {
    let (version, path) = answer.trim().split_once('\n')?;
    let mut numbers = version.split(' ').map(str::parse);
    let mut number = || numbers.next()?.ok();
    Some(Python { version: (number()?, number()?, number()?), path: PathBuf::from(path) })
}

/// Runs a command to its end. Returns its stdout, or in a sentence why it failed, with the end of what it said.
pub(crate) fn run(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("cannot run {name}: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = if output.stderr.iter().all(u8::is_ascii_whitespace) { &output.stdout } else { &output.stderr };
    let said = String::from_utf8_lossy(said);
    let lines: Vec<&str> = said.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let tail = lines[lines.len().saturating_sub(6)..].join(" | ");
    Err(format!("{name} failed ({}): {tail}", output.status))
}

/// Writes an executable script that plays an interpreter. A child process writes it: a file that this process had open for
/// writing could be inherited by another test's child just then, and would be too busy to be run.
#[cfg(test)]
pub(crate) fn write_script(path: &Path, text: &str) {
    let status = Command::new("sh").args(["-c", "printf %s \"$2\" > \"$1\" && chmod +x \"$1\"", "sh"]).arg(path).arg(text).status();
    assert!(status.is_ok_and(|s| s.success()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_read() {
        let python = parse_who("3 11 7\n/usr/bin/python3.11\n").unwrap();
        assert_eq!((python.version, python.version_text().as_str()), ((3, 11, 7), "3.11.7"));
        assert_eq!(python.path, Path::new("/usr/bin/python3.11"));
        assert!(parse_who("Python 2.7").is_none());
    }

    #[test]
    fn a_failing_command_says_why() {
        let cause = run(Command::new("sh").args(["-c", "echo first >&2; echo the reason >&2; exit 3"])).unwrap_err();
        assert!(cause.contains("exit status: 3") && cause.ends_with("first | the reason"), "{cause}");
        assert!(run(&mut Command::new("/nonexistent/python3")).unwrap_err().contains("cannot run /nonexistent/python3"));
    }

    #[test]
    fn a_missing_interpreter_is_named_with_a_remedy() {
        let message = Python::find(Some(Path::new("/nonexistent/python3"))).unwrap_err().to_string();
        assert!(message.contains("/nonexistent/python3") && message.contains("apt install python3"), "{message}");
    }
}
