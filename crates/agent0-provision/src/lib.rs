//! What a run needs from outside the program: models, datasets and the Python tool's environment, kept in the user's cache.
//!
//! Three nouns. A [`Cache`] is a folder of the user's. A [`ModelEntry`] names one model file by size and SHA-256, so that
//! the same bytes can come from several sources, none of which has to be trusted. A [`PythonEnv`] is a private virtual
//! environment with pinned packages.
//!
//! Besides the registry's models there are all repositories of the Hugging Face hub that hold safetensors, by their own names
//! (`Qwen/Qwen3-4B-Base`, with `@revision` if not `main`). These are trusted as the hub is: what it says a commit holds is what
//! is let in, and the commit once chosen is kept to.
//!
//! Datasets of the hub come the same way, as the files of a repository that match a pattern.
//!
//! Everything here blocks and may use the network. Of a model's files only the index of the weights is read; no code of a
//! model is fetched or run.

mod cache;
mod checked;
mod dataset;
mod digest;
mod error;
#[cfg(test)]
mod fake_hub;
mod folder_stamp;
mod hub;
mod hub_layout;
mod hub_listing;
mod hub_settings;
mod model;
mod model_files;
mod progress;
mod python;
mod python_env;
mod registry;
mod repo;
mod repo_name;
mod sources;
mod wanted;
mod wheels;

pub use cache::Cache;
pub use dataset::{Dataset, cached_dataset, obtain_dataset};
pub use digest::{file_sha256, hex, sha256_text};
pub use error::ProvisionError;
pub use model::{cached_model, obtain_model, verify_model};
pub use model_files::is_plain;
pub use progress::{Event, Progress, human_bytes};
pub use python_env::{PythonEnv, PythonOutlook, python_env, python_outlook};
pub use registry::{HubFile, ModelEntry, WheelParts, find_model, models};
pub use repo_name::RepoKind;
