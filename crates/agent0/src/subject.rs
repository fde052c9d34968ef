//! Whose weights answer: an agent of a run, or a model with or without an adapter. Finds them; loads nothing by itself but the adapter.

use std::path::PathBuf;

use agent0_engine::{Engine, Weights};
use agent0_evolve::config::Config;
use agent0_evolve::{Phase, Request, Trained};
use anyhow::Context;

use crate::cli::{SubjectArgs, UseArgs};

/// A model that is used, not trained.
pub struct Subject {
    /// What reports call it: `laptop-x` or `laptop-x, iteration 2` for a run's agent, else the model as it was named.
    pub name: String,
    /// What it is served as: the run's name, or the model as it was named, whatever iteration or adapter it is.
    pub served_as: String,
    /// The settings it is used with: the run's own, or those of the default preset as the command line changes them.
    pub config: Config,
    /// A PEFT folder; `None` is the base model alone.
    pub adapter: Option<PathBuf>,
}

impl Subject {
    /// What the command line names: the agent of `run` that `phase` trains, or the model of `args` with the settings of `request`.
    pub fn choose(run: Option<&str>, args: &SubjectArgs, request: &Request, phase: Phase) -> anyhow::Result<Self> {
        if let Some(run) = run {
            let trained = Trained::open(&args.runs, run)?;
            let adapter = trained.checkpoint(phase, args.iteration)?;
            let name = match args.iteration {
                Some(t) => format!("{}, iteration {t}", trained.name),
                None => trained.name.clone(),
            };
            return Ok(Self { name, served_as: trained.name, config: trained.config, adapter });
        }
        let mut config = request.resolve()?;
        if let Some(model) = &args.model {
            config.model.clone_from(model);
        }
        let name = match &args.adapter {
            Some(adapter) => format!("{} + {}", config.model, adapter.display()),
            None => config.model.clone(),
        };
        Ok(Self { name, served_as: config.model.clone(), config, adapter: args.adapter.clone() })
    }

    /// The executor that the command line names, to be computed as it says.
    pub fn executor(run: Option<&str>, args: &UseArgs) -> anyhow::Result<Self> {
        let request = Request { preset: None, file: args.config.clone(), sets: args.sets.clone() };
        let mut subject = Self::choose(run, &args.subject, &request, Phase::Executor)?;
        if let Some(dtype) = args.engine.dtype {
            subject.config.engine.dtype = dtype.choice();
        }
        if let Some(threads) = args.engine.threads {
            subject.config.engine.threads = threads.get();
        }
        Ok(subject)
    }

    /// Brings the adapter, if there is one, into an engine that holds the model.
    pub async fn weights(&self, engine: &dyn Engine) -> anyhow::Result<Weights> {
        let Some(folder) = &self.adapter else { return Ok(Weights::Base) };
        let loaded = engine.load(folder).await;
        loaded.map(Weights::Live).with_context(|| format!("the adapter in {} cannot be used with {}", folder.display(), self.config.model))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent0_evolve::RunFolder;

    fn args(runs: PathBuf) -> SubjectArgs {
        SubjectArgs { model: None, adapter: None, iteration: None, runs }
    }

    #[test]
    fn clients_need_not_know_the_iteration_or_the_adapter() {
        let folder = tempfile::tempdir().unwrap();
        drop(RunFolder::open(folder.path(), Some("mine"), &Request::default()).unwrap());
        let names = |run, args| {
            let subject = Subject::choose(run, &args, &Request::default(), Phase::Executor).unwrap();
            (subject.name, subject.served_as)
        };
        let of_run = SubjectArgs { iteration: Some(0), ..args(folder.path().to_owned()) };
        assert_eq!(names(Some("mine"), of_run), ("mine, iteration 0".into(), "mine".into()));
        let adapted = SubjectArgs { model: Some("org/base".into()), adapter: Some("a".into()), ..args(PathBuf::new()) };
        assert_eq!(names(None, adapted), ("org/base + a".into(), "org/base".into()));
    }
}
