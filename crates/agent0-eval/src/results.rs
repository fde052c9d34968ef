//! The scores of one model in a folder: `results.json`, and beside it the files with all answers. A folder belongs to one model, from
//! its first opening on: the answers in it do not say whose they are, `results.json` does.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use agent0_provision::sha256_text;
use serde::{Deserialize, Serialize};

use crate::EvalError;
use crate::protocol::Protocol;
use crate::score::{Averages, Score, Tool, averages};

const FILE: &str = "results.json";
/// Locked while `results.json` is read and replaced.
const LOCK: &str = "results.lock";
/// Digits of the digest in the name of a file with answers.
const NAME_DIGITS: usize = 12;

/// Which model was scored, and how it was computed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// What it is called in tables.
    pub name: String,
    /// The model.
    pub model: String,
    /// SHA-256 of the model's file, or of the listing of its folder.
    pub model_digest: String,
    /// The adapter's folder, if there is one.
    pub adapter: Option<String>,
    /// SHA-256 of the adapter.
    pub adapter_digest: Option<String>,
    /// Format of the weights and kind of arithmetic, which decide the last bits of a result.
    pub numerics: String,
    /// The Python that ran its programs, and its packages: what programs print may depend on them. `None` from older versions.
    pub python: Option<String>,
}

/// All scores of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Which model.
    #[serde(flatten)]
    pub subject: Subject,
    /// Its scores, one for each benchmark with and without the tool: the newest.
    pub results: Vec<Score>,
}

impl Results {
    /// The results in `folder`, which is made if need be. One that belongs to nobody is this subject's from now on.
    ///
    /// # Errors
    /// When the folder belongs to another model, holds answers of nobody knows whom, or the disk fails.
    pub fn open(folder: &Path, subject: &Subject) -> Result<Self, EvalError> {
        fs::create_dir_all(folder).map_err(EvalError::io(folder))?;
        let _locked = lock(folder)?;
        if let Some(there) = Self::of(folder, subject)? {
            return Ok(there);
        }
        if has_answers(folder)? {
            return Err(EvalError::Unclaimed(folder.to_owned()));
        }
        let none = Self { subject: subject.clone(), results: Vec::new() };
        none.write(folder)?;
        Ok(none)
    }

    /// The results in `folder`, if there are any, and of this subject.
    fn of(folder: &Path, subject: &Subject) -> Result<Option<Self>, EvalError> {
        if !folder.join(FILE).exists() {
            return Ok(None);
        }
        let there = Self::read(folder)?;
        let decides = |of: &Subject| (of.model_digest.clone(), of.adapter_digest.clone(), of.numerics.clone());
        if decides(&there.subject) != decides(subject) {
            return Err(EvalError::OtherModel { folder: folder.to_owned(), holds: there.subject.name, asked: subject.name.clone() });
        }
        Ok(Some(Self { subject: subject.clone(), ..there }))
    }

    /// The results in `folder`.
    ///
    /// # Errors
    /// When there are none, or they cannot be read.
    pub fn read(folder: &Path) -> Result<Self, EvalError> {
        let path = folder.join(FILE);
        let text = fs::read_to_string(&path).map_err(EvalError::io(&path))?;
        serde_json::from_str(&text).map_err(|error| EvalError::Results { path, cause: error.to_string() })
    }

    /// Takes a score in, in place of an older one for the same benchmark and tool, beside what other processes have put there meanwhile.
    ///
    /// # Errors
    /// When the disk fails, or the folder has become another model's.
    pub fn put(&mut self, folder: &Path, score: Score) -> Result<(), EvalError> {
        let _locked = lock(folder)?;
        if let Some(there) = Self::of(folder, &self.subject)? {
            *self = there;
        }
        match self.results.iter_mut().find(|old| old.bench == score.bench && old.tool == score.tool) {
            Some(old) => *old = score,
            None => self.results.push(score),
        }
        self.write(folder)
    }

    /// Writes the file whole; only who holds the lock may.
    fn write(&self, folder: &Path) -> Result<(), EvalError> {
        let (path, new) = (folder.join(FILE), folder.join("results.json.new"));
        let text = serde_json::to_string_pretty(self).map_err(|error| EvalError::io(&path)(error.into()))?;
        let written = File::create(&new).and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
        written.and_then(|()| fs::rename(&new, &path)).map_err(EvalError::io(&path))
    }

    /// The score of a benchmark.
    pub fn score(&self, bench: &str, tool: Tool) -> Option<&Score> {
        self.results.iter().find(|score| score.bench == bench && score.tool == tool)
    }

    /// The published averages, as far as all their benchmarks are scored.
    pub fn averages(&self, tool: Tool) -> Averages {
        averages(|bench| self.score(bench, tool).map(|score| score.accuracy))
    }
}

/// Keeps other processes from the results in `folder` until the returned file is dropped; waits while one has them.
fn lock(folder: &Path) -> Result<File, EvalError> {
    let path = folder.join(LOCK);
    let file = File::options().create(true).write(true).truncate(false).open(&path).map_err(EvalError::io(&path))?;
    file.lock().map_err(EvalError::io(&path))?;
    Ok(file)
}

/// Whether there are answers in `folder`.
fn has_answers(folder: &Path) -> Result<bool, EvalError> {
    for entry in fs::read_dir(folder).map_err(EvalError::io(folder))? {
        let entry = entry.map_err(EvalError::io(folder))?;
        if is_records_name(&entry.file_name().to_string_lossy()) && entry.metadata().map_err(EvalError::io(&entry.path()))?.len() > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The name of the file that holds the answers to a benchmark by a protocol: with the same name, an answer has the same bits.
pub fn records_name(bench: &str, protocol: &Protocol) -> String {
    // Neither the number of answers nor the preset's name decides an answer.
    let decides = serde_json::json!([protocol.tool, protocol.rollout, protocol.seed, protocol.prompts.hash()]).to_string();
    let tool = if protocol.tool { "tool" } else { "plain" };
    format!("{bench}-{tool}-{}.jsonl", &sha256_text(&decides)[..NAME_DIGITS])
}

/// Whether [`records_name`] may have made this name.
fn is_records_name(name: &str) -> bool {
    let parts = name.strip_suffix(".jsonl").and_then(|stem| stem.rsplit_once('-'));
    let is_digest = |text: &str| text.len() == NAME_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    parts.is_some_and(|(exam, digest)| is_digest(digest) && (exam.ends_with("-tool") || exam.ends_with("-plain")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{EvalPrompts, Overrides, Preset};

    fn subject(digest: &str) -> Subject {
        Subject {
            name: "m".into(),
            model: "m".into(),
            model_digest: digest.into(),
            adapter: None,
            adapter_digest: None,
            numerics: "f32".into(),
            python: Some("Python 3.11.2 with numpy==2".into()),
        }
    }

    fn protocol(overrides: Overrides) -> Protocol {
        Protocol::new(Preset::Greedy, None, true, EvalPrompts::without_tool(), 0, &overrides)
    }

    #[test]
    fn records_are_shared_by_what_decides_an_answer() {
        let name = |overrides| records_name("mine", &protocol(overrides));
        let plain = name(Overrides::default());
        assert!(plain.starts_with("mine-tool-") && plain.ends_with(".jsonl"));
        assert_eq!(name(Overrides { samples: Some(8), ..Overrides::default() }), plain);
        assert_ne!(name(Overrides { max_tokens: Some(8), ..Overrides::default() }), plain);
    }

    #[test]
    fn a_folder_belongs_to_one_model() {
        let folder = tempfile::tempdir().unwrap();
        let mut results = Results::open(folder.path(), &subject("1")).unwrap();
        let score = crate::score::tests::score("gsm8k", &[("a", 1.0), ("b", 0.0)]);
        results.put(folder.path(), score.clone()).unwrap();
        // A number that a parser in a hurry takes for its neighbour.
        results.put(folder.path(), Score { accuracy: 0.25, seconds: 7.439966144, ..score }).unwrap();
        let again = Results::open(folder.path(), &subject("1")).unwrap();
        assert_eq!(again, results);
        assert_eq!((again.results.len(), again.score("gsm8k", Tool::On).unwrap().accuracy), (1, 0.25));
        assert_eq!(again.score("gsm8k", Tool::Off), None);
    }

    #[test]
    fn a_folder_is_the_first_model_s_before_anything_is_scored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er");
        Results::open(&path, &subject("1")).unwrap();
        // Killed here, with answers and without a score.
        fs::write(path.join(records_name("mine", &protocol(Overrides::default()))), "{}\n").unwrap();
        let other_numbers = Subject { numerics: "q8".into(), ..subject("1") };
        let other_adapter = Subject { adapter_digest: Some("3".into()), ..subject("1") };
        for other in [subject("2"), other_numbers, other_adapter] {
            let error = Results::open(&path, &other).unwrap_err();
            assert!(matches!(error, EvalError::OtherModel { .. }) && error.to_string().contains("--out"), "{error}");
        }
        assert!(Results::open(&path, &subject("1")).unwrap().results.is_empty());
    }

    #[test]
    fn answers_of_nobody_knows_whom_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let records = folder.path().join(records_name("mine", &protocol(Overrides::default())));
        fs::write(&records, "{}\n").unwrap();
        let error = Results::open(folder.path(), &subject("1")).unwrap_err();
        assert!(matches!(error, EvalError::Unclaimed(_)) && error.to_string().contains("--out"), "{error}");
        assert!(!folder.path().join(FILE).exists());
        // Neither an empty file nor one of the user's own is an answer.
        fs::write(&records, "").unwrap();
        fs::write(folder.path().join("questions-tool.jsonl"), "{}\n").unwrap();
        Results::open(folder.path(), &subject("1")).unwrap();
    }

    #[test]
    fn results_of_older_versions_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut results = Results::open(folder.path(), &subject("1")).unwrap();
        results.put(folder.path(), crate::score::tests::score("gsm8k", &[("a", 1.0)])).unwrap();
        let mut text: serde_json::Value = serde_json::from_slice(&fs::read(folder.path().join(FILE)).unwrap()).unwrap();
        text.as_object_mut().unwrap().remove("python").unwrap();
        let score = text["results"][0].as_object_mut().unwrap();
        score.remove("digests").unwrap();
        score["data"].as_object_mut().unwrap().remove("rows").unwrap();
        fs::write(folder.path().join(FILE), text.to_string()).unwrap();
        results.results[0].data.rows = None;
        results.subject.python = None;
        assert_eq!(Results::read(folder.path()).unwrap(), results);
        // Another Python answers the same questions: the folder stays the model's, and names the one that came last.
        results.subject = subject("1");
        assert_eq!(Results::open(folder.path(), &subject("1")).unwrap(), results);
    }

    #[test]
    fn scores_that_another_process_put_there_stay() {
        let folder = tempfile::tempdir().unwrap();
        let mut processes = ["gsm8k", "math500"].map(|bench| (bench, Results::open(folder.path(), &subject("1")).unwrap()));
        for (bench, results) in &mut processes {
            results.put(folder.path(), crate::score::tests::score(bench, &[("a", 1.0)])).unwrap();
        }
        let there = Results::read(folder.path()).unwrap();
        assert!(["gsm8k", "math500"].iter().all(|bench| there.score(bench, Tool::On).is_some()), "{there:?}");
        std::thread::scope(|scope| {
            for i in 0..8 {
                let folder = folder.path();
                scope.spawn(move || {
                    let mut results = Results::open(folder, &subject("1")).unwrap();
                    results.put(folder, crate::score::tests::score(&format!("mine-{i}"), &[("a", 1.0)])).unwrap();
                });
            }
        });
        assert_eq!(Results::read(folder.path()).unwrap().results.len(), 10);
    }
}
