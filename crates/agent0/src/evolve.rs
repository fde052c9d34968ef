//! `agent0 evolve`: opens the run, equips it, lets the method work, and sums up.

use std::process::ExitCode;

use agent0_eval::model_digest;
use agent0_evolve::methods::agent0;
use agent0_evolve::store::Store;
use agent0_evolve::{EvolveError, Machinery, Run, RunFolder, Summary, summarise};
use anyhow::Context;

use crate::cli::EvolveArgs;
use crate::progress::Progress;
use crate::report;
use crate::setup::{Equipment, equip, other_python};
use crate::stop::stop_signal;
use crate::terminal::Terminal;

/// How the work ended, when it did not fail.
enum Ending {
    Finished,
    Interrupted,
}

/// Runs the command.
pub fn run(args: &EvolveArgs) -> anyhow::Result<ExitCode> {
    let terminal = Terminal::new(args.quiet);
    let folder = RunFolder::open(&args.runs, args.name.as_deref(), &args.request())?;
    let (name, path, config) = (folder.name.clone(), folder.path.clone(), folder.config.clone());
    let summary = summarise(&name, &config, &folder.store)?;
    if summary.status == "finished" {
        terminal.clear();
        conclude(args, &summary, &format!("Run `{name}` is finished: there is nothing left to do. For another one give --name."))?;
        return Ok(ExitCode::SUCCESS);
    }
    let verb = if folder.resumed { "going on with" } else { "starting" };
    terminal.line(&format!("{verb} run {name} in {} (preset {}, model {})", path.display(), config.preset, config.model));

    let equipment = equip(&config, args.isolation.unsafe_no_isolation, &terminal)?;
    remember_python(&folder.store, &equipment.python, &terminal)?;
    let ended = work(folder, &equipment, &terminal, args.verbose);
    terminal.clear();

    let (status, message) = match &ended {
        Ok(Ending::Finished) => ("finished", format!("Finished. Everything is in {}.", path.display())),
        Ok(Ending::Interrupted) => ("interrupted", format!("Stopped; nothing is lost. The same command goes on with run `{name}`.")),
        Err(error) => ("failed", format!("Failed: {error:#}\nWhat was done is kept; the same command goes on from there.")),
    };
    let summed_up = Store::open_to_read(&path).and_then(|store| summarise(&name, &config, &store));
    let told = match summed_up {
        Ok(summary) => conclude(args, &Summary { status: status.to_owned(), ..summary }, &message),
        // What became of the work is said in any case.
        Err(error) => {
            eprintln!("{message}");
            Err(error).context("summing up the run")
        }
    };
    if let Err(error) = &told {
        eprintln!("agent0: {error:#}");
    }
    let code = i32::from(status != "finished" || told.is_err());
    // The engine may be in the middle of a long computation that nobody waits for any more: do not wait either.
    drop(equipment.sandbox);
    std::process::exit(code);
}

/// Notes in the run what runs its programs, and says so when that is not what it was.
fn remember_python(store: &Store, python: &str, terminal: &Terminal) -> anyhow::Result<()> {
    let before = store.meta("python")?;
    if let Some(warning) = other_python("this run", before.as_deref(), python) {
        terminal.warn(&warning);
    }
    if before.as_deref() != Some(python) {
        store.set_meta("python", python)?;
    }
    Ok(())
}

/// Works on the run until it is done or someone presses Ctrl-C.
fn work(folder: RunFolder, equipment: &Equipment, terminal: &Terminal, verbose: bool) -> anyhow::Result<Ending> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the event loop")?;
    let progress = Progress::new(terminal, verbose);
    let machinery = Machinery {
        engine: &equipment.engine,
        weights: model_digest(&equipment.model)?,
        codec: equipment.tokenizer.clone(),
        tool: &*equipment.sandbox,
        grader: &equipment.grader,
        observer: &progress,
    };
    runtime.block_on(async {
        let whole = async {
            let mut run = Run::start(folder, machinery).await?;
            agent0::evolve(&mut run).await
        };
        tokio::select! {
            done = whole => done.map(|()| Ending::Finished).map_err(EvolveError::into),
            stop = stop_signal() => stop.map(|()| Ending::Interrupted).context("waiting for Ctrl-C"),
        }
    })
}

/// The last words: the summary, a message, and the JSON line if asked for.
fn conclude(args: &EvolveArgs, summary: &Summary, message: &str) -> anyhow::Result<()> {
    if args.json {
        eprintln!("{message}");
        println!("{}", serde_json::to_string(summary)?);
    } else {
        println!("{}\n{message}", report::text(summary));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_run_remembers_the_python_that_came_last() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let terminal = Terminal::new(true);
        for python in ["Python 3.11.2 with numpy==2", "Python 3.11.2 with numpy==2", "Python 3.13.1 with numpy==2"] {
            remember_python(&store, python, &terminal).unwrap();
            assert_eq!(store.meta("python").unwrap().as_deref(), Some(python));
        }
    }
}
