//! What a run needs from outside the program: model files and the Python tool's environment, kept in the user's cache.
//!
//! Three nouns. A [`Cache`] is a folder of the user's. A [`ModelEntry`] names one model file by size and SHA-256, so that
//! the same bytes can come from several sources, none of which has to be trusted. A [`PythonEnv`] is a private virtual
//! environment with pinned packages.
//!
//! Everything here blocks and may use the network. Nothing here reads a model file's content or runs a model's code.

mod cache;
mod digest;
mod error;
mod hub;
mod model;
mod progress;
mod python;
mod python_env;
mod registry;
mod wheels;

pub use cache::Cache;
pub use error::ProvisionError;
pub use model::{cached_model, obtain_model, verify_model};
pub use progress::{Event, Progress, human_bytes};
pub use python_env::{PythonEnv, python_env};
pub use registry::{HubFile, ModelEntry, WheelParts, find_model, models};
