//! `agent0 sandbox`: a Python program, a service, or a measurement, in the same sandbox that the executor's tool uses.

mod bench;
mod peers;
mod serve;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use agent0_provision::{Cache, python_env};
use agent0_sandbox::{Isolation, Limits, Outcome, Program, Sandbox, SandboxConfig, Status};
use anyhow::Context;
use serde_json::json;

use crate::cli::{SandboxArgs, SandboxCommand, SandboxOptions, SandboxRunArgs};
use crate::terminal::{SetupProgress, Terminal};

/// Runs the command.
pub fn run(args: &SandboxArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        SandboxCommand::Run(args) => run_program(args),
        SandboxCommand::Serve(args) => serve::run(args),
        SandboxCommand::Bench(args) => bench::run(args),
    }
}

/// Runs the program on standard input. The exit code is the program's, and 1 where it was killed.
fn run_program(args: &SandboxRunArgs) -> anyhow::Result<ExitCode> {
    let mut program = Program { seed: args.seed, ..Program::default() };
    std::io::stdin().read_to_end(&mut program.code).context("reading the program from standard input")?;
    if let Some(path) = &args.stdin {
        program.stdin = std::fs::read(path).with_context(|| format!("reading {}, the program's input", path.display()))?;
    }
    let sandbox = start(configure(&args.options)?)?;
    let limits = limits(&args.options, args.cpu);
    let runtime = tokio::runtime::Builder::new_current_thread().build().context("starting the runtime")?;
    let outcome = runtime.block_on(sandbox.run_program(program, &limits))?;
    if args.json {
        println!("{}", as_json(&outcome, sandbox.isolation()));
    } else {
        print!("{}", outcome.stdout);
        eprint!("{}", outcome.stderr);
        let mib = outcome.peak_rss_bytes as f64 / f64::from(1 << 20);
        eprintln!("[{}; {:.2} s CPU, {:.2} s, {mib:.0} MiB]", outcome.status, outcome.cpu_s, outcome.wall_s);
    }
    Ok(ExitCode::from(exit_code(outcome.status).unwrap_or(1)))
}

/// The program's own exit code; there is none where it was killed.
fn exit_code(status: Status) -> Option<u8> {
    match status {
        Status::Finished { code } => u8::try_from(code).ok(),
        _ => None,
    }
}

fn as_json(outcome: &Outcome, isolation: Isolation) -> serde_json::Value {
    json!({
        "status": outcome.status.to_string(),
        "exit_code": exit_code(outcome.status),
        "stdout": outcome.stdout,
        "stderr": outcome.stderr,
        "cpu_s": outcome.cpu_s,
        "wall_s": outcome.wall_s,
        "isolation": isolation,
    })
}

/// Starts a sandbox, and warns when it is none.
fn start(config: SandboxConfig) -> anyhow::Result<Sandbox> {
    let sandbox = Sandbox::start(config)?;
    if sandbox.isolation() == Isolation::None {
        eprintln!("agent0: WARNING: nothing isolates the programs; they can do what you can do");
    }
    Ok(sandbox)
}

/// A sandbox as the options say. The environment of agent0's own Python is made first if need be.
fn configure(options: &SandboxOptions) -> anyhow::Result<SandboxConfig> {
    let python = match &options.python {
        Some(python) => python.clone(),
        None => own_python()?,
    };
    let mut config = SandboxConfig::new(&python);
    config.preload = preloadable(&python, &config.preload);
    config.extra_packages = options.packages.clone();
    config.scratch_bytes = options.scratch_bytes();
    config.limits = limits(options, config.limits.cpu_s);
    config.unsafe_no_isolation = options.unsafe_no_isolation;
    Ok(config)
}

/// The limits of a call that has `cpu_s` seconds of CPU time.
fn limits(options: &SandboxOptions, cpu_s: u64) -> Limits {
    Limits { memory_bytes: options.memory << 20, ..Limits::with_cpu(cpu_s).with_scratch(options.scratch_bytes()) }
}

fn own_python() -> anyhow::Result<PathBuf> {
    let terminal = Terminal::new(false);
    let progress = SetupProgress::new(&terminal);
    let python = python_env(&Cache::open()?, None, &|event| progress.event(event))?;
    terminal.clear();
    Ok(python.python)
}

/// The modules that this interpreter has. When it cannot say, starting the sandbox says why.
fn preloadable(python: &Path, modules: &[String]) -> Vec<String> {
    const FOUND: &str = "import importlib.util, sys; print(*(m for m in sys.argv[1:] if importlib.util.find_spec(m)))";
    let found = Command::new(python).args(["-I", "-c", FOUND]).args(modules).output();
    let text = found.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::Parser;

    #[test]
    fn every_command_has_the_limits_that_the_options_say() {
        let line = ["agent0", "sandbox", "bench", "--python", "python3", "--memory", "512", "--scratch", "64"];
        let crate::cli::Command::Sandbox(SandboxArgs { command: SandboxCommand::Bench(args) }) = Cli::parse_from(line).command else {
            panic!()
        };
        let config = configure(&args.options).unwrap();
        assert_eq!((config.limits.memory_bytes, config.limits.file_bytes), (512 << 20, 64 << 20));
        assert_eq!(config.scratch_bytes, Some(64 << 20));
        assert_eq!(limits(&args.options, 7).cpu_s, 7);
    }

    #[test]
    fn only_a_program_that_ended_by_itself_has_an_exit_code() {
        assert_eq!(exit_code(Status::Finished { code: 7 }), Some(7));
        assert_eq!(exit_code(Status::Signal(11)), None);
        assert_eq!(exit_code(Status::CpuLimit), None);
    }
}
