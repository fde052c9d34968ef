//! The scores of one model in a folder: `results.json`, and beside it the files with all answers. A folder belongs to one model.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use agent0_provision::sha256_text;
use serde::{Deserialize, Serialize};

use crate::EvalError;
use crate::protocol::Protocol;
use crate::score::{Averages, Score, Tool, averages};

const FILE: &str = "results.json";

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
    /// The results in `folder`, or none yet for this subject.
    ///
    /// # Errors
    /// When the folder holds the results of another model, or cannot be read.
    pub fn open(folder: &Path, subject: &Subject) -> Result<Self, EvalError> {
        if !folder.join(FILE).exists() {
            return Ok(Self { subject: subject.clone(), results: Vec::new() });
        }
        let there = Self::read(folder)?;
        let same = |of: &Subject| (of.model_digest.clone(), of.adapter_digest.clone(), of.numerics.clone());
        if same(&there.subject) != same(subject) {
            return Err(EvalError::OtherModel { folder: folder.to_owned(), holds: there.subject.name, asked: subject.name.clone() });
        }
        Ok(Self { subject: subject.clone(), ..there })
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

    /// Takes a score in, in place of an older one for the same benchmark and tool, and writes the file whole.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn put(&mut self, folder: &Path, score: Score) -> Result<(), EvalError> {
        match self.results.iter_mut().find(|old| old.bench == score.bench && old.tool == score.tool) {
            Some(old) => *old = score,
            None => self.results.push(score),
        }
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

/// The name of the file that holds the answers to a benchmark by a protocol: with the same name, an answer has the same bits.
pub fn records_name(bench: &str, protocol: &Protocol) -> String {
    // Neither the number of answers nor the preset's name decides an answer.
    let decides = serde_json::json!([protocol.tool, protocol.rollout, protocol.seed, protocol.prompts.hash()]).to_string();
    let tool = if protocol.tool { "tool" } else { "plain" };
    format!("{bench}-{tool}-{}.jsonl", &sha256_text(&decides)[..12])
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
        assert!(matches!(Results::open(folder.path(), &subject("2")), Err(EvalError::OtherModel { .. })));
    }
}
