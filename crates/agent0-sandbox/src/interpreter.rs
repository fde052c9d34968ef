//! Asking a Python interpreter which files it needs.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::SandboxError;

/// A Python interpreter and the files that it needs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Interpreter {
    /// The executable behind all links and virtual environments.
    pub executable: PathBuf,
    /// The folder that it is installed in.
    pub prefix: PathBuf,
    /// The folders of its standard library and shared libraries.
    pub libraries: Vec<PathBuf>,
    /// The folders that packages are installed in, in the order of `sys.path`.
    pub places: Vec<PathBuf>,
    /// The files and folders there that belong to allowed packages.
    pub packages: Vec<PathBuf>,
}

/// Prints the interpreter as JSON.
const QUESTION: &str = include_str!("interpreter.py");

impl Interpreter {
    /// Asks the interpreter at `python`, which may be the one of a virtual environment. Packages are distributions by name, with what they
    /// require; `extra` ones must be installed.
    ///
    /// # Errors
    /// [`SandboxError::Python`] when it does not run, is too old, lacks `ctypes` or an extra package.
    pub fn ask(python: &Path, packages: &[String], extra: &[String]) -> Result<Self, SandboxError> {
        let unusable = |cause: String| SandboxError::Python { python: python.to_owned(), cause };
        let output = Command::new(python)
            .args(["-I", "-c", QUESTION, &packages.join(" "), &extra.join(" ")])
            .output()
            .map_err(|e| unusable(e.to_string()))?;
        if !output.status.success() {
            return Err(unusable(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        serde_json::from_slice(&output.stdout).map_err(|e| unusable(format!("it gave a strange answer ({e})")))
    }

    /// Every path that must be readable.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(&self.executable).chain(&self.libraries).chain(&self.packages).map(PathBuf::as_path)
    }
}
