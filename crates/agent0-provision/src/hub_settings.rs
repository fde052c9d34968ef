//! The user's settings for the Hugging Face hub, as its own tools read them from the environment and the home folder.

use std::fs;
use std::path::PathBuf;

/// The hub's address: `$HF_ENDPOINT`, else the public one.
pub(crate) fn endpoint() -> String {
    var("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_string())
}

/// The access token: `$HF_TOKEN`, else the one that a log-in left in the home folder.
pub(crate) fn token() -> Option<String> {
    let saved = || Some(fs::read_to_string(home_folder()?.join("token")).ok()?.trim().to_string());
    var("HF_TOKEN").or_else(saved).filter(|token| !token.is_empty())
}

/// Whether `$HF_HUB_OFFLINE` says to stay offline.
pub(crate) fn is_offline() -> bool {
    var("HF_HUB_OFFLINE").is_some_and(|v| ["1", "on", "true", "yes"].contains(&v.to_lowercase().as_str()))
}

/// The user's hub cache: `$HF_HUB_CACHE`, else `$HF_HOME/hub`, else `~/.cache/huggingface/hub`.
pub(crate) fn cache_folder() -> Option<PathBuf> {
    var("HF_HUB_CACHE").map(PathBuf::from).or_else(|| Some(home_folder()?.join("hub")))
}

fn home_folder() -> Option<PathBuf> {
    let cache = || var("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".cache")));
    var("HF_HOME").map(PathBuf::from).or_else(|| Some(cache()?.join("huggingface")))
}

fn var(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}
