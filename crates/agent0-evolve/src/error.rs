//! Why a run stopped. Everything that was finished before is in the store.

use agent0_answers::AnswerError;
use agent0_engine::{CodecError, EngineError};
use agent0_rl::{ObjectiveError, RolloutError};

use crate::checkpoint::CheckpointError;
use crate::settings::ConfigError;
use crate::store::StoreError;

/// Why a run stopped.
#[derive(Debug, thiserror::Error)]
pub enum EvolveError {
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The tokenizer or chat template.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A trajectory.
    #[error(transparent)]
    Rollout(#[from] RolloutError),
    /// The training data.
    #[error(transparent)]
    Objective(#[from] ObjectiveError),
    /// Comparing answers.
    #[error(transparent)]
    Answers(#[from] AnswerError),
    /// The run's folder.
    #[error("{path}: {cause}")]
    Folder {
        /// The file or folder.
        path: std::path::PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// A folder that is there already and is no run.
    #[error("{0} exists and is not a run; give --name for another one")]
    Occupied(std::path::PathBuf),
    /// A run begun with other weights.
    #[error("this run was begun with another {what}: {stored}, and now {found}; give --name for a new run")]
    OtherModel {
        /// What differs.
        what: &'static str,
        /// What the run was begun with.
        stored: String,
        /// What there is now.
        found: String,
    },
    /// Weights that the run does not have yet.
    #[error(
        "run `{run}` has finished {finished} iterations: there is nothing after iteration {asked} yet; name an earlier one, or go on with the run"
    )]
    NotFinished {
        /// The run.
        run: String,
        /// The iteration asked for.
        asked: usize,
        /// How many there are.
        finished: usize,
    },
}
