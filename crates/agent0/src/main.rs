//! The `agent0` command: one file per subcommand, this one says which.

// First, because its macros are those of all that follows.
#[macro_use]
mod streams;

mod answers;
mod bench;
mod cli;
mod doctor;
mod eval;
mod evolve;
mod export;
mod model;
mod progress;
mod report;
mod sandbox;
mod serve;
mod setup;
mod solve;
mod speech;
mod stop;
mod subject;
mod svg;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

fn main() -> ExitCode {
    // The sandbox starts this program again as its launcher; nothing else may happen in that process.
    if std::env::args().nth(1).as_deref() == Some(agent0_sandbox::LAUNCHER_ARGUMENT) {
        agent0_sandbox::launcher_main();
    }
    let done = match Cli::parse().command {
        Command::Evolve(args) => evolve::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Solve(args) => solve::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Model(args) => model::run(&args),
        Command::Sandbox(args) => sandbox::run(&args),
        Command::Answers(args) => answers::run(&args),
        Command::Bench(args) => bench::run(&args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("agent0: {error:#}");
        cli::exit_code(&error)
    })
}
