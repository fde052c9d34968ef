//! What can be typed. Exit codes: 0 done, 1 failed or stopped, 2 bad usage or settings.

mod bench;
mod sandbox;

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use agent0_compute::Dtype;
use agent0_evolve::config::DtypeChoice;
use agent0_evolve::{ConfigError, EvolveError, Phase, Request};
use agent0_lm::WeightFormat;
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

pub use bench::{BenchArgs, BenchCommand, BenchEngineArgs, BenchGrowthArgs, EngineArgs, Part, Shape};
pub use sandbox::{SandboxArgs, SandboxBenchArgs, SandboxCommand, SandboxOptions, SandboxRunArgs, SandboxServeArgs};

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
    /// Answer a question with the tool, once or by vote.
    Solve(SolveArgs),
    /// Serve a model over HTTP, with OpenAI's API.
    Serve(ServeArgs),
    /// Score a model, an adapter or a run on benchmarks, or compare scores.
    Eval(EvalArgs),
    /// Sum up a run: rewards, frontier, tool use, example tasks.
    Report(ReportArgs),
    /// Write what a run has trained for other programs: a PEFT adapter, or a Hugging Face model.
    Export(ExportArgs),
    /// Say what this machine offers, and what to do about what is missing.
    Doctor(DoctorArgs),
    /// List the models known by name, or fetch one.
    Model(ModelArgs),
    /// Run Python in the sandbox: a program, a service, a measurement.
    Sandbox(SandboxArgs),
    /// Compare answers, and vote on them, as a run does.
    Answers(AnswersArgs),
    /// Measure the engine on this machine, against what the machine could do.
    Bench(BenchArgs),
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
    #[command(flatten)]
    pub isolation: IsolationArgs,
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

/// Whose weights answer. To be flattened into a command that has an argument `run`.
#[derive(Args)]
pub struct SubjectArgs {
    /// A model known by name, a Hugging Face repository, or a path.
    #[arg(long, conflicts_with = "run")]
    pub model: Option<String>,
    /// A PEFT adapter to put on the model.
    #[arg(long, value_name = "DIR", conflicts_with = "run")]
    pub adapter: Option<PathBuf>,
    /// The run's agent as it was after this iteration; 0 is the base model. The newest by default.
    #[arg(long, value_name = "N", requires = "run")]
    pub iteration: Option<usize>,
    /// The folder that runs are in.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub runs: PathBuf,
}

/// How the engine computes, where that is to differ from the run's settings or the defaults.
#[derive(Args)]
pub struct EngineOptions {
    /// Format of the frozen weights.
    #[arg(long, value_enum)]
    pub dtype: Option<Format>,
    /// Threads to compute with.
    #[arg(long)]
    pub threads: Option<NonZeroUsize>,
}

/// What happens where nothing isolates a model's programs.
#[derive(Args)]
pub struct IsolationArgs {
    /// Run the model's programs even where this machine can isolate nothing (see `agent0 doctor`): they can then do all that you can.
    #[arg(long)]
    pub unsafe_no_isolation: bool,
}

/// An executor that is used: whose weights answer, how they are computed, what holds its programs. To be flattened into a command that has an
/// argument `run`.
#[derive(Args)]
pub struct UseArgs {
    #[command(flatten)]
    pub subject: SubjectArgs,
    /// Settings that a model is used with, such as its prompts, from a TOML file: as `agent0 evolve` takes it, or the config.toml of a run.
    #[arg(long, value_name = "FILE", conflicts_with = "run")]
    pub config: Option<PathBuf>,
    /// A single one of those, such as `prompts.executor_system=...`; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE", conflicts_with = "run")]
    pub sets: Vec<String>,
    #[command(flatten)]
    pub engine: EngineOptions,
    #[command(flatten)]
    pub isolation: IsolationArgs,
}

#[derive(Args)]
pub struct EvalArgs {
    /// The run whose executor is scored: its folder, or its name under --runs.
    pub run: Option<String>,
    #[command(flatten)]
    pub used: UseArgs,
    /// Benchmarks: amc23, minerva, math500, gsm8k, olympiadbench, aime24, aime25, supergpqa, mmlu_pro, bbeh, or all.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub bench: Vec<String>,
    /// A file in place of a benchmark's download (`gsm8k=test.parquet`), or of your own, by whatever name: rows {id, question, answer,
    /// choices?, subject?}.
    #[arg(long, value_name = "[NAME=]FILE")]
    pub data: Vec<String>,
    /// With the Python tool, without it, or both.
    #[arg(long, value_enum, default_value_t = ToolUse::On)]
    pub tool: ToolUse,
    /// How answers are drawn. paper: one greedy answer, and the mean of 32 sampled ones for AMC and AIME. greedy: one greedy answer.
    /// sampled: all at temperature 1.
    #[arg(long, value_enum, default_value_t = EvalPreset::Paper)]
    pub preset: EvalPreset,
    /// Ask so many questions of each benchmark, drawn by the seed. A larger number asks the same ones and more.
    #[arg(long, value_name = "QUESTIONS")]
    pub limit: Option<NonZeroUsize>,
    /// Leave out the questions that this --limit would ask, and ask others.
    #[arg(long, value_name = "QUESTIONS", default_value_t = 0)]
    pub skip: usize,
    /// Seed of the questions drawn and of the answers sampled.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Answers to each question, in place of the preset's number; its score is the share of right ones.
    #[arg(long, value_name = "ANSWERS")]
    pub samples: Option<NonZeroUsize>,
    /// Temperature, in place of the preset's; 0 is greedy.
    #[arg(long, value_parser = temperature)]
    pub temperature: Option<f32>,
    /// Most tokens sampled for an answer [default: 4096].
    #[arg(long, value_name = "TOKENS")]
    pub max_tokens: Option<NonZeroUsize>,
    /// Most programs run for an answer [default: 4].
    #[arg(long, value_name = "CALLS")]
    pub max_turns: Option<usize>,
    /// Where results and all answers are kept; by default under evals/ in the run's folder, or in evals/ here.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Go on without rows that are wrong and benchmarks that cannot be had; the score says what was left out.
    #[arg(long)]
    pub keep_going: bool,
    /// Compare results: folders that --out named, names under evals/, or runs with all their scored iterations. The first is what the
    /// others are held against.
    #[arg(long, value_name = "RESULTS", num_args = 1.., conflicts_with_all = ["run", "model", "adapter", "bench", "data", "out"])]
    pub compare: Vec<String>,
    /// Add the published scores of the paper to a comparison, marked as not measured.
    #[arg(long, requires = "compare")]
    pub published: bool,
    /// Add a column to a comparison for each subject of a benchmark that has several.
    #[arg(long, requires = "compare")]
    pub by_subject: bool,
    /// Add a column to a comparison: the average over these benchmarks, or subjects (mmlu_pro:law), each counting the same, with its
    /// significance.
    #[arg(long, value_delimiter = ',', value_name = "NAMES", requires = "compare")]
    pub average: Vec<String>,
    /// Write a comparison to a file too: .md, .csv, .json, or .svg for a drawing.
    #[arg(long, value_name = "FILE", requires = "compare")]
    pub save: Vec<PathBuf>,
    /// Make the last line of standard output one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Show no progress.
    #[arg(short, long)]
    pub quiet: bool,
}

/// Whether a model has its Python.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ToolUse {
    On,
    Off,
    Both,
}

/// A named way to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EvalPreset {
    Paper,
    Greedy,
    Sampled,
}

#[derive(Args)]
pub struct SolveArgs {
    /// The question; `-` or nothing reads it from standard input.
    pub question: Option<String>,
    /// The run whose executor answers: its folder, or its name under --runs.
    #[arg(long)]
    pub run: Option<String>,
    #[command(flatten)]
    pub used: UseArgs,
    /// Attempts; with more than one their majority answers.
    #[arg(short, default_value = "1")]
    pub k: NonZeroUsize,
    /// Sampling temperature; by default 0 for one attempt, which is the most probable one, and the run's for more.
    #[arg(long, value_parser = temperature)]
    pub temperature: Option<f32>,
    /// Seed of the attempts; the run's own by default.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Most tokens of an attempt; the run's own setting by default.
    #[arg(long, value_name = "TOKENS")]
    pub max_tokens: Option<NonZeroUsize>,
    /// Run no programs: the model's code blocks are just text.
    #[arg(long)]
    pub no_tool: bool,
    /// Make the last line of standard output one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct ServeArgs {
    /// The run whose executor is served: its folder, or its name under --runs.
    #[arg(long)]
    pub run: Option<String>,
    #[command(flatten)]
    pub used: UseArgs,
    /// Address to listen on; by default only this machine gets through.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port to listen on; 0 takes one that is free.
    #[arg(long, default_value_t = 8000)]
    pub port: u16,
    /// What clients must send as their API key. Better given in the environment, where no list of processes shows it.
    #[arg(long, env = "AGENT0_TOKEN", hide_env_values = true, value_parser = NonEmptyStringValueParser::new())]
    pub token: Option<String>,
    /// Requests that may be in flight together; more are refused with status 429.
    #[arg(long, value_name = "REQUESTS", default_value = "64")]
    pub queue: NonZeroUsize,
    /// Run no programs for anyone: the model's code blocks are just text.
    #[arg(long)]
    pub no_tool: bool,
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
    /// Draw the run's curves, too: rewards, frontier, tool use and KL, step by step.
    #[arg(long, value_name = "SVG")]
    pub plot: Option<PathBuf>,
}

#[derive(Args)]
pub struct ExportArgs {
    /// The run's folder, or its name under --runs.
    #[arg(required_unless_present_any = ["model", "adapter"])]
    pub run: Option<String>,
    #[command(flatten)]
    pub subject: SubjectArgs,
    /// The agent whose adapter it is.
    #[arg(long, value_enum, default_value_t = AgentName::Executor)]
    pub agent: AgentName,
    /// Write the whole model, the adapter merged into its weights.
    #[arg(long)]
    pub merge: bool,
    /// Format of the merged model's weights; bf16 by default.
    #[arg(long, value_enum, requires = "merge")]
    pub dtype: Option<ExportFormat>,
    /// The folder to make.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// One of the two agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AgentName {
    /// Solves tasks.
    Executor,
    /// Writes tasks.
    Curriculum,
}

impl AgentName {
    /// The phase that trains it.
    pub fn phase(self) -> Phase {
        match self {
            AgentName::Executor => Phase::Executor,
            AgentName::Curriculum => Phase::Curriculum,
        }
    }
}

/// Format of an exported model's weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// Exact: 4 bytes a weight.
    F32,
    /// Rounded: 2 bytes a weight.
    Bf16,
}

impl ExportFormat {
    /// The engine's word for it.
    pub fn format(self) -> WeightFormat {
        match self {
            ExportFormat::F32 => WeightFormat::F32,
            ExportFormat::Bf16 => WeightFormat::Bf16,
        }
    }
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
pub struct AnswersArgs {
    #[command(subcommand)]
    pub command: AnswersCommand,
}

#[derive(Subcommand)]
pub enum AnswersCommand {
    /// Vote on the answers to tasks: rows {"id": ..., "answers": [...]} on standard input.
    Vote(AnswersOptions),
    /// Say whether two answers are the same: rows {"a": ..., "b": ...} on standard input.
    Same(AnswersOptions),
}

#[derive(Args)]
pub struct AnswersOptions {
    /// Write a JSON object for each row.
    #[arg(long)]
    pub json: bool,
    /// Rows that are worked on at the same time; as many as there are CPUs by default. No outcome depends on it.
    #[arg(long)]
    pub jobs: Option<NonZeroUsize>,
}

/// Format of the frozen weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// What the engine takes by itself.
    Auto,
    /// The reference.
    F32,
    /// Half the memory.
    Bf16,
    /// Bytes in groups of 64 with a scale.
    Q8,
}

impl Format {
    /// The word of a run's settings for it.
    pub fn choice(self) -> DtypeChoice {
        match self {
            Format::Auto => DtypeChoice::Auto,
            Format::F32 => DtypeChoice::F32,
            Format::Bf16 => DtypeChoice::Bf16,
            Format::Q8 => DtypeChoice::Q8,
        }
    }

    /// The engine's word for it.
    pub fn dtype(self) -> Option<Dtype> {
        match self {
            Format::Auto => None,
            Format::F32 => Some(Dtype::F32),
            Format::Bf16 => Some(Dtype::Bf16),
            Format::Q8 => Some(Dtype::Q8),
        }
    }
}

/// A temperature that can be sampled at.
fn temperature(text: &str) -> Result<f32, String> {
    let parsed = text.parse().map_err(|_| "a number is wanted".to_owned())?;
    if (0.0..=f32::MAX).contains(&parsed) { Ok(parsed) } else { Err("0 or more is wanted".to_owned()) }
}

/// Something was typed that cannot be done, and that only the command finds out: says what and what to type.
#[derive(Debug)]
pub struct Usage(pub String);

impl std::fmt::Display for Usage {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// 2 when what was typed or the settings are at fault, else 1.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    let is_bad_usage = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<Usage>() || cause.is::<ConfigError>() || matches!(cause.downcast_ref(), Some(EvolveError::Config(_)))
    };
    ExitCode::from(if error.chain().any(is_bad_usage) { 2 } else { 1 })
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
        let usage = anyhow::Error::from(Usage("--what".into())).context("nothing was done");
        assert_eq!((format!("{usage:#}"), code(usage)), ("nothing was done: --what".into(), format!("{:?}", ExitCode::from(2))));
        assert_eq!(code(anyhow::anyhow!("no")), format!("{:?}", ExitCode::from(1)));
    }
}
