//! What the tests share: starting sandboxes.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::path::PathBuf;

use agent0_sandbox::{Isolation, Limits, Outcome, Sandbox, SandboxConfig, Status};

/// The launcher that these tests use.
pub fn launcher() -> PathBuf {
    env!("CARGO_BIN_EXE_agent0-sandbox-launcher").into()
}

/// An interpreter for tests that need only the standard library.
pub fn plain_python() -> PathBuf {
    std::env::var_os("AGENT0_TEST_PLAIN_PYTHON").unwrap_or_else(|| "python3".into()).into()
}

/// Nothing preloaded, so it starts fast.
pub fn plain_config() -> SandboxConfig {
    SandboxConfig { preload: vec![], launcher: Some(launcher()), ..SandboxConfig::new(plain_python()) }
}

/// A sandbox with the standard library only, or none, with the reason printed, where the machine does not allow this level.
pub fn plain_sandbox(isolation: Isolation) -> Option<Sandbox> {
    sandbox_at(isolation, plain_config())
}

/// A sandbox at this level, or none, with the reason printed, where the machine does not allow it.
pub fn sandbox_at(isolation: Isolation, config: SandboxConfig) -> Option<Sandbox> {
    match Sandbox::start(SandboxConfig { isolation: Some(isolation), ..config }) {
        Ok(sandbox) => Some(sandbox),
        Err(agent0_sandbox::SandboxError::NoIsolation(why)) => {
            println!("SKIPPED: {isolation} is not to be had here:\n{why}");
            None
        }
        Err(other) => panic!("{other}"),
    }
}

/// Runs `code`, which must end well, and returns what it printed.
pub fn output(sandbox: &Sandbox, code: &str) -> String {
    let outcome = run(sandbox, code);
    assert_eq!((outcome.status, outcome.stderr.as_str()), (Status::Finished { code: 0 }, ""), "{code}");
    outcome.stdout
}

/// Runs `code` with the default limits.
pub fn run(sandbox: &Sandbox, code: &str) -> Outcome {
    run_within(sandbox, code, &patient())
}

/// Runs `code` with `limits`.
pub fn run_within(sandbox: &Sandbox, code: &str, limits: &Limits) -> Outcome {
    sandbox.run_blocking(code, 1, limits).unwrap_or_else(|error| panic!("{error}\n{code}"))
}

/// One second of CPU time, and so much wall-clock time that a busy machine does not matter.
pub fn patient() -> Limits {
    Limits { wall_s: 300.0, ..Limits::with_cpu(1) }
}
