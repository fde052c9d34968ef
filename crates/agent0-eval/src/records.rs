//! The answers of an evaluation on disk: a line of JSON each, appended as they come, so that a killed evaluation goes on where it was.
//!
//! A file holds the answers of one model to one benchmark by one protocol; its name says which. Which questions were chosen is not
//! part of that: a larger `--limit` goes on with the answers that are there.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use agent0_provision::sha256_text;
use agent0_rl::{Ending, ToolCall};
use serde::{Deserialize, Serialize};

use crate::EvalError;
use crate::question::Question;

/// One answer with its verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The question's id.
    pub id: String,
    /// Which answer to it, from 0.
    pub sample: usize,
    /// Digest of the question, its options and its gold answer: an answer to another question of the same id is not counted.
    pub question: String,
    /// The gold answer.
    pub gold: String,
    /// The answer given; `None` where there is none.
    pub answer: Option<String>,
    /// Whether it is right.
    pub correct: bool,
    /// Whether mathematics could not be compared in time.
    #[serde(default)]
    pub undecided: bool,
    /// Why the trajectory ended.
    pub ending: Ending,
    /// The programs that were run and what the model was shown.
    pub tool_calls: Vec<ToolCall>,
    /// Tokens sampled, those cut away included.
    pub tokens: usize,
    /// Wall-clock seconds since the answer before this one, to whatever benchmark; they add up to the whole time.
    pub seconds: f64,
    /// All that followed the prompt.
    pub text: String,
}

/// Which answer: the question's id and the answer's number.
pub type Key = (String, usize);

/// A file of records, open to append.
pub struct Records {
    path: PathBuf,
    file: File,
    known: BTreeMap<Key, Record>,
}

impl Records {
    /// Opens `path`, which is made if need be, and reads what is there. A last line that was cut off is dropped.
    ///
    /// # Errors
    /// When the disk fails, or the file is damaged elsewhere.
    pub fn open(path: &Path) -> Result<Self, EvalError> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(EvalError::io(folder))?;
        }
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path).map_err(EvalError::io(path))?;
        file.try_lock().map_err(|_| EvalError::InUse(path.to_owned()))?;
        let (known, whole) = read(&file, path)?;
        file.set_len(whole).map_err(EvalError::io(path))?;
        file.seek(SeekFrom::End(0)).map_err(EvalError::io(path))?;
        Ok(Self { path: path.to_owned(), file, known })
    }

    /// The answer to `question` that is there already.
    pub fn get(&self, question: &Question, sample: usize) -> Option<&Record> {
        self.known.get(&(question.id.clone(), sample)).filter(|record| record.question == question_digest(question))
    }

    /// Appends an answer.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn put(&mut self, record: Record) -> Result<(), EvalError> {
        let mut line = serde_json::to_vec(&record).map_err(|error| EvalError::io(&self.path)(error.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(EvalError::io(&self.path))?;
        self.known.insert((record.id.clone(), record.sample), record);
        Ok(())
    }
}

/// The records in a file, and how many of its bytes are whole lines.
fn read(file: &File, path: &Path) -> Result<(BTreeMap<Key, Record>, u64), EvalError> {
    let mut reader = BufReader::new(file);
    reader.seek(SeekFrom::Start(0)).map_err(EvalError::io(path))?;
    let (mut known, mut whole, mut line) = (BTreeMap::new(), 0, Vec::new());
    for number in 1.. {
        line.clear();
        let bytes = reader.read_until(b'\n', &mut line).map_err(EvalError::io(path))?;
        if !line.ends_with(b"\n") {
            break;
        }
        let record: Record = serde_json::from_slice(&line).map_err(|error| EvalError::Records {
            path: path.to_owned(),
            line: number,
            cause: error.to_string(),
        })?;
        known.insert((record.id.clone(), record.sample), record);
        whole += bytes as u64;
    }
    Ok((known, whole))
}

/// Digest of all that is asked and wanted.
pub(crate) fn question_digest(question: &Question) -> String {
    sha256_text(&serde_json::json!([question.question, question.choices, question.answer]).to_string())[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(id: &str, text: &str) -> Question {
        Question { id: id.into(), question: text.into(), answer: "1".into(), choices: Vec::new(), subject: None }
    }

    fn record(question: &Question, sample: usize) -> Record {
        Record {
            id: question.id.clone(),
            sample,
            question: question_digest(question),
            gold: "1".into(),
            answer: None,
            correct: false,
            undecided: false,
            ending: Ending::Budget,
            tool_calls: Vec::new(),
            tokens: 3,
            seconds: 0.5,
            text: "é\n".into(),
        }
    }

    #[test]
    fn records_survive_a_kill_in_the_middle_of_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/a.jsonl");
        let (a, b) = (question("a", "?"), question("b", "?"));
        let mut records = Records::open(&path).unwrap();
        records.put(record(&a, 0)).unwrap();
        records.put(record(&a, 1)).unwrap();
        drop(records);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        let mut records = Records::open(&path).unwrap();
        assert_eq!((records.get(&a, 0), records.get(&a, 1)), (Some(&record(&a, 0)), None));
        records.put(record(&b, 0)).unwrap();
        drop(records);
        let records = Records::open(&path).unwrap();
        assert_eq!(records.get(&b, 0), Some(&record(&b, 0)));
        assert!(matches!(Records::open(&path), Err(EvalError::InUse(_))));
    }

    #[test]
    fn answers_to_another_question_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let mut records = Records::open(&folder.path().join("a.jsonl")).unwrap();
        records.put(record(&question("a", "old?"), 0)).unwrap();
        assert_eq!(records.get(&question("a", "new?"), 0), None);
    }

    #[test]
    fn damage_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        fs::write(&path, "{}\n").unwrap();
        let error = Records::open(&path).err().unwrap().to_string();
        assert!(error.contains("line 1") && error.contains("delete"), "{error}");
    }
}
