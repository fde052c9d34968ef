//! What a run has trained, for whoever wants to use it: its settings, and the checkpoint of an agent after any iteration. Only reads;
//! the run may be at work meanwhile.

use std::fs;
use std::path::{Path, PathBuf};

use crate::checkpoint::CheckpointError;
use crate::config::Config;
use crate::error::EvolveError;
use crate::place::Phase;
use crate::settings;
use crate::store::{Cursor, Store};

/// A run seen from outside.
pub struct Trained {
    /// The run's name.
    pub name: String,
    /// Its settings.
    pub config: Config,
    folder: PathBuf,
    cursor: Cursor,
}

impl Trained {
    /// The run `run`: its folder, or its name under `runs`.
    ///
    /// # Errors
    /// When there is no run, or it cannot be read.
    pub fn open(runs: &Path, run: &str) -> Result<Self, EvolveError> {
        let folder = find_run(runs, run);
        let cursor = Store::open_to_read(&folder)?.cursor()?;
        let config = settings::read_stored(&folder.join("config.toml"))?;
        let name = folder.file_name().map_or_else(|| run.to_owned(), |name| name.to_string_lossy().into_owned());
        Ok(Self { name, config, folder, cursor })
    }

    /// Iterations that are finished.
    pub fn iterations(&self) -> usize {
        self.cursor.place.iteration - 1
    }

    /// The newest checkpoint of the agent that `phase` trains, or the one it had after `iteration` (0: before the first). `None`: the
    /// agent is still the base model there.
    ///
    /// # Errors
    /// When the iteration is not finished, or the checkpoint is not there.
    pub fn checkpoint(&self, phase: Phase, iteration: Option<usize>) -> Result<Option<PathBuf>, EvolveError> {
        let newest = match phase {
            Phase::Curriculum => &self.cursor.curriculum,
            Phase::Frontier | Phase::Executor => &self.cursor.executor,
        };
        let (Some(newest), Some(t)) = (newest, iteration) else {
            let none_yet = iteration.is_none_or(|t| t <= self.iterations());
            return if none_yet { self.existing(newest.as_deref()) } else { Err(self.unfinished(iteration)) };
        };
        if t > self.iterations() {
            return Err(self.unfinished(iteration));
        }
        // Names sort by iteration and step. What lies beyond the newest was written by a step that the store never came to name.
        let after = format!("{}-{:02}-", phase_of(newest), t + 1);
        let kept = self.names()?.into_iter().filter(|name| phase_of(name) == phase_of(newest) && *name < after && name <= newest);
        self.existing(kept.max().as_deref())
    }

    fn names(&self) -> Result<Vec<String>, EvolveError> {
        let folder = self.folder.join("checkpoints");
        let failed = |cause| EvolveError::Folder { path: folder.clone(), cause };
        let entries = fs::read_dir(&folder).map_err(failed)?;
        entries.map(|entry| Ok(entry.map_err(failed)?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn existing(&self, name: Option<&str>) -> Result<Option<PathBuf>, EvolveError> {
        let Some(name) = name else { return Ok(None) };
        let path = self.folder.join("checkpoints").join(name);
        if path.is_dir() { Ok(Some(path)) } else { Err(CheckpointError::Missing(path).into()) }
    }

    fn unfinished(&self, iteration: Option<usize>) -> EvolveError {
        EvolveError::NotFinished { run: self.name.clone(), asked: iteration.unwrap_or_default(), finished: self.iterations() }
    }
}

/// The folder of a run that is named by its folder, or by its name under `runs`.
pub fn find_run(runs: &Path, run: &str) -> PathBuf {
    let path = PathBuf::from(run);
    if path.join("run.db").is_file() { path } else { runs.join(run) }
}

/// `executor` of `executor-01-0004`.
fn phase_of(checkpoint: &str) -> &str {
    checkpoint.split('-').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::RunFolder;
    use crate::place::Place;
    use crate::settings::Request;

    /// A run in its third iteration, whose second trained nothing.
    fn run(runs: &Path) -> Trained {
        let folder = RunFolder::open(runs, Some("a"), &Request::default()).unwrap();
        let place = Place { iteration: 3, phase: Phase::Executor, step: 2 };
        let executor = Some("executor-03-0001".to_owned());
        folder.store.set_cursor(&Cursor { place, curriculum: None, executor, reference: None }).unwrap();
        for name in ["executor-01-0003", "executor-01-0004", "executor-03-0001", "executor-03-0002", ".unfinished-executor-01-0005"] {
            fs::create_dir_all(folder.path.join("checkpoints").join(name)).unwrap();
        }
        Trained::open(runs, "a").unwrap()
    }

    #[test]
    fn checkpoints_are_found_by_iteration() {
        let runs = tempfile::tempdir().unwrap();
        let run = run(runs.path());
        let name = |phase, iteration| {
            let path = run.checkpoint(phase, iteration).unwrap();
            path.map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        };
        assert_eq!(name(Phase::Executor, None).as_deref(), Some("executor-03-0001"), "what the store names, not what lies there");
        assert_eq!(name(Phase::Executor, Some(2)).as_deref(), Some("executor-01-0004"));
        assert_eq!(name(Phase::Executor, Some(1)).as_deref(), Some("executor-01-0004"));
        assert_eq!(name(Phase::Executor, Some(0)), None);
        assert_eq!((name(Phase::Curriculum, None), name(Phase::Curriculum, Some(1))), (None, None));
        for phase in [Phase::Executor, Phase::Curriculum] {
            let error = run.checkpoint(phase, Some(3)).unwrap_err().to_string();
            assert!(error.contains("2 iterations"), "{error}");
        }
    }

    #[test]
    fn runs_are_found_by_folder_and_by_name() {
        let runs = tempfile::tempdir().unwrap();
        run(runs.path());
        let by_folder = Trained::open(Path::new("elsewhere"), &runs.path().join("a").to_string_lossy()).unwrap();
        assert_eq!((by_folder.name.as_str(), by_folder.iterations()), ("a", 2));
        assert!(Trained::open(runs.path(), "b").err().unwrap().to_string().contains("is not a run"));
    }
}
