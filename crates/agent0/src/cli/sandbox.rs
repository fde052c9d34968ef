//! What can be typed after `agent0 sandbox`.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Args)]
pub struct SandboxArgs {
    #[command(subcommand)]
    pub command: SandboxCommand,
}

#[derive(Subcommand)]
pub enum SandboxCommand {
    /// Run the program on standard input.
    Run(SandboxRunArgs),
    /// Serve programs over HTTP: SandboxFusion's POST /run_code.
    Serve(SandboxServeArgs),
    /// Measure calls on this machine, beside a cold start of Python in bubblewrap or firejail where they are installed.
    Bench(SandboxBenchArgs),
}

/// What code finds in the sandbox.
#[derive(Args)]
pub struct SandboxOptions {
    /// The interpreter, such as one of a virtual environment; agent0's own (numpy, sympy, math-verify) by default.
    #[arg(long, value_name = "PATH")]
    pub python: Option<PathBuf>,
    /// A package installed there that code may use, beside numpy, sympy and math-verify; may be given several times.
    #[arg(long = "package", value_name = "NAME")]
    pub packages: Vec<String>,
    /// Give each call a private folder in memory, /scratch, of so many MiB; without it nothing can be written.
    #[arg(long, value_name = "MIB", num_args = 0..=1, default_missing_value = "32", value_parser = clap::value_parser!(u32).range(1..))]
    pub scratch: Option<u32>,
    /// Most memory of a call, in MiB of address space: 256 or more, because Python with its modules takes about 250.
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(256..1 << 30))]
    pub memory: u64,
    /// Run code even where this machine can isolate nothing (see `agent0 doctor`): it can then do all that you can.
    #[arg(long)]
    pub unsafe_no_isolation: bool,
}

impl SandboxOptions {
    /// The size of a call's scratch folder, if it has one.
    pub fn scratch_bytes(&self) -> Option<u64> {
        self.scratch.map(|mib| u64::from(mib) << 20)
    }
}

#[derive(Args)]
pub struct SandboxRunArgs {
    #[command(flatten)]
    pub options: SandboxOptions,
    /// Seconds of CPU time.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub cpu: u64,
    /// Seed of Python's random numbers.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// A file that the program reads as its standard input.
    #[arg(long, value_name = "FILE")]
    pub stdin: Option<PathBuf>,
    /// Print one JSON object: status, exit_code, stdout, stderr, cpu_s, wall_s, isolation.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct SandboxServeArgs {
    #[command(flatten)]
    pub options: SandboxOptions,
    /// Where to listen; by default only this machine gets through.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Calls that may run and wait together; more are refused with status 503.
    #[arg(long, value_name = "CALLS", default_value = "256")]
    pub queue: NonZeroUsize,
    /// Most seconds of CPU time that a request may ask for.
    #[arg(long, value_name = "SECONDS", default_value = "60")]
    pub max_timeout: NonZeroU32,
}

#[derive(Args)]
pub struct SandboxBenchArgs {
    #[command(flatten)]
    pub options: SandboxOptions,
    /// Calls measured one by one, and by each worker at the same time.
    #[arg(long, default_value = "200")]
    pub calls: NonZeroUsize,
    /// Calls by each worker with each peer.
    #[arg(long, default_value = "4")]
    pub peer_calls: NonZeroUsize,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}
