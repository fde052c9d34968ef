//! `agent0 eval --compare`: one table of results that lie in folders.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use agent0_eval::{Results, Table};
use agent0_evolve::find_run;
use anyhow::{Context, bail};

use super::plot;
use crate::cli::EvalArgs;

/// Runs the command.
pub fn run(args: &EvalArgs) -> anyhow::Result<ExitCode> {
    let mut results = Vec::new();
    for name in &args.compare {
        for folder in folders(name, &args.used.subject.runs)? {
            results.push(Results::read(&folder)?);
        }
    }
    if let Some(name) = args.average.iter().find(|name| !results.iter().flat_map(|of| &of.results).any(|score| score.bench == **name)) {
        bail!("--average: none of these results has a score for `{name}`");
    }
    let table = Table::new(&results, &args.average, args.published);
    let json = serde_json::to_string(&table)?;
    for path in &args.save {
        let text = match path.extension().and_then(|extension| extension.to_str()) {
            Some("md") => table.markdown(),
            Some("csv") => table.csv(),
            Some("json") => json.clone(),
            Some("svg") => plot::draw(&table)?,
            _ => bail!("{}: comparisons are written as .md, .csv, .json or .svg", path.display()),
        };
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    print!("{}", table.markdown());
    if args.json {
        println!("{json}");
    }
    Ok(ExitCode::SUCCESS)
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
