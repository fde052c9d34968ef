//! What the tests share: a sandbox with math-verify.
#![allow(dead_code, reason = "each test file uses some of it")]

pub mod perturb;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use agent0_answers::MathVerify;
use agent0_provision::{Cache, python_env};
use agent0_sandbox::{Sandbox, SandboxConfig};

/// A sandbox with `python`.
pub fn sandbox(python: PathBuf, preload: &[&str]) -> Sandbox {
    let preload = preload.iter().map(|module| (*module).to_owned()).collect();
    Sandbox::start(SandboxConfig { preload, ..SandboxConfig::new(python) }).unwrap()
}

/// The interpreter that has math-verify.
pub fn python() -> PathBuf {
    python_env(&Cache::open().unwrap(), None, &|_| {}).unwrap().python
}

/// An interpreter that has not: that of the system, or the one that the tests are told of.
pub fn base_python() -> PathBuf {
    std::env::var_os("AGENT0_TEST_PLAIN_PYTHON").unwrap_or_else(|| "python3".into()).into()
}

/// A sandbox with math-verify that all tests of a file share.
pub fn shared_sandbox() -> Arc<Sandbox> {
    static SANDBOX: OnceLock<Arc<Sandbox>> = OnceLock::new();
    SANDBOX.get_or_init(|| Arc::new(sandbox(python(), &MathVerify::PRELOAD))).clone()
}

/// A judge with no past in that sandbox.
pub fn math_verify() -> MathVerify {
    MathVerify::new(shared_sandbox())
}
