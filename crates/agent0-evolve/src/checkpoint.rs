//! Adapters on disk: written aside, synced, renamed, and only then named in the store. Knows nothing of what they learned.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use agent0_engine::{AdapterId, Engine, EngineError};

use crate::place::{Phase, Place};

/// Begins the name of a folder that is still being written.
const UNFINISHED: &str = ".unfinished-";

/// Why a checkpoint could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The engine could not write or read it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The file system failed.
    #[error("{path}: {cause}; if the disk is full, make room and run the same command again")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The store names a checkpoint that is not there.
    #[error("checkpoint {0} is missing; the run cannot go on without it")]
    Missing(PathBuf),
}

/// The `checkpoints` folder of a run.
pub struct Checkpoints {
    folder: PathBuf,
    keep: usize,
}

impl Checkpoints {
    /// The checkpoints of the run in `run`, of which the newest `keep` per agent stay.
    pub fn open(run: &Path, keep: usize) -> Result<Self, CheckpointError> {
        let folder = run.join("checkpoints");
        fs::create_dir_all(&folder).map_err(at(&folder))?;
        Ok(Self { folder, keep })
    }

    /// Writes the adapter that `place` trained. Returns the name for the store, which is always the same for a place:
    /// a step done again after a crash overwrites what the store never came to name.
    pub async fn save(&self, engine: &dyn Engine, adapter: AdapterId, place: Place) -> Result<String, CheckpointError> {
        let name = format!("{}-{:02}-{:04}", place.phase, place.iteration, place.step);
        let unfinished = self.folder.join(format!("{UNFINISHED}{name}"));
        let finished = self.folder.join(&name);
        remove(&unfinished)?;
        engine.save(adapter, &unfinished).await?;
        sync_tree(&unfinished)?;
        remove(&finished)?;
        fs::rename(&unfinished, &finished).map_err(at(&finished))?;
        sync(&self.folder)?;
        Ok(name)
    }

    /// Reads a checkpoint as a new adapter.
    pub async fn load(&self, engine: &dyn Engine, name: &str) -> Result<AdapterId, CheckpointError> {
        let path = self.folder.join(name);
        if !path.is_dir() {
            return Err(CheckpointError::Missing(path));
        }
        Ok(engine.load(&path).await?)
    }

    /// Deletes what is neither among `needed`, nor among the newest of its agent, nor the last of an iteration (those are
    /// what iterations are compared by).
    pub fn prune(&self, needed: &[&str]) -> Result<(), CheckpointError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(at(&self.folder))? {
            names.push(entry.map_err(at(&self.folder))?.file_name().to_string_lossy().into_owned());
        }
        names.sort(); // iterations and steps have leading zeros: the newest of an agent is the last
        for agent in [Phase::Curriculum, Phase::Executor] {
            let own: Vec<&String> = names.iter().filter(|name| name.starts_with(&format!("{agent}-"))).collect();
            let iteration = |name: &str| name.rsplit_once('-').map(|(iteration, _)| iteration.to_owned());
            let old = own.len().saturating_sub(self.keep);
            for (name, next) in own.iter().zip(own.iter().skip(1)).take(old) {
                if iteration(name) == iteration(next) && !needed.contains(&name.as_str()) {
                    remove(&self.folder.join(name))?;
                }
            }
        }
        for name in names.iter().filter(|name| name.starts_with(UNFINISHED)) {
            remove(&self.folder.join(name))?;
        }
        Ok(())
    }
}

fn remove(folder: &Path) -> Result<(), CheckpointError> {
    match fs::remove_dir_all(folder) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(at(folder)(cause)),
        _ => Ok(()),
    }
}

fn sync_tree(folder: &Path) -> Result<(), CheckpointError> {
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let path = entry.map_err(at(folder))?.path();
        if path.is_dir() { sync_tree(&path)? } else { sync(&path)? }
    }
    sync(folder)
}

fn sync(path: &Path) -> Result<(), CheckpointError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(at(path))
}

fn at(path: &Path) -> impl Fn(io::Error) -> CheckpointError + '_ {
    |cause| CheckpointError::Io { path: path.to_path_buf(), cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pruning_keeps_the_newest_and_what_is_needed() {
        let run = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::open(run.path(), 2).unwrap();
        let curriculum = ["curriculum-01-0001", "curriculum-01-0002", "curriculum-02-0001", "curriculum-02-0002", "curriculum-03-0001"];
        let executor = ["executor-01-0008", "executor-01-0009", "executor-01-0010", "executor-01-0011"];
        for name in curriculum.iter().chain(&executor) {
            fs::create_dir(checkpoints.folder.join(name)).unwrap();
        }
        fs::create_dir(checkpoints.folder.join(".unfinished-executor-01-0012")).unwrap();
        checkpoints.prune(&["executor-01-0009"]).unwrap();
        let mut left: Vec<_> = fs::read_dir(&checkpoints.folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, [&curriculum[1..2], &curriculum[3..], &executor[1..]].concat());
    }
}
