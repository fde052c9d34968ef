//! What is to be asked: reads the benchmarks and files that the command names. Bad rows and missing benchmarks stop everything before
//! any work is done, unless the user said to go on.

use std::path::Path;

use agent0_eval::{Benchmark, EvalError, EvalPrompts, Exam, Loaded, Overrides, Preset, Protocol, benchmarks, find_benchmark};
use agent0_evolve::config::Prompts;
use agent0_provision::{Cache, is_plain};
use anyhow::{Context, bail};

use crate::cli::{EvalArgs, EvalPreset, ToolUse, Usage};
use crate::terminal::{SetupProgress, Terminal};

/// Bad rows that are named one by one.
const NAMED: usize = 10;

/// A benchmark that could not be had.
pub struct Failed {
    pub bench: String,
    pub why: String,
}

/// Where the questions of one exam come from.
enum Source<'a> {
    /// The hub, by way of the cache.
    Hub(&'static Benchmark),
    /// A file in place of the hub.
    File(&'static Benchmark, &'a Path),
    /// A file of the user's own, and what it is to be called.
    Own(Option<&'a str>, &'a Path),
}

impl Source<'_> {
    fn benchmark(&self) -> Option<&'static Benchmark> {
        match self {
            Self::Hub(benchmark) | Self::File(benchmark, _) => Some(benchmark),
            Self::Own(..) => None,
        }
    }

    /// What results call it: the benchmark, or what the user does, or the file's name, with its extension where it would be a benchmark's.
    fn name(&self) -> String {
        match self {
            Self::Hub(benchmark) | Self::File(benchmark, _) => benchmark.name.to_owned(),
            Self::Own(Some(name), _) => (*name).to_owned(),
            Self::Own(None, path) => {
                let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
                let stem = text(path.file_stem());
                if find_benchmark(&stem).is_ok() { text(path.file_name()) } else { stem }
            }
        }
    }

    fn load(&self, cache: &Cache, progress: &SetupProgress) -> Result<Loaded, EvalError> {
        match self {
            Self::Hub(benchmark) => agent0_eval::obtain(benchmark, cache, &|event| progress.event(event)),
            Self::File(benchmark, path) => agent0_eval::read_file(path, Some(benchmark)),
            Self::Own(_, path) => agent0_eval::read_file(path, None),
        }
    }
}

/// The exams that the command asks for, benchmark by benchmark, and the benchmarks that could not be had.
pub fn exams(args: &EvalArgs, prompts: &Prompts, terminal: &Terminal) -> anyhow::Result<(Vec<Exam>, Vec<Failed>)> {
    let cache = Cache::open()?;
    let progress = SetupProgress::new(terminal);
    let (mut exams, mut failed) = (Vec::new(), Vec::new());
    for source in sources(args)? {
        match source.load(&cache, &progress).map_err(anyhow::Error::from).and_then(|loaded| sound(&source.name(), loaded, args, terminal)) {
            Ok(loaded) => exams.extend(tools(args.tool).iter().map(|&tool| exam(args, &source, loaded.clone(), tool, prompts))),
            Err(error) if args.keep_going => {
                terminal.line(&format!("left out: {error:#}"));
                failed.push(Failed { bench: source.name(), why: format!("{error:#}") });
            }
            Err(error) => return Err(error).context("nothing was asked; --keep-going goes on with what there is"),
        }
    }
    if exams.is_empty() {
        bail!("nothing is left to ask");
    }
    Ok((exams, failed))
}

/// What the command line names, a file before the download of the same benchmark.
fn sources(args: &EvalArgs) -> anyhow::Result<Vec<Source<'_>>> {
    let mut named: Vec<&'static Benchmark> = Vec::new();
    for name in &args.bench {
        let those: Vec<&'static Benchmark> = if name == "all" {
            benchmarks().iter().collect()
        } else {
            vec![find_benchmark(name).map_err(|error| Usage(error.to_string()))?]
        };
        for benchmark in those {
            if !named.iter().any(|known| known.name == benchmark.name) {
                named.push(benchmark);
            }
        }
    }
    let mut sources = Vec::new();
    for data in &args.data {
        let prefixed = data.split_once('=').and_then(|(name, file)| match find_benchmark(name) {
            Ok(benchmark) => Some(Source::File(benchmark, Path::new(file))),
            Err(_) if is_plain(name) && !Path::new(data).exists() => Some(Source::Own(Some(name), Path::new(file))),
            Err(_) => None,
        });
        sources.push(match (prefixed, named.as_slice(), args.data.len()) {
            (Some(source), ..) => source,
            // One benchmark and one file: the file is the benchmark's.
            (None, [benchmark], 1) => Source::File(benchmark, Path::new(data)),
            _ => Source::Own(None, Path::new(data)),
        });
    }
    let from_file = |benchmark: &Benchmark| sources.iter().any(|source| source.benchmark().is_some_and(|b| b.name == benchmark.name));
    let downloads: Vec<Source> = named.into_iter().filter(|benchmark| !from_file(benchmark)).map(Source::Hub).collect();
    sources.extend(downloads);
    if sources.is_empty() {
        bail!(Usage("name what to ask: --bench gsm8k,math500 (or all), --data FILE, or --compare RESULTS...".to_owned()));
    }
    let mut names: Vec<String> = sources.iter().map(Source::name).collect();
    names.sort();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        bail!(Usage(format!("`{}` is named twice; give each file a name of its own (--data NAME=FILE)", twice[0])));
    }
    Ok(sources)
}

/// The questions, unless rows are wrong and the user did not say to go on. Warns of a copy that is not what was published.
fn sound(name: &str, loaded: Loaded, args: &EvalArgs, terminal: &Terminal) -> anyhow::Result<Loaded> {
    if let Some(discrepancy) = loaded.origin.discrepancy(name) {
        terminal.warn(&format!("{name} ({}): {discrepancy}; if a part is missing, give --data {name}=FILE with all", loaded.origin.source));
    }
    if args.skip >= loaded.questions.len() {
        bail!(Usage(format!("{name}: --skip {} leaves none of its {} questions", args.skip, loaded.questions.len())));
    }
    if loaded.rejected.is_empty() {
        return Ok(loaded);
    }
    let row = |rejected: &agent0_eval::Rejected| {
        let id = rejected.id.as_ref().map_or(String::new(), |id| format!(" ({id})"));
        format!("  row {}{id}: {}", rejected.row, rejected.why)
    };
    let mut text = format!("{name} ({}): {} rows cannot be asked:", loaded.origin.source, loaded.rejected.len());
    for rejected in loaded.rejected.iter().take(NAMED) {
        text += &format!("\n{}", row(rejected));
    }
    if loaded.rejected.len() > NAMED {
        text += &format!("\n  and {} more", loaded.rejected.len() - NAMED);
    }
    if !args.keep_going {
        bail!(text);
    }
    terminal.line(&format!("left out: {text}"));
    Ok(loaded)
}

fn tools(tool: ToolUse) -> &'static [bool] {
    match tool {
        ToolUse::On => &[true],
        ToolUse::Off => &[false],
        ToolUse::Both => &[false, true],
    }
}

fn exam(args: &EvalArgs, source: &Source, loaded: Loaded, tool: bool, prompts: &Prompts) -> Exam {
    let preset = match args.preset {
        EvalPreset::Paper => Preset::Paper,
        EvalPreset::Greedy => Preset::Greedy,
        EvalPreset::Sampled => Preset::Sampled,
    };
    let overrides = Overrides {
        samples: args.samples.map(usize::from),
        temperature: args.temperature,
        max_tokens: args.max_tokens.map(usize::from),
        max_turns: args.max_turns,
    };
    // With its tool the model is told what it was told in training.
    let prompts = match tool {
        true => EvalPrompts { system: prompts.executor_system.clone(), user: prompts.executor_user.clone() },
        false => EvalPrompts::without_tool(),
    };
    let protocol = Protocol::new(preset, source.benchmark(), tool, prompts, args.seed, &overrides);
    let limit = args.limit.map(usize::from);
    Exam { bench: source.name(), benchmark: source.benchmark(), loaded, skip: args.skip, limit, protocol }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn named(args: &[&str]) -> Result<Vec<String>, String> {
        let parsed = Cli::try_parse_from(["agent0", "eval"].iter().chain(args)).map_err(|e| e.to_string())?;
        let Command::Eval(args) = parsed.command else { panic!("another command") };
        let sources = sources(&args).map_err(|e| format!("{e:#}"))?;
        Ok(sources.iter().map(|source| format!("{} {}", source.name(), matches!(source, Source::Hub(_)))).collect())
    }

    #[test]
    fn benchmarks_and_files_are_told_apart() {
        assert_eq!(named(&["--bench", "gsm8k,aime24"]).unwrap(), ["gsm8k true", "aime24 true"]);
        assert_eq!(named(&["--bench", "gsm8k,bbeh", "--data", "gsm8k=x.jsonl"]).unwrap(), ["gsm8k false", "bbeh true"]);
        assert_eq!(named(&["--bench", "gsm8k", "--data", "x.parquet"]).unwrap(), ["gsm8k false"]);
        assert_eq!(named(&["--data", "dir/mine.jsonl"]).unwrap(), ["mine false"]);
        assert_eq!(named(&["--data", "gsm8k.jsonl"]).unwrap(), ["gsm8k.jsonl false"]);
        assert_eq!(named(&["--data", "other=dir/mine.jsonl", "--data", "dir/a=b.jsonl"]).unwrap(), ["other false", "a=b false"]);
        assert_eq!(named(&["--bench", "all"]).unwrap().len(), 10);
        assert!(named(&[]).unwrap_err().contains("--bench"));
        assert!(named(&["--bench", "gsm9k"]).unwrap_err().contains("gsm8k"));
        assert!(named(&["--data", "a/x.jsonl", "--data", "b/x.jsonl"]).unwrap_err().contains("twice"));
    }
}
