//! The Python tool's environment: a private virtual environment with pinned packages, made once per interpreter and pins.
//!
//! It is built in its final place, because virtual environments cannot be moved, and a stamp written last marks it complete:
//! a set-up that was killed is done again from the beginning.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::{Cache, lock, remove};
use crate::digest::sha256_text;
use crate::progress::{Progress, Task};
use crate::python::{Python, module_of, run};
use crate::{Event, ProvisionError};

/// Bytes that an environment takes at most, downloads included.
const ROOM: u64 = 500 << 20;
const STAMP: &str = "agent0-complete";
/// Prints which modules there are of those that environments are made with.
const MAKERS: &str = "from importlib.util import find_spec as found; print(*(m for m in ('venv', 'ensurepip', 'pip') if found(m)))";
/// The ways to make one.
const OWN_PIP: &str = "venv with its own pip";
const SYSTEM_PIP: &str = "venv with the system's pip";
const UV: &str = "uv";
/// Prints `name==version` of what can really be imported.
const IMPORTED: &str = "import numpy, sympy, math_verify; from importlib.metadata import version as v; \
    print(*(f'{n}=={v(n)}' for n in ('numpy', 'sympy', 'math-verify')), sep='\\n')";

/// A ready environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PythonEnv {
    /// Its interpreter.
    pub python: PathBuf,
    /// Its Python version, such as `3.11.7`.
    pub version: String,
    /// What was asked for, as `name==version`.
    pub packages: Vec<String>,
}

/// The packages for a Python version: exact versions of the three that are used and of all that they need.
/// math-verify 0.9.0 needs Python 3.10; numpy 2.2 is the last series for 3.10, 2.4 covers 3.11 to 3.14.
fn pins(version: (u32, u32, u32)) -> Vec<String> {
    let numpy = if (version.0, version.1) < (3, 11) { "numpy==2.2.6" } else { "numpy==2.4.6" };
    let others =
        ["sympy==1.14.0", "mpmath==1.3.0", "math-verify==0.9.0", "latex2sympy2-extended==1.11.0", "antlr4-python3-runtime==4.13.2"];
    [numpy].into_iter().chain(others).map(str::to_string).collect()
}

/// The environment for the user's Python (`base_python`, else `$AGENT0_PYTHON`, else `python3`), made first if need be.
///
/// # Errors
/// No Python of 3.10 or newer, no way to make a virtual environment, no package index in reach, no space.
pub fn python_env(cache: &Cache, base_python: Option<&Path>, progress: Progress) -> Result<PythonEnv, ProvisionError> {
    let base = Python::find(base_python)?;
    let (folder, env) = place(cache, &base)?;
    if is_complete(&folder, &env) {
        return Ok(env);
    }
    let _lock = lock(&folder.with_added_extension("lock"), "the Python environment", progress)?;
    if is_complete(&folder, &env) {
        return Ok(env);
    }
    remove(&folder)?;
    cache.check_space("the Python environment", ROOM)?;
    let _task = Task::start(progress, format!("setting up Python {} with numpy, sympy and math-verify", env.version), None);
    build(&base, &folder, &env, progress)?;
    check(&folder, &env)?;
    let stamp = folder.join(STAMP);
    fs::write(&stamp, env.packages.join("\n")).map_err(ProvisionError::io("write", &stamp))?;
    Ok(env)
}

/// How things stand with the environment that [`python_env`] gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PythonOutlook {
    /// The interpreter that it is made of, and its version.
    pub base: PathBuf,
    /// Such as `3.11.7`.
    pub version: String,
    /// Whether it is there.
    pub is_made: bool,
    /// What it would be made with; `None` when there is nothing of the kind.
    pub maker: Option<&'static str>,
}

/// Looks without making anything.
///
/// # Errors
/// No Python of 3.10 or newer.
pub fn python_outlook(cache: &Cache, base_python: Option<&Path>) -> Result<PythonOutlook, ProvisionError> {
    let base = Python::find(base_python)?;
    let (folder, env) = place(cache, &base)?;
    let modules = run(Command::new(&base.path).args(["-c", MAKERS])).unwrap_or_default();
    let maker = maker(&modules, || run(Command::new("uv").arg("--version")).is_ok());
    Ok(PythonOutlook { is_made: is_complete(&folder, &env), version: base.version_text(), base: base.path, maker })
}

/// Where the environment of an interpreter is, or is to be.
fn place(cache: &Cache, base: &Python) -> Result<(PathBuf, PythonEnv), ProvisionError> {
    let packages = pins(base.version);
    let identity = format!("{}\n{}\n{}", base.version_text(), base.path.display(), packages.join("\n"));
    let name = format!("{}.{}-{}", base.version.0, base.version.1, &sha256_text(&identity)[..12]);
    let folder = cache.folder("python")?.join(&name);
    let env = PythonEnv { python: folder.join("bin/python"), version: base.version_text(), packages };
    Ok((folder, env))
}

fn is_complete(folder: &Path, env: &PythonEnv) -> bool {
    folder.join(STAMP).is_file() && env.python.exists()
}

/// The first way to make an environment that has what it needs, in the order in which they are tried.
fn maker(modules: &str, has_uv: impl FnOnce() -> bool) -> Option<&'static str> {
    let has = |module| modules.split_whitespace().any(|found| found == module);
    match (has("venv"), has("ensurepip"), has("pip")) {
        (true, true, _) => Some(OWN_PIP),
        (true, false, true) => Some(SYSTEM_PIP),
        _ => has_uv().then_some(UV),
    }
}

/// A way to make an environment: the command that makes the folder and the one that installs, up to the package names.
struct Way {
    name: &'static str,
    make: Command,
    install: Command,
}

/// Tries the ways in order. A way whose folder cannot be made or whose installer does not run is passed over; one that
/// runs and cannot get the packages ends the search, for the others would ask the same index.
fn build(base: &Python, folder: &Path, env: &PythonEnv, progress: Progress) -> Result<(), ProvisionError> {
    let mut causes = Vec::new();
    for mut way in ways(base, folder, env) {
        if let Err(cause) = run(&mut way.make) {
            progress(Event::Note(format!("{}: not possible here", way.name)));
            causes.push(format!("{}: {cause}", way.name));
            remove(folder)?;
            continue;
        }
        return run(way.install.args(&env.packages)).map(drop).map_err(|cause| ProvisionError::PythonEnv {
            path: folder.to_path_buf(),
            cause,
            remedy: "Check that pip can install packages here (network, proxy, index settings, a wheel for this Python), then try again",
        });
    }
    Err(ProvisionError::PythonEnv {
        path: folder.to_path_buf(),
        cause: causes.join("; "),
        remedy: "Install what makes virtual environments: `apt install python3-venv` (or python3-pip, or uv), then try again",
    })
}

fn ways(base: &Python, folder: &Path, env: &PythonEnv) -> Vec<Way> {
    const OPTIONS: [&str; 6] = ["install", "--quiet", "--no-input", "--disable-pip-version-check", "--only-binary", ":all:"];
    let venv = |options: &[&str]| {
        let mut command = base.module("venv");
        command.args(options).arg(folder);
        command
    };
    let own_pip = || {
        let mut command = module_of(&env.python, "pip");
        command.args(OPTIONS);
        command
    };
    // Debian ships `venv` without `ensurepip`: make the folder bare, and let the system's pip install into it.
    let system_pip = || {
        let mut command = base.module("pip");
        command.arg("--python").arg(&env.python).args(OPTIONS);
        command
    };
    let uv = |args: &[&str]| {
        let mut command = Command::new("uv");
        command.args(args).arg("--quiet").arg("--python");
        command
    };
    let mut uv_make = uv(&["venv"]);
    uv_make.arg(&base.path).arg(folder);
    let mut uv_install = uv(&["pip", "install", "--only-binary", ":all:"]);
    uv_install.arg(&env.python);
    let mut ways = vec![Way { name: OWN_PIP, make: venv(&["--clear"]), install: own_pip() }];
    if run(base.module("pip").arg("--version")).is_ok() {
        ways.push(Way { name: SYSTEM_PIP, make: venv(&["--clear", "--without-pip"]), install: system_pip() });
    }
    ways.push(Way { name: UV, make: uv_make, install: uv_install });
    ways
}

/// Imports what was installed and compares the versions.
fn check(folder: &Path, env: &PythonEnv) -> Result<(), ProvisionError> {
    let wrong = |cause: String| ProvisionError::PythonEnv {
        path: folder.to_path_buf(),
        cause,
        remedy: "The packages do not work with this Python; set AGENT0_PYTHON to another interpreter (3.10 to 3.14)",
    };
    let imported = run(Command::new(&env.python).args(["-I", "-c", IMPORTED])).map_err(wrong)?;
    match imported.lines().find(|line| !env.packages.iter().any(|pin| pin == line)) {
        Some(other) => Err(wrong(format!("{other} was installed, expected one of {}", env.packages.join(", ")))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
