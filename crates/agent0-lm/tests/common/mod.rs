//! Real model files for tests: from the cache, or obtained as the program would obtain them.

use std::path::PathBuf;

use agent0_provision::{Cache, obtain_model};

/// The file of a registered model. `AGENT0_TEST_MODELS` may name a folder that already has it as `<name>.gguf`.
pub fn model(name: &str) -> PathBuf {
    if let Some(folder) = std::env::var_os("AGENT0_TEST_MODELS") {
        return PathBuf::from(folder).join(format!("{name}.gguf"));
    }
    let cache = Cache::open().unwrap();
    obtain_model(&cache, name, &|_| {}).unwrap_or_else(|e| panic!("{name}: {e}"))
}
