//! Obtains the models named on the command line and the Python environment, into the user's cache.

use agent0_provision::{Cache, Event, ProvisionError, human_bytes, obtain_model, python_env};

fn main() -> Result<(), ProvisionError> {
    let show = |event: Event| match event {
        Event::Started { what, total } => println!("{what}{}", total.map(|t| format!(" ({})", human_bytes(t))).unwrap_or_default()),
        Event::Note(line) => println!("note: {line}"),
        Event::Advanced { .. } | Event::Finished => {}
    };
    let cache = Cache::open()?;
    for name in std::env::args().skip(1) {
        println!("{name}: {}", obtain_model(&cache, &name, &show)?.display());
    }
    let env = python_env(&cache, None, &show)?;
    println!("Python {}: {}", env.version, env.python.display());
    Ok(())
}
