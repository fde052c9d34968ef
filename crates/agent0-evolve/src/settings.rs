//! Puts a run's [`Config`] together: defaults, then a preset, then a file, then single `key=value` settings.
//! Unknown keys are errors that suggest the nearest key. Does not decide what a setting means.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::config::Config;

/// Presets by name: differences from [`Config::default`].
pub const PRESETS: [(&str, &str); 4] = [
    ("smoke", include_str!("presets/smoke.toml")),
    ("laptop", include_str!("presets/laptop.toml")),
    ("paper", include_str!("presets/paper.toml")),
    ("code", include_str!("presets/code.toml")),
];

/// Settings that decide how fast a run is and what it takes, and nothing that comes of it.
const FOLLOWS_THE_MACHINE: [&str; 5] = ["engine.threads", "engine.kv_mib", "engine.in_flight", "sandbox.concurrency", "keep_checkpoints"];

/// Why settings could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file could not be read.
    #[error("cannot read settings from {path}: {cause}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// A file is not TOML.
    #[error("{origin} is not valid TOML: {cause}")]
    Syntax {
        /// The file or setting.
        origin: String,
        /// What the parser said.
        cause: String,
    },
    /// Keys that do not exist.
    #[error("{}", unknown_text(.0))]
    UnknownKeys(Vec<UnknownKey>),
    /// A value of the wrong kind.
    #[error("bad setting in {origin}: {cause}")]
    BadValue {
        /// Where the settings came from.
        origin: String,
        /// What was wrong.
        cause: String,
    },
    /// Values that cannot work.
    #[error("these settings cannot work: {}", .0.join("; "))]
    Unusable(Vec<String>),
    /// No preset of this name.
    #[error("there is no preset `{0}`; choose one of smoke, laptop, paper, code")]
    NoPreset(String),
    /// A `--set` that is not `key=value`.
    #[error("`--set {0}` is not of the form key=value, for example `--set executor.steps=4`")]
    NotASetting(String),
    /// Settings given for a run that was started with others.
    #[error("run `{run}` was started with other settings: {}\nGive --name for a new run, or leave these out to resume this one", .differences.join("; "))]
    Differs {
        /// The run.
        run: String,
        /// Each key with the stored and the asked value.
        differences: Vec<String>,
    },
}

/// A key that does not exist, and where it was given.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownKey {
    /// The dotted key.
    pub key: String,
    /// The file or option that gave it.
    pub origin: String,
    /// The existing key nearest to it, when one is near.
    pub nearest: Option<String>,
}

fn unknown_text(keys: &[UnknownKey]) -> String {
    let mut text = String::new();
    for (i, key) in keys.iter().enumerate() {
        let sep = if i == 0 { "" } else { "\n" };
        let _ = write!(text, "{sep}unknown setting `{}` in {}", key.key, key.origin);
        if let Some(nearest) = &key.nearest {
            let _ = write!(text, "; did you mean `{nearest}`?");
        }
    }
    text
}

/// What a user asked for, before it becomes a [`Config`].
#[derive(Debug, Default, Clone)]
pub struct Request {
    /// `--preset`.
    pub preset: Option<String>,
    /// `--config`.
    pub file: Option<PathBuf>,
    /// `--set`, in order.
    pub sets: Vec<String>,
}

impl Request {
    /// Whether nothing was asked for.
    pub fn is_empty(&self) -> bool {
        self.preset.is_none() && self.file.is_none() && self.sets.is_empty()
    }

    /// The settings asked for explicitly: the file's, then the single ones.
    fn explicit(&self) -> Result<Table, ConfigError> {
        let known = defaults();
        let mut table = Table::new();
        if let Some(path) = &self.file {
            let origin = path.display().to_string();
            let text = std::fs::read_to_string(path).map_err(|cause| ConfigError::Read { path: path.clone(), cause })?;
            let file = parse(&origin, &text)?;
            reject_unknown(&file, &known, &origin)?;
            merge(&mut table, file);
        }
        for set in &self.sets {
            let single = parse_set(set)?;
            reject_unknown(&single, &known, &format!("--set {set}"))?;
            merge(&mut table, single);
        }
        if let Some(preset) = &self.preset {
            table.insert("preset".into(), Value::String(preset.clone()));
        }
        Ok(table)
    }

    /// The settings of a new run.
    pub fn resolve(&self) -> Result<Config, ConfigError> {
        let explicit = self.explicit()?;
        let mut table = defaults();
        if let Some(name) = explicit.get("preset").or_else(|| table.get("preset")).and_then(Value::as_str).map(str::to_owned) {
            merge(&mut table, preset_table(&name)?);
        }
        merge(&mut table, explicit);
        let origin = self.file.as_ref().map_or("the settings".to_owned(), |path| format!("{} and the settings given", path.display()));
        typed(table, &origin)
    }

    /// The settings of a run that is to be resumed: the stored ones, which nothing asked for may contradict. Only what decides no result
    /// ([`FOLLOWS_THE_MACHINE`]) is as asked, and a run may be given more iterations, which changes none of those that it has. A preset
    /// named on the command line counts with all its keys but this: that says how a run begins.
    pub fn resumed(&self, run: &str, stored: &Config) -> Result<Config, ConfigError> {
        let mut asked = Table::new();
        if let Some(name) = &self.preset {
            merge(&mut asked, preset_table(name)?);
            asked.remove("iterations");
        }
        merge(&mut asked, self.explicit()?);
        let mut settings = table_of(stored);
        let stored = flatten(&settings);
        let find = |key: &str| stored.iter().find(|(k, _)| k == key).map(|(_, v)| v);
        let more_iterations = |key: &str, asked: &Value| key == "iterations" && find(key).and_then(Value::as_integer) < asked.as_integer();
        let (free, fixed): (Vec<_>, Vec<_>) = flatten(&asked)
            .into_iter()
            .partition(|(key, value)| FOLLOWS_THE_MACHINE.contains(&key.as_str()) || more_iterations(key, value));
        let differences: Vec<String> = fixed
            .into_iter()
            .filter(|(key, value)| find(key).is_none_or(|stored| !same_value(stored, value)))
            .map(|(key, value)| {
                let stored = find(&key).map_or_else(|| "nothing".into(), brief);
                format!("{key} is {stored} there, {} was asked for", brief(&value))
            })
            .collect();
        if !differences.is_empty() {
            return Err(ConfigError::Differs { run: run.to_owned(), differences });
        }
        free.into_iter().for_each(|(key, value)| merge(&mut settings, nested(&key, value)));
        typed(settings, "the settings given")
    }
}

/// Reads the settings stored with a run. They are whole: what an earlier version did not know yet is as it was then, whatever the
/// default is now.
pub fn read_stored(path: &Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|cause| ConfigError::Read { path: path.to_path_buf(), cause })?;
    let origin = path.display().to_string();
    let stored = parse(&origin, &text)?;
    reject_unknown(&stored, &defaults(), &origin)?;
    typed(stored, &origin)
}

/// The text stored with a run.
pub fn to_toml(config: &Config) -> String {
    // A Config is plain numbers, strings and lists: it always has a TOML form.
    toml::to_string_pretty(config).unwrap_or_default()
}

fn typed(table: Table, origin: &str) -> Result<Config, ConfigError> {
    let config: Config = Value::Table(table).try_into().map_err(|cause: toml::de::Error| ConfigError::BadValue {
        origin: origin.to_owned(),
        cause: cause.to_string().trim().replace('\n', " "),
    })?;
    let problems = config.problems();
    if problems.is_empty() { Ok(config) } else { Err(ConfigError::Unusable(problems)) }
}

fn defaults() -> Table {
    table_of(&Config::default())
}

fn table_of(config: &Config) -> Table {
    Table::try_from(config).unwrap_or_default()
}

fn preset_table(name: &str) -> Result<Table, ConfigError> {
    let (_, text) = PRESETS.iter().find(|(preset, _)| *preset == name).ok_or_else(|| ConfigError::NoPreset(name.to_owned()))?;
    let origin = format!("preset {name}");
    let mut table = parse(&origin, text)?;
    reject_unknown(&table, &defaults(), &origin)?;
    table.insert("preset".into(), Value::String(name.to_owned()));
    Ok(table)
}

fn parse(origin: &str, text: &str) -> Result<Table, ConfigError> {
    text.parse::<Table>().map_err(|cause| ConfigError::Syntax { origin: origin.to_owned(), cause: cause.to_string().trim().to_owned() })
}

/// `a.b=value` as a table; a value that is not TOML is a string.
fn parse_set(set: &str) -> Result<Table, ConfigError> {
    let bad = || ConfigError::NotASetting(set.to_owned());
    let (key, value) = set.split_once('=').ok_or_else(bad)?;
    let parts: Vec<&str> = key.trim().split('.').map(str::trim).collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Err(bad());
    }
    let value = format!("v = {}", value.trim())
        .parse::<Table>()
        .ok()
        .and_then(|mut table| table.remove("v"))
        .unwrap_or_else(|| Value::String(value.trim().to_owned()));
    Ok(nested(&parts.join("."), value))
}

/// A table that holds `value` at a dotted key.
fn nested(key: &str, value: Value) -> Table {
    match key.split_once('.') {
        Some((section, rest)) => Table::from_iter([(section.to_owned(), Value::Table(nested(rest, value)))]),
        None => Table::from_iter([(key.to_owned(), value)]),
    }
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(inner)), Value::Table(table)) => merge(inner, table),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

fn flatten(table: &Table) -> Vec<(String, Value)> {
    let mut flat = Vec::new();
    for (key, value) in table {
        match value {
            Value::Table(inner) => flat.extend(flatten(inner).into_iter().map(|(k, v)| (format!("{key}.{k}"), v))),
            value => flat.push((key.clone(), value.clone())),
        }
    }
    flat
}

/// `1` and `1.0` are the same setting, and a float is compared as the 32-bit number it is stored as.
fn same_value(a: &Value, b: &Value) -> bool {
    let number = |v: &Value| v.as_float().or_else(|| v.as_integer().map(|i| i as f64));
    match (number(a), number(b)) {
        (Some(a), Some(b)) => a == b || a as f32 == b as f32,
        _ => a == b,
    }
}

fn brief(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 60 { text } else { text.chars().take(57).chain("...".chars()).collect() }
}

fn reject_unknown(given: &Table, known: &Table, origin: &str) -> Result<(), ConfigError> {
    let mut unknown = Vec::new();
    find_unknown(given, known, "", &mut unknown);
    if unknown.is_empty() {
        return Ok(());
    }
    let all: Vec<String> = flatten(known).into_iter().map(|(key, _)| key).chain(known.keys().cloned()).collect();
    let keys = unknown.into_iter().map(|key| UnknownKey { nearest: nearest(&key, &all), key, origin: origin.to_owned() });
    Err(ConfigError::UnknownKeys(keys.collect()))
}

fn find_unknown(given: &Table, known: &Table, prefix: &str, unknown: &mut Vec<String>) {
    for (key, value) in given {
        let path = format!("{prefix}{key}");
        match (known.get(key), value) {
            (None, Value::Table(inner)) if !inner.is_empty() && prefix.is_empty() => {
                unknown.extend(flatten(inner).into_iter().map(|(k, _)| format!("{path}.{k}")));
            }
            (None, _) => unknown.push(path),
            (Some(Value::Table(section)), Value::Table(inner)) => find_unknown(inner, section, &format!("{path}."), unknown),
            (Some(_), _) => {}
        }
    }
}

/// The known key most like `key`: by its whole path, or by its last part when that is spelled right in another section.
fn nearest(key: &str, known: &[String]) -> Option<String> {
    const NEAR: f64 = 0.55;
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let score = |candidate: &String| {
        let whole = strsim::normalized_damerau_levenshtein(key, candidate);
        let part = strsim::normalized_damerau_levenshtein(&last(key), &last(candidate));
        if key.contains('.') { 0.6 * whole + 0.4 * part } else { whole.max(0.95 * part) }
    };
    let best = known.iter().map(|candidate| (score(candidate), candidate)).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= NEAR).then(|| best.1.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(sets: &[&str]) -> Request {
        Request { sets: sets.iter().map(|s| (*s).to_owned()).collect(), ..Request::default() }
    }

    #[test]
    fn every_preset_resolves_to_usable_settings() {
        for (name, _) in PRESETS {
            let config = Request { preset: Some(name.into()), ..Request::default() }.resolve().unwrap();
            assert_eq!(config.preset, name);
        }
    }

    #[test]
    fn single_settings_win_over_the_file_which_wins_over_the_preset() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.toml");
        std::fs::write(&file, "preset = \"smoke\"\nseed = 5\n[executor]\nsteps = 7\nlearning_rate = 1\n").unwrap();
        let smoke = Request { preset: Some("smoke".into()), ..Request::default() }.resolve().unwrap();
        let config = Request { file: Some(file), sets: vec!["executor.steps=9".into(), "executor.objective=grpo".into()], preset: None }
            .resolve()
            .unwrap();
        assert_eq!((config.seed, config.executor.steps, config.executor.learning_rate), (5, 9, 1.0));
        assert_eq!(config.executor.objective, crate::config::ObjectiveChoice::Grpo);
        assert_eq!((config.preset.as_str(), &config.curriculum), ("smoke", &smoke.curriculum));
    }

    #[test]
    fn a_typo_is_an_error_that_suggests_the_nearest_key() {
        for (typo, meant) in [
            ("executor.stesp=4", "executor.steps"),
            ("exector.steps=4", "executor.steps"),
            ("sead=4", "seed"),
            ("group_sise=4", "curriculum.group_size"),
            ("curriculum.lamda_rep=0", "curriculum.reward.lambda_rep"),
            ("rollout.max_turn=2", "rollout.max_turns"),
        ] {
            let error = request(&[typo]).resolve().unwrap_err();
            let ConfigError::UnknownKeys(keys) = &error else { panic!("{error}") };
            let nearest = keys[0].nearest.as_deref().unwrap_or("none");
            assert!(nearest == meant || (typo.starts_with("group") && nearest.ends_with("group_size")), "{typo}: {error}");
            assert!(error.to_string().contains("did you mean"), "{error}");
        }
        let error = request(&["zzzzzz=1"]).resolve().unwrap_err().to_string();
        assert!(!error.contains("did you mean"), "{error}");
    }

    #[test]
    fn wrong_kinds_and_impossible_values_name_the_key() {
        let error = request(&["executor.steps=many"]).resolve().unwrap_err().to_string();
        assert!(error.contains("steps") && error.contains("many"), "{error}");
        let error = request(&["frontier.low=0.9"]).resolve().unwrap_err().to_string();
        assert!(error.contains("frontier.low"), "{error}");
        for peak in ["0", "1", "nan"] {
            let error = request(&[&format!("curriculum.reward.peak={peak}")]).resolve().unwrap_err().to_string();
            assert!(error.contains("curriculum.reward.peak"), "{error}");
        }
        for bad in ["executor.learning_rate=-7e-5", "training.beta2=1", "executor.adpo.widen=inf", "curriculum.reward.lambda_rep=nan"] {
            let error = request(&[bad]).resolve().unwrap_err().to_string();
            assert!(error.contains(bad.split_once('=').unwrap().0), "{error}");
        }
        let error = request(&["executor.objective=ppo"]).resolve().unwrap_err().to_string();
        assert!(error.contains("objective") && error.contains("adpo"), "{error}");
        let error = request(&["prompts.topics=[]"]).resolve().unwrap_err().to_string();
        assert!(error.contains("prompts.topics") && error.contains("{topic}"), "{error}");
        assert!(matches!(request(&["executor"]).resolve(), Err(ConfigError::NotASetting(_))));
        let error = Request { preset: Some("labtop".into()), ..Request::default() }.resolve().unwrap_err();
        assert!(matches!(error, ConfigError::NoPreset(_)));
    }

    #[test]
    fn stored_settings_come_back_as_they_were() {
        let config = request(&["training.weight_decay=0.1", "model=/a/b.gguf"]).resolve().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, to_toml(&config)).unwrap();
        assert_eq!(read_stored(&path).unwrap(), config);
        // A run from before a setting existed goes on as it began.
        let older: String =
            to_toml(&config).lines().filter(|line| !line.starts_with("numbers_only")).map(|line| format!("{line}\n")).collect();
        std::fs::write(&path, older).unwrap();
        assert!(config.prompts.numbers_only && !read_stored(&path).unwrap().prompts.numbers_only);
    }

    #[test]
    fn resuming_with_other_explicit_settings_names_the_keys() {
        let stored = request(&["seed=3", "executor.learning_rate=0.1"]).resolve().unwrap();
        assert_eq!(request(&[]).resumed("r", &stored).unwrap(), stored);
        let same = ["seed=3", "executor.learning_rate=0.1", "engine.kv_mib=512"];
        assert_eq!(request(&same).resumed("r", &stored).unwrap().engine.kv_mib, 512);
        let error = request(&["seed=4", "iterations=4"]).resumed("r", &stored).unwrap_err().to_string();
        assert!(error.contains("seed is 3 there, 4 was asked for") && !error.contains("iterations"), "{error}");
        let preset = Request { preset: Some("smoke".into()), ..Request::default() };
        assert!(preset.resumed("r", &stored).unwrap_err().to_string().contains("preset"));
    }

    #[test]
    fn a_run_may_be_given_more_iterations_but_not_fewer() {
        let stored = request(&["iterations=3"]).resolve().unwrap();
        let longer = request(&["iterations=5"]).resumed("r", &stored).unwrap();
        assert_eq!(longer, Config { iterations: 5, ..stored.clone() });
        // Nor need the preset that it began with be left out from then on.
        let preset = Request { preset: Some(stored.preset.clone()), ..Request::default() };
        assert_eq!(preset.resumed("r", &longer).unwrap(), longer);
        for wrong in ["2", "many", "100"] {
            let error = request(&[&format!("iterations={wrong}")]).resumed("r", &stored).unwrap_err().to_string();
            assert!(error.contains("iterations") && error.contains(if wrong == "100" { "99" } else { wrong }), "{error}");
        }
    }
}
