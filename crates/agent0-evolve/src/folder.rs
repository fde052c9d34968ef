//! A run's folder: made for a new run, or found with its settings to go on. Does no work of the run.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::error::EvolveError;
use crate::settings::{self, Request};
use crate::store::Store;

/// A run that this process has locked.
pub struct RunFolder {
    /// The run's name.
    pub name: String,
    /// Its folder.
    pub path: PathBuf,
    /// Its settings.
    pub config: Config,
    /// Whether it was there before.
    pub resumed: bool,
    /// Its store.
    pub store: Store,
}

impl RunFolder {
    /// Finds the run `name` under `runs`, or makes it; without a name it follows from the preset and the model, so
    /// that the same command finds the same run.
    ///
    /// # Errors
    /// Settings that are wrong or contradict the run's; a folder that is no run, is in use, or is another version's.
    pub fn open(runs: &Path, name: Option<&str>, request: &Request) -> Result<Self, EvolveError> {
        let name = match name {
            Some(name) => name.to_owned(),
            None => default_name(&request.resolve()?),
        };
        let path = runs.join(&name);
        let settings_path = path.join("config.toml");
        if !settings_path.is_file() {
            if has_other_files(&path) {
                return Err(EvolveError::Occupied(path));
            }
            request.resolve()?; // what is wrong makes no folder
            fs::create_dir_all(&path).map_err(|cause| EvolveError::Folder { path: path.clone(), cause })?;
        }
        // From here on nobody else changes the run.
        let store = Store::open(&path)?;
        let resumed = settings_path.is_file() && store.is_begun()?;
        let config = if resumed || (settings_path.is_file() && request.is_empty()) {
            request.resumed(&name, &settings::read_stored(&settings_path)?)?
        } else {
            request.resolve()?
        };
        let text = settings::to_toml(&config);
        if !fs::read_to_string(&settings_path).is_ok_and(|stored| stored == text) {
            write_whole(&settings_path, &text).map_err(|cause| EvolveError::Folder { path: settings_path, cause })?;
        }
        Ok(Self { name, path, config, resumed, store })
    }
}

/// Such as `laptop-qwen2.5-coder-0.5b-instruct`.
pub fn default_name(config: &Config) -> String {
    let model = Path::new(&config.model).file_stem().map_or_else(|| config.model.clone(), |stem| stem.to_string_lossy().into_owned());
    // A registry name such as `qwen2.5-coder` has a dot but no extension.
    let model = if Path::new(&config.model).extension().is_some_and(|e| e == "gguf") { model } else { last_part(&config.model) };
    let plain = |c: char| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c.to_ascii_lowercase() } else { '-' };
    format!("{}-{model}", config.preset).chars().map(plain).collect()
}

fn last_part(model: &str) -> String {
    model.trim_end_matches('/').rsplit('/').next().unwrap_or(model).to_owned()
}

/// Whether a folder without settings holds more than a process that was killed while it made the run leaves behind.
fn has_other_files(path: &Path) -> bool {
    let left_behind = |name: &str| name == "lock" || name == "config.toml.new" || name.starts_with("run.db");
    fs::read_dir(path).is_ok_and(|entries| entries.flatten().any(|entry| !left_behind(&entry.file_name().to_string_lossy())))
}

/// Writes a file so that it is there whole or not at all.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("toml.new");
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_from_preset_and_model() {
        let name = |model: &str| default_name(&Config { model: model.into(), ..Config::default() });
        assert_eq!(name("qwen2.5-coder-0.5b-instruct"), "laptop-qwen2.5-coder-0.5b-instruct");
        assert_eq!(name("/models/My Model Q4.gguf"), "laptop-my-model-q4");
        assert_eq!(name("Qwen/Qwen3-4B-Base/"), "laptop-qwen3-4b-base");
    }

    #[test]
    fn a_folder_that_is_no_run_is_left_alone() {
        let runs = tempfile::tempdir().unwrap();
        fs::create_dir(runs.path().join("mine")).unwrap();
        fs::write(runs.path().join("mine/thesis.tex"), "").unwrap();
        let opened = RunFolder::open(runs.path(), Some("mine"), &Request::default());
        assert!(matches!(opened, Err(EvolveError::Occupied(_))));
    }

    #[test]
    fn a_run_is_found_again_with_its_settings() {
        let runs = tempfile::tempdir().unwrap();
        let request = Request { preset: Some("smoke".into()), sets: vec!["seed=9".into()], ..Request::default() };
        let new = RunFolder::open(runs.path(), Some("a"), &request).unwrap();
        assert!(!new.resumed);
        new.store.set_meta("model", "m").unwrap();
        drop(new);
        let again = RunFolder::open(runs.path(), Some("a"), &Request::default()).unwrap();
        assert!(again.resumed && again.config.seed == 9 && again.config.preset == "smoke");
        drop(again);
        let other = Request { sets: vec!["seed=8".into()], ..Request::default() };
        let error = RunFolder::open(runs.path(), Some("a"), &other).err().unwrap().to_string();
        assert!(error.contains("seed is 9 there, 8 was asked for"), "{error}");
        // What decides no result follows the machine.
        let here = Request { sets: vec!["engine.threads=1".into()], ..Request::default() };
        assert_eq!(RunFolder::open(runs.path(), Some("a"), &here).unwrap().config.engine.threads, 1);
        assert_eq!(RunFolder::open(runs.path(), Some("a"), &Request::default()).unwrap().config.engine.threads, 1);
    }

    #[test]
    fn a_run_that_never_began_takes_other_settings() {
        let runs = tempfile::tempdir().unwrap();
        let asked = |model: &str| Request { sets: vec![format!("model={model}")], ..Request::default() };
        drop(RunFolder::open(runs.path(), Some("a"), &asked("typo")).unwrap());
        let again = RunFolder::open(runs.path(), Some("a"), &asked("right")).unwrap();
        assert!(!again.resumed && again.config.model == "right");
        drop(again);
        assert_eq!(RunFolder::open(runs.path(), Some("a"), &Request::default()).unwrap().config.model, "right", "as last asked");
        // Killed before the settings were written.
        fs::remove_file(runs.path().join("a/config.toml")).unwrap();
        assert!(!RunFolder::open(runs.path(), Some("a"), &asked("right")).unwrap().resumed);
    }
}
