//! `agent0 export`: what a run has trained, for other programs. Chooses model and adapter, shows progress; `agent0-lm` writes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use agent0_evolve::Request;
use agent0_lm::{Base, Export, Exported, WeightFormat, export_adapter, export_model};
use agent0_provision::{Cache, find_model, human_bytes, obtain_model};
use anyhow::{Context, bail};
use serde_json::json;

use crate::cli::ExportArgs;
use crate::subject::Subject;
use crate::terminal::{SetupProgress, Terminal, bar};

/// Runs the command.
pub fn run(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let subject = Subject::choose(args.run.as_deref(), &args.subject, &Request::default(), args.agent.phase())?;
    let terminal = Terminal::new(args.json);
    let (exported, format) = if args.merge {
        let format = args.dtype.map_or(WeightFormat::Bf16, |dtype| dtype.format());
        (merged(&subject, format, &args.out, &terminal)?, Some(format))
    } else {
        (adapter(&subject, &args.out, &terminal)?, None)
    };
    terminal.clear();
    tell(&subject, &exported, format, args.json);
    Ok(ExitCode::SUCCESS)
}

/// The whole model, with the adapter in its weights.
fn merged(subject: &Subject, format: WeightFormat, out: &Path, terminal: &Terminal) -> anyhow::Result<Exported> {
    let progress = SetupProgress::new(terminal);
    let model = obtain_model(&Cache::open()?, &subject.config.model, &|event| progress.event(event))?;
    if subject.adapter.is_none() {
        terminal.line(&format!("note: {} has no adapter; the base model is written as it is", subject.name));
    }
    let request = Export { model: &model, adapter: subject.adapter.as_deref(), format, out };
    let progress = |done: u64, total: u64| {
        terminal.status(&format!("writing weights: {}  {}", bar(done as f64 / total as f64), human_bytes(done)));
    };
    export_model(&request, &progress).with_context(|| format!("exporting {}", subject.name))
}

/// The adapter alone.
fn adapter(subject: &Subject, out: &Path, terminal: &Terminal) -> anyhow::Result<Exported> {
    let Some(adapter) = &subject.adapter else {
        bail!("{} has no adapter: it is the base model {}; with --merge the model itself is written", subject.name, subject.config.model);
    };
    let base = base(&subject.config.model)?;
    if base.is_none() {
        terminal.line("note: the base model is a GGUF file, on which peft puts no adapter; with --merge the whole model is written");
    }
    export_adapter(adapter, base.as_ref(), out).with_context(|| format!("exporting {}", subject.name))
}

/// The base model as PEFT finds it. A GGUF file has nothing of the kind.
fn base(model: &str) -> anyhow::Result<Option<Base>> {
    let plain = |name: &str| Base { name: name.to_owned(), revision: None };
    let path = Path::new(model);
    if path.is_dir() {
        let absolute = path.canonicalize().with_context(|| format!("finding {model}"))?;
        return Ok(Some(plain(&absolute.to_string_lossy())));
    }
    if path.exists() {
        return Ok(None);
    }
    // A name of the registry, else one of the hub, perhaps with a revision.
    let hub = || {
        let named = model.split_once('@').map(|(name, revision)| Base { revision: Some(revision.to_owned()), ..plain(name) });
        Some(named.unwrap_or_else(|| plain(model))).filter(|base| base.name.contains('/'))
    };
    Ok(find_model(model).ok().map(|entry| plain(entry.base)).or_else(hub))
}

fn tell(subject: &Subject, exported: &Exported, format: Option<WeightFormat>, as_json: bool) {
    let bytes: u64 = exported.files.iter().map(|(_, bytes)| bytes).sum();
    let (kind, dtype) = (if format.is_some() { "merged" } else { "adapter" }, format.map(WeightFormat::name));
    if as_json {
        let files: Vec<_> = exported.files.iter().map(|(name, bytes)| json!({ "name": name, "bytes": bytes })).collect();
        let adapter: Option<&PathBuf> = subject.adapter.as_ref();
        let report = json!({
            "kind": kind,
            "subject": subject.name,
            "model": subject.config.model,
            "adapter": adapter,
            "folder": exported.folder,
            "dtype": dtype,
            "bytes": bytes,
            "files": files,
        });
        println!("{report}");
        return;
    }
    for (name, bytes) in &exported.files {
        println!("{:>9}  {name}", human_bytes(*bytes));
    }
    let what = dtype.map_or_else(|| "PEFT adapter".to_owned(), |dtype| format!("model in {dtype}"));
    println!("{}: {what}, {} in all, is in {}", subject.name, human_bytes(bytes), exported.folder.display());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_is_named_as_peft_finds_it() {
        let name = |model: &str| base(model).unwrap().map(|base| base.name);
        assert_eq!(name("qwen2.5-coder-0.5b-instruct").as_deref(), Some("Qwen/Qwen2.5-Coder-0.5B-Instruct"));
        for (model, revision) in [("Qwen/Qwen3-4B-Base", None), ("Qwen/Qwen3-4B-Base@v1", Some("v1"))] {
            let wanted = Base { name: "Qwen/Qwen3-4B-Base".into(), revision: revision.map(str::to_owned) };
            assert_eq!(base(model).unwrap(), Some(wanted));
        }
        let folder = tempfile::tempdir().unwrap();
        let named = name(&folder.path().to_string_lossy()).unwrap();
        assert!(Path::new(&named).is_absolute() && Path::new(&named).is_dir());
        std::fs::write(folder.path().join("a.gguf"), "").unwrap();
        assert_eq!(name(&folder.path().join("a.gguf").to_string_lossy()), None);
    }
}
