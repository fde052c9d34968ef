//! `agent0 eval --compare`: one table of results that lie in folders.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use agent0_eval::{Results, Shown, Table};
use agent0_evolve::find_run;
use anyhow::{Context, bail};

use super::plot;
use crate::cli::{EvalArgs, Usage};

/// What a comparison is written as.
enum Kind {
    Markdown,
    Csv,
    Json,
    Svg,
}

/// Runs the command.
pub fn run(args: &EvalArgs) -> anyhow::Result<ExitCode> {
    let files = args.save.iter().map(|path| Ok((path, kind(path)?))).collect::<Result<Vec<_>, Usage>>()?;
    let mut results = Vec::new();
    for name in &args.compare {
        results.extend(scored(name, &args.used.subject.runs)?);
    }
    if let Some(name) = args.average.iter().find(|name| !Table::can_average(&results, name)) {
        bail!(Usage(format!("--average: none of these results has a score for `{name}`")));
    }
    let table = Table::new(&results, Shown { average_of: &args.average, by_subject: args.by_subject, published: args.published });
    let json = serde_json::to_string(&table)?;
    for (path, kind) in files {
        let text = match kind {
            Kind::Markdown => table.markdown(),
            Kind::Csv => table.csv(),
            Kind::Json => json.clone(),
            Kind::Svg => plot::draw(&table)?,
        };
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    print!("{}", table.markdown());
    if args.json {
        println!("{json}");
    }
    Ok(ExitCode::SUCCESS)
}

/// What a file is written as, by its name.
fn kind(path: &Path) -> Result<Kind, Usage> {
    match path.extension().and_then(OsStr::to_str) {
        Some("md") => Ok(Kind::Markdown),
        Some("csv") => Ok(Kind::Csv),
        Some("json") => Ok(Kind::Json),
        Some("svg") => Ok(Kind::Svg),
        _ => Err(Usage(format!("--save {}: comparisons are written as .md, .csv, .json or .svg", path.display()))),
    }
}

/// The results that a name stands for, without those of folders where nothing is scored yet.
fn scored(name: &str, runs: &Path) -> anyhow::Result<Vec<Results>> {
    let mut found = folders(name, runs)?.iter().map(|folder| Results::read(folder)).collect::<Result<Vec<_>, _>>()?;
    found.retain(|of| !of.results.is_empty());
    if found.is_empty() {
        bail!("nothing of `{name}` is scored yet; let `agent0 eval` finish a benchmark first");
    }
    Ok(found)
}

/// The folders with results that a name stands for: itself, one under evals/, or all of a run, from its base model on.
fn folders(name: &str, runs: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let has_results = |folder: &Path| folder.join("results.json").is_file();
    if let Some(folder) = [PathBuf::from(name), Path::new("evals").join(name)].into_iter().find(|folder| has_results(folder)) {
        return Ok(vec![folder]);
    }
    let evals = find_run(runs, name).join("evals");
    // Names sort by iteration and step, and `base` before `executor`.
    let mut found: Vec<PathBuf> = std::fs::read_dir(&evals)
        .map(|entries| entries.flatten().map(|entry| entry.path()).filter(|folder| has_results(folder)).collect())
        .unwrap_or_default();
    found.sort();
    if found.is_empty() {
        bail!(
            "no results of `{name}`: it is no folder with a results.json, none under evals/, and no run with scores in {}",
            evals.display()
        );
    }
    Ok(found)
}
