//! `agent0 model`: the models known by name, and bringing one into the cache.

use std::process::ExitCode;

use agent0_provision::{Cache, cached_model, find_model, human_bytes, models, obtain_model, verify_model};

use crate::cli::{ModelArgs, ModelCommand};
use crate::terminal::{SetupProgress, Terminal};

/// Runs the command.
pub fn run(args: &ModelArgs) -> anyhow::Result<ExitCode> {
    let cache = Cache::open()?;
    match &args.command {
        ModelCommand::List => {
            for model in models() {
                let place = if cached_model(&cache, model)?.is_some() { "in the cache" } else { "not fetched" };
                println!("{:30} {:>8}  {:13} {}", model.name, human_bytes(model.bytes), place, model.about);
            }
        }
        ModelCommand::Fetch { name } => {
            let terminal = Terminal::new(false);
            let progress = SetupProgress::new(&terminal);
            let progress = |event| progress.event(event);
            // A registered file that is here already is read again from end to end; a hub repository checks itself.
            let verified = match find_model(name) {
                Ok(entry) => verify_model(&cache, entry, &progress)?,
                Err(_) => None,
            };
            let path = verified.map_or_else(|| obtain_model(&cache, name, &progress), Ok)?;
            terminal.clear();
            println!("{}", path.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}
