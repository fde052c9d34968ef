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
    /// The folders of its standard library and shared libraries.
    pub libraries: Vec<PathBuf>,
    /// The folders of installed packages, in the order of `sys.path`.
    pub packages: Vec<PathBuf>,
}

/// Prints the interpreter as JSON. Asked in isolated mode, so neither the environment nor the current folder has a say.
const QUESTION: &str = r#"
import ctypes, json, os, sys, sysconfig
if sys.version_info < (3, 9):
    sys.exit("it is Python %d.%d, and 3.9 is the oldest that works" % sys.version_info[:2])
libraries = [os.path.join(sys.base_prefix, "lib"), os.path.join(sys.base_prefix, "lib64")]
libraries += [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
packages = [p for p in sys.path if "site-packages" in p or "dist-packages" in p]
print(json.dumps({
    "executable": os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable),
    "libraries": [p for p in libraries if os.path.isdir(p)],
    "packages": [p for p in packages if os.path.isdir(p)],
}))
"#;

impl Interpreter {
    /// Asks the interpreter at `python`, which may be the one of a virtual environment.
    ///
    /// # Errors
    /// [`SandboxError::Python`] when it does not run, is too old, or lacks `ctypes`.
    pub fn ask(python: &Path) -> Result<Self, SandboxError> {
        let unusable = |cause: String| SandboxError::Python { python: python.to_owned(), cause };
        let output = Command::new(python).args(["-I", "-c", QUESTION]).output().map_err(|e| unusable(e.to_string()))?;
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
