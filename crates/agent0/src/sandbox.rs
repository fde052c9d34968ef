//! `agent0 sandbox`: a Python program, a service, or a measurement, in the same sandbox that the executor's tool uses.

mod bench;
mod peers;
mod serve;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use agent0_provision::{Cache, python_env};
use agent0_sandbox::{Isolation, Limits, Outcome, Program, Sandbox, SandboxConfig};
use anyhow::{Context, bail};
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

/// Runs the program on standard input. The exit code is 0 when it ran to its end without an error, else 1.
fn run_program(args: &SandboxRunArgs) -> anyhow::Result<ExitCode> {
    let mut program = Program { seed: args.seed, ..Program::default() };
    std::io::stdin().read_to_end(&mut program.code).context("reading the program from standard input")?;
    if let Some(path) = &args.stdin {
        program.stdin = std::fs::read(path).with_context(|| format!("reading {}, the program's input", path.display()))?;
    }
    let sandbox = start(&args.options)?;
    let limits = Limits { memory_bytes: args.options.memory << 20, ..Limits::with_cpu(args.cpu) };
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
    Ok(ExitCode::from(u8::from(!outcome.status.is_success())))
}

fn as_json(outcome: &Outcome, isolation: Isolation) -> serde_json::Value {
    json!({
        "status": outcome.status.to_string(),
        "stdout": outcome.stdout,
        "stderr": outcome.stderr,
        "cpu_s": outcome.cpu_s,
        "wall_s": outcome.wall_s,
        "isolation": isolation,
    })
}

/// A sandbox as the options say. The environment of agent0's own Python is made first if need be.
fn start(options: &SandboxOptions) -> anyhow::Result<Sandbox> {
    let sandbox = Sandbox::start(configure(options)?)?;
    if sandbox.isolation() == Isolation::None {
        eprintln!("agent0: WARNING: nothing isolates the program; it can do what you can do");
    }
    Ok(sandbox)
}

fn configure(options: &SandboxOptions) -> anyhow::Result<SandboxConfig> {
    let python = match &options.python {
        Some(python) => python.clone(),
        None => own_python()?,
    };
    if options.memory < 256 {
        bail!("--memory {} is too little: Python with its modules takes about 250 MiB of address space", options.memory);
    }
    let mut config = SandboxConfig::new(&python);
    config.preload = preloadable(&python, &config.preload);
    config.extra_packages = options.packages.clone();
    config.scratch_bytes = options.scratch.map(|mib| u64::from(mib) << 20);
    config.unsafe_no_isolation = options.unsafe_no_isolation;
    Ok(config)
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
