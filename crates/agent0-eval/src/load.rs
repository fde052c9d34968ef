//! From files to questions: reads a file of the user's or the published ones, and sorts out the rows that cannot be asked.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use agent0_provision::{Cache, Dataset, Progress, ProvisionError, cached_dataset, hex, obtain_dataset};
use sha2::{Digest, Sha256};

use crate::forms::{Draft, is_own, own};
use crate::rows::{Row, rows};
use crate::{Benchmark, EvalError, Grading, HubSource, Loaded, Origin, Question, Rejected};

/// Names that the published forms have for a row's id.
const IDS: [&str; 5] = ["id", "unique_id", "question_id", "uuid", "problem_id"];

/// Reads a file: JSON Lines, JSON (a list of objects, or BBEH's `{"examples": [...]}`), CSV with a header, or Parquet, told apart
/// by content.
///
/// A row with `id` (text), `question` and `answer`, and perhaps `choices` and `subject`, is of our own form, which every benchmark
/// takes. Other rows are read in the benchmark's published form; without a benchmark only our own form is read.
///
/// # Errors
/// When the file cannot be read, is none of these, or holds no row that can be asked.
pub fn read_file(path: &Path, benchmark: Option<&Benchmark>) -> Result<Loaded, EvalError> {
    load(&[path.to_path_buf()], path.display().to_string(), None, benchmark)
}

/// A benchmark's questions as published: from the cache, the user's Hugging Face cache, or the hub, one place after another. What
/// was obtained once is used from then on, without network.
///
/// # Errors
/// [`EvalError::Unobtainable`] when no place delivers it; or when the disk fails, or what was delivered cannot be read.
pub fn obtain(benchmark: &Benchmark, cache: &Cache, progress: Progress) -> Result<Loaded, EvalError> {
    for source in benchmark.sources {
        if let Some(dataset) = cached_dataset(cache, source.repo, source.files, progress)? {
            return read_dataset(benchmark, source, &dataset);
        }
    }
    let mut attempts = Vec::new();
    for source in benchmark.sources {
        match obtain_dataset(cache, source.repo, source.files, progress) {
            Ok(dataset) => return read_dataset(benchmark, source, &dataset),
            Err(error) if error.is_local() => return Err(error.into()),
            Err(ProvisionError::NoSource { attempts: inner, .. }) => attempts.push(format!("{}: {}", source.repo, inner.join("; "))),
            Err(error) => attempts.push(error.to_string()),
        }
    }
    Err(EvalError::Unobtainable { benchmark: benchmark.name, attempts })
}

fn read_dataset(benchmark: &Benchmark, source: &HubSource, dataset: &Dataset) -> Result<Loaded, EvalError> {
    let paths: Vec<PathBuf> = dataset.files.iter().map(|file| dataset.folder.join(file)).collect();
    let name = format!("{}@{} {}", source.repo, dataset.commit, dataset.files.join(", "));
    load(&paths, name, Some(dataset.commit.clone()), Some(benchmark))
}

/// Reads files one after another as if they were one.
fn load(paths: &[PathBuf], source: String, revision: Option<String>, benchmark: Option<&Benchmark>) -> Result<Loaded, EvalError> {
    let mut digest = Sha256::new();
    let mut sorter = Sorter::new(benchmark);
    for path in paths {
        let bytes = fs::read(path).map_err(|cause| EvalError::Read { path: path.clone(), cause })?;
        digest.update(&bytes);
        let rows = rows(bytes).map_err(|cause| EvalError::Format { path: path.clone(), cause })?;
        sorter.start_file();
        for (number, row) in rows {
            sorter.add(number, row);
        }
    }
    let sha256 = hex(&digest.finalize());
    let rows = Some(sorter.count);
    sorter.finish(Origin { source, revision, sha256, rows })
}

/// Makes questions of rows and keeps those that cannot be asked apart.
struct Sorter<'a> {
    benchmark: Option<&'a Benchmark>,
    /// Number of the last row of the files before this one.
    before: usize,
    /// Rows so far, whatever became of them.
    count: usize,
    last: usize,
    /// In which row each id was used.
    ids: HashMap<String, usize>,
    questions: Vec<Question>,
    rejected: Vec<Rejected>,
}

impl<'a> Sorter<'a> {
    fn new(benchmark: Option<&'a Benchmark>) -> Self {
        Self { benchmark, before: 0, count: 0, last: 0, ids: HashMap::new(), questions: Vec::new(), rejected: Vec::new() }
    }

    fn start_file(&mut self) {
        self.before = self.last;
    }

    fn add(&mut self, number: usize, row: Result<Row, String>) {
        let number = self.before + number;
        let position = self.count;
        self.last = number;
        self.count += 1;
        let id = row.as_ref().ok().and_then(|row| self.id(row, position));
        let made = row.and_then(|row| self.question(&row, id.clone()));
        match made {
            Ok(question) => {
                self.ids.insert(question.id.clone(), number);
                self.questions.push(question);
            }
            Err(why) => self.rejected.push(Rejected { row: number, id, why }),
        }
    }

    /// The row's id: in our own form as it stands; in a published one after the benchmark's name, where rows without one count.
    fn id(&self, row: &Row, position: usize) -> Option<String> {
        let given = row.maybe_text(&IDS).filter(|id| !id.trim().is_empty());
        match self.benchmark {
            Some(benchmark) if !is_own(row) => Some(format!("{}-{}", benchmark.name, given.unwrap_or_else(|| position.to_string()))),
            _ => given,
        }
    }

    fn question(&self, row: &Row, id: Option<String>) -> Result<Question, String> {
        let Draft { question, answer, choices, subject } = match self.benchmark {
            Some(benchmark) if !is_own(row) => (benchmark.form)(row)?,
            _ => own(row)?,
        };
        let id = id.ok_or("the field `id` is missing or empty; give the row an id of its own")?;
        if answer.trim().is_empty() {
            return Err("the answer is empty; fill it in or remove the row".to_string());
        }
        match (self.benchmark.map(|benchmark| benchmark.grading), choices.is_empty()) {
            (Some(Grading::Choice), true) => return Err("the field `choices` is missing, and this is multiple choice; add it".to_string()),
            (Some(Grading::Math | Grading::Bbeh), false) => {
                return Err("it has choices, but this benchmark is answered in text; is the file one of this benchmark?".to_string());
            }
            _ => {}
        }
        match self.ids.get(&id) {
            Some(row) => Err(format!("the id `{id}` was used in row {row}; give each row its own")),
            None => Ok(Question { id, question, answer: answer.trim().to_string(), choices, subject }),
        }
    }

    fn finish(self, origin: Origin) -> Result<Loaded, EvalError> {
        let rows = self.count;
        match (self.questions.is_empty(), self.rejected.first()) {
            (true, Some(first)) => Err(EvalError::NoQuestions { source_name: origin.source, rows, row: first.row, why: first.why.clone() }),
            _ => Ok(Loaded { questions: self.questions, rejected: self.rejected, origin }),
        }
    }
}
