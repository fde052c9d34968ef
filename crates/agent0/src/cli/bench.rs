//! What can be typed after `agent0 bench`.

use std::num::NonZeroUsize;
use std::str::FromStr;

use agent0_compute::Isa;
use clap::{Args, Subcommand, ValueEnum};

use super::Format;

#[derive(Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    pub command: BenchCommand,
}

#[derive(Subcommand)]
pub enum BenchCommand {
    /// Speed and memory of sampling and training, beside the measured limits of the machine.
    Engine(BenchEngineArgs),
    /// How time and memory grow with batch, context and threads.
    Growth(BenchGrowthArgs),
}

/// Which engine is measured.
#[derive(Args)]
pub struct EngineArgs {
    /// A model known by name, a Hugging Face repository, or a path.
    #[arg(long, default_value = DEFAULT_MODEL)]
    pub model: String,
    /// Format of the frozen weights.
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    pub dtype: Format,
    /// Instruction set, such as avx2; the best one there is by default.
    #[arg(long, value_parser = isa)]
    pub isa: Option<Isa>,
    /// Rank of the LoRA adapter that is sampled through and trained.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub rank: u16,
    /// Most tokens of a training micro-batch: bounds the memory of training.
    #[arg(long, value_name = "TOKENS", default_value_t = 2048)]
    pub micro_batch: usize,
    /// Make the last line of standard output one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// What everything is measured on unless another is named.
const DEFAULT_MODEL: &str = "qwen2.5-coder-0.5b-instruct";

#[derive(Args)]
pub struct BenchEngineArgs {
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Threads to compute with; all cores by default.
    #[arg(long)]
    pub threads: Option<NonZeroUsize>,
    /// Parts to measure; all by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Part>,
    /// Sequences sampled at once, one point each.
    #[arg(long, value_delimiter = ',', default_value = "1,16,64")]
    pub batch: Vec<NonZeroUsize>,
    /// Tokens of each prompt.
    #[arg(long, value_name = "TOKENS", default_value = "256")]
    pub prompt: NonZeroUsize,
    /// Tokens sampled after each prompt.
    #[arg(long, value_name = "TOKENS", default_value = "256")]
    pub new: NonZeroUsize,
    /// Sequences that share a prompt.
    #[arg(long, value_name = "SEQUENCES", default_value = "1")]
    pub group: NonZeroUsize,
    /// Sample from the base model alone, not through the adapter.
    #[arg(long)]
    pub base: bool,
    /// Sequences and their tokens, trained in one step, one point each; the second half of each sequence carries loss.
    #[arg(long, value_name = "SEQUENCESxTOKENS", value_delimiter = ',', default_value = "8x512,4x1024")]
    pub train: Vec<Shape>,
    /// Times that each point is measured; the quickest counts.
    #[arg(long, default_value = "1")]
    pub repeats: NonZeroUsize,
}

/// Something that `bench engine` measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The limits of the machine; always measured, since everything is held against them.
    Roofline,
    /// Matrix products at the model's shapes.
    Gemm,
    /// Sampling.
    Sample,
    /// Training.
    Train,
}

#[derive(Args)]
pub struct BenchGrowthArgs {
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Numbers of threads; the other series use the last.
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    pub threads: Vec<NonZeroUsize>,
    /// Sequences sampled at once.
    #[arg(long, value_delimiter = ',', default_value = "1,4,16,64,256")]
    pub batch: Vec<NonZeroUsize>,
    /// Lengths of a sequence, sampled and trained.
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', default_value = "128,256,512,1024,2048,4096")]
    pub context: Vec<NonZeroUsize>,
    /// Sequences of 256 tokens trained in one step.
    #[arg(long, value_delimiter = ',', default_value = "1,4,16")]
    pub sequences: Vec<NonZeroUsize>,
}

/// Sequences and the tokens of each, written `8x512`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub sequences: usize,
    pub tokens: usize,
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('x').and_then(|(s, t)| Some(Shape { sequences: s.parse().ok()?, tokens: t.parse().ok()? }));
        match parsed {
            Some(shape) if shape.sequences >= 1 && shape.tokens >= 2 => Ok(shape),
            _ => Err("wanted are sequences and tokens, at least 1x2, such as 8x512".into()),
        }
    }
}

/// An instruction set of this machine by its name.
fn isa(name: &str) -> Result<Isa, String> {
    let available = Isa::available();
    let known = || available.iter().map(Isa::to_string).collect::<Vec<_>>().join(", ");
    available.iter().copied().find(|isa| isa.to_string() == name).ok_or_else(|| format!("this machine has {}", known()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use agent0_compute::Dtype;
    use clap::Parser;

    fn bench_engine(args: &[&str]) -> Result<BenchEngineArgs, clap::Error> {
        let parsed = Cli::try_parse_from(["agent0", "bench", "engine"].iter().chain(args))?;
        let Command::Bench(BenchArgs { command: BenchCommand::Engine(args) }) = parsed.command else { panic!("another command") };
        Ok(args)
    }

    #[test]
    fn a_bench_measures_what_it_is_told() {
        let all = bench_engine(&[]).unwrap();
        assert!(agent0_provision::find_model(&all.engine.model).is_ok());
        assert_eq!(all.batch.iter().map(|b| b.get()).collect::<Vec<_>>(), [1, 16, 64]);
        assert_eq!(all.train, [Shape { sequences: 8, tokens: 512 }, Shape { sequences: 4, tokens: 1024 }]);
        assert!(all.only.is_empty() && all.engine.dtype.dtype().is_none());
        let one = bench_engine(&["--only", "train", "--train", "2x64", "--dtype", "bf16", "--isa", "portable", "--threads", "1"]).unwrap();
        assert_eq!((one.only, one.train), (vec![Part::Train], vec![Shape { sequences: 2, tokens: 64 }]));
        assert_eq!((one.engine.dtype.dtype(), one.engine.isa), (Some(Dtype::Bf16), Some(Isa::Portable)));
    }

    #[test]
    fn a_bench_of_nonsense_is_refused() {
        let cases = [["--batch", "0"], ["--train", "8"], ["--train", "8x1"], ["--train", "0x8"], ["--isa", "mmx"], ["--dtype", "f64"]];
        for case in cases {
            assert!(bench_engine(&case).is_err(), "{case:?}");
        }
    }
}
