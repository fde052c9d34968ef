//! What can be typed. Exit codes: 0 done, 1 failed or stopped, 2 bad usage or settings.

use std::path::PathBuf;
use std::process::ExitCode;

use agent0_evolve::{ConfigError, EvolveError, Request};
use clap::{Args, Parser, Subcommand};

/// One command co-evolves a language model from zero data.
///
/// `agent0 evolve` does everything: it obtains the model and the Python tool's environment, and runs. Ctrl-C stops it; the
/// same command goes on where it was.
#[derive(Parser)]
#[command(version, about, long_about)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Start a co-evolution, or go on with one.
    Evolve(EvolveArgs),
    /// Sum up a run: rewards, frontier, tool use, example tasks.
    Report(ReportArgs),
    /// Say what this machine offers, and what to do about what is missing.
    Doctor(DoctorArgs),
    /// List the models known by name, or fetch one.
    Model(ModelArgs),
    /// Run a Python program from standard input in the sandbox.
    Sandbox(SandboxArgs),
}

#[derive(Args)]
pub struct EvolveArgs {
    /// Settings from a TOML file.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where settings start from: smoke, laptop (default), paper or code.
    #[arg(long, value_name = "NAME")]
    pub preset: Option<String>,
    /// A single setting, such as `executor.steps=4`; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// The run's name; without it, preset and model make it, so that the same command finds the same run.
    #[arg(long)]
    pub name: Option<String>,
    /// The folder that runs are in.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub runs: PathBuf,
    /// Make the last line of standard output one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Show all numbers of each step.
    #[arg(short, long, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Show no progress.
    #[arg(short, long)]
    pub quiet: bool,
}

impl EvolveArgs {
    /// The settings asked for.
    pub fn request(&self) -> Request {
        Request { preset: self.preset.clone(), file: self.config.clone(), sets: self.sets.clone() }
    }
}

#[derive(Args)]
pub struct ReportArgs {
    /// The run's folder, or its name under --runs.
    pub run: String,
    /// The folder that runs are in.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub runs: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct DoctorArgs {
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct ModelArgs {
    #[command(subcommand)]
    pub command: ModelCommand,
}

#[derive(Subcommand)]
pub enum ModelCommand {
    /// List the models known by name.
    List,
    /// Bring a model into the cache, or verify the one that is there.
    Fetch {
        /// Its name.
        name: String,
    },
}

#[derive(Args)]
pub struct SandboxArgs {
    #[command(subcommand)]
    pub command: SandboxCommand,
}

#[derive(Subcommand)]
pub enum SandboxCommand {
    /// Run the program on standard input.
    Run {
        /// Seconds of CPU time.
        #[arg(long, value_name = "SECONDS", default_value_t = 5)]
        cpu: u64,
        /// Seed of Python's random numbers.
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
}

/// 2 when the settings are at fault, else 1.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    let settings = error.chain().any(|cause| cause.is::<ConfigError>() || matches!(cause.downcast_ref(), Some(EvolveError::Config(_))));
    ExitCode::from(if settings { 2 } else { 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn bad_settings_are_bad_usage() {
        let code = |error: anyhow::Error| format!("{:?}", exit_code(&error));
        let bad = Request { sets: vec!["sede=1".into()], ..Request::default() }.resolve().unwrap_err();
        assert_eq!(code(EvolveError::from(bad).into()), format!("{:?}", ExitCode::from(2)));
        assert_eq!(code(anyhow::anyhow!("no")), format!("{:?}", ExitCode::from(1)));
    }
}
