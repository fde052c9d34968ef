//! What there is of Python: the interpreter, and whether its environment for the tool is made already or can be made.

use std::path::{Path, PathBuf};
use std::process::Command;

use agent0_provision::Cache;

/// Prints the version and the interpreter that lasts: of a virtual environment, the one below it.
const WHO: &str = "import os, sys; print(*sys.version_info[:3], sep='.'); \
    print(os.path.realpath(getattr(sys, '_base_executable', None) or sys.executable))";
/// Prints which modules there are of those that environments are made with.
const MAKERS: &str = "from importlib.util import find_spec as found; print(*(m for m in ('venv', 'ensurepip', 'pip') if found(m)))";
/// Marks an environment in the cache as complete.
const STAMP: &str = "agent0-complete";

/// An interpreter.
#[derive(Debug, PartialEq)]
pub struct Python {
    /// Such as `3.11.7`.
    pub version: String,
    path: PathBuf,
}

impl Python {
    /// Asks the interpreter `program`. The error says why it cannot be used.
    pub fn ask(program: &Path) -> Result<Self, String> {
        let answer = answer(program, &["-I", "-c", WHO])?;
        let (version, path) = answer.trim().split_once('\n').ok_or("it does not say its version")?;
        Ok(Self { version: version.to_owned(), path: path.into() })
    }

    /// Whether the packages that the tool uses can be had for it.
    pub fn is_new_enough(&self) -> bool {
        let mut numbers = self.version.split('.').map_while(|number| number.parse::<u32>().ok());
        (numbers.next(), numbers.next()) >= (Some(3), Some(10))
    }

    /// Whether the cache has a complete environment of this interpreter.
    pub fn has_environment(&self, cache: &Cache) -> bool {
        let environments = std::fs::read_dir(cache.root().join("python")).into_iter().flatten().flatten().map(|entry| entry.path());
        environments.filter(|path| path.join(STAMP).is_file()).any(|path| Self::ask(&path.join("bin/python")).as_ref() == Ok(self))
    }

    /// What its environment can be made with, if there is something.
    pub fn maker(&self) -> Option<&'static str> {
        let modules = answer(&self.path, &["-c", MAKERS]).unwrap_or_default();
        maker(&modules, || answer(Path::new("uv"), &["--version"]).is_ok())
    }
}

/// The first way that works, in the order in which they are tried.
fn maker(modules: &str, has_uv: impl FnOnce() -> bool) -> Option<&'static str> {
    let has = |module| modules.split_whitespace().any(|found| found == module);
    match (has("venv"), has("ensurepip"), has("pip")) {
        (true, true, _) => Some("venv with its own pip"),
        (true, false, true) => Some("venv with the system's pip"),
        _ => has_uv().then_some("uv"),
    }
}

/// What a program that ends well says.
fn answer(program: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output().map_err(|cause| cause.to_string())?;
    if output.status.success() { Ok(String::from_utf8_lossy(&output.stdout).into_owned()) } else { Err(output.status.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_can_be_made_in_several_ways() {
        for (modules, uv, way) in [
            ("venv ensurepip pip", false, Some("venv with its own pip")),
            ("venv pip", true, Some("venv with the system's pip")),
            ("venv", true, Some("uv")),
            ("ensurepip pip", false, None),
            ("", false, None),
        ] {
            assert_eq!(maker(modules, || uv), way, "{modules}, {uv}");
        }
    }

    #[test]
    fn versions_are_compared_by_number() {
        let is_new_enough = |version: &str| Python { version: version.into(), path: PathBuf::new() }.is_new_enough();
        assert_eq!(["3.9.18", "3.10.0", "3.14.1", "2.7.18", "4.0.0", "?"].map(is_new_enough), [false, true, true, false, true, false]);
    }

    #[test]
    fn a_complete_environment_of_the_same_interpreter_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path()).unwrap();
        let python = Python::ask(Path::new("python3")).unwrap();
        assert!(!python.has_environment(&cache));
        let environment = folder.path().join("python/3.x-0");
        std::fs::create_dir_all(environment.join("bin")).unwrap();
        std::os::unix::fs::symlink(&python.path, environment.join("bin/python")).unwrap();
        assert!(!python.has_environment(&cache), "one that is not complete counts for nothing");
        std::fs::write(environment.join(STAMP), "").unwrap();
        assert!(python.has_environment(&cache));
        assert!(!Python { version: "3.0.0".into(), ..python }.has_environment(&cache));
    }
}
