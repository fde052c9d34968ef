//! `agent0 sandbox run`: a Python program in the same sandbox that the executor's tool uses.

use std::io::Read;
use std::process::ExitCode;

use agent0_provision::{Cache, python_env};
use agent0_sandbox::{Limits, Sandbox, SandboxConfig};
use anyhow::Context;

use crate::cli::{SandboxArgs, SandboxCommand};
use crate::terminal::{SetupProgress, Terminal};

/// Runs the command. The exit code is 0 when the program ran to its end without an error, else 1.
pub fn run(args: &SandboxArgs) -> anyhow::Result<ExitCode> {
    let SandboxCommand::Run { cpu, seed } = args.command;
    let terminal = Terminal::new(false);
    let progress = SetupProgress::new(&terminal);
    let python = python_env(&Cache::open()?, None, &|event| progress.event(event))?;
    terminal.clear();
    let mut code = String::new();
    std::io::stdin().read_to_string(&mut code).context("reading the program from standard input")?;
    let sandbox = Sandbox::start(SandboxConfig::new(python.python))?;
    let outcome = sandbox.run_blocking(&code, seed, &Limits::with_cpu(cpu))?;
    print!("{}", outcome.stdout);
    eprint!("{}", outcome.stderr);
    eprintln!(
        "[{}; {:.2} s CPU, {:.2} s, {:.0} MiB]",
        outcome.status,
        outcome.cpu_s,
        outcome.wall_s,
        outcome.peak_rss_bytes as f64 / f64::from(1 << 20)
    );
    Ok(ExitCode::from(u8::from(!outcome.status.is_success())))
}
