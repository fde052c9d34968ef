//! Why a benchmark could not be read or run, and what to do about it.

use std::path::{Path, PathBuf};

use agent0_provision::ProvisionError;

/// Why a benchmark could not be read or run. A single row that is wrong is no error: see [`Rejected`](crate::Rejected).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// A name that no benchmark has.
    #[error("unknown benchmark `{name}`; known, the nearest first: {known}")]
    UnknownBenchmark {
        /// The name as given.
        name: String,
        /// Known names, the nearest first.
        known: String,
    },
    /// A file that cannot be read.
    #[error("cannot read {path}: {cause}; give the path of an existing file in JSON Lines, JSON, CSV or Parquet")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// A file that holds no rows, or is none of the kinds that are read.
    #[error("{path}: {cause}; questions are read from JSON Lines, JSON, CSV and Parquet files")]
    Format {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// A file of which no row is a question.
    #[error("none of the {rows} rows of {source_name} can be used; the first, row {row}: {why}")]
    NoQuestions {
        /// The path, or the file on the hub.
        source_name: String,
        /// How many rows it has.
        rows: usize,
        /// The number of the first, counted from 1.
        row: usize,
        /// What is wrong with that.
        why: String,
    },
    /// No place on the hub delivered a benchmark.
    #[error("could not obtain the benchmark {benchmark}:\n{}\nCheck the network (HF_ENDPOINT names a hub mirror), or bring the file yourself and give its path", attempts.iter().map(|a| format!("  - {a}")).collect::<Vec<_>>().join("\n"))]
    Unobtainable {
        /// The benchmark's name.
        benchmark: &'static str,
        /// One line per place tried.
        attempts: Vec<String>,
    },
    /// A file or folder of an evaluation.
    #[error("{path}: {cause}; if the disk is full, make room; the same command goes on where it was")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// Another process appends to these records.
    #[error("{0} is in use by another process; wait for it, or give --out for another folder")]
    InUse(PathBuf),
    /// Records that cannot be read.
    #[error("{path}, line {line}: {cause}; the file is damaged: delete that line to ask for its answer again")]
    Records {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        cause: String,
    },
    /// Results that cannot be read.
    #[error("{path}: {cause}; the file is damaged, or of another version; evaluate again with --out for another folder")]
    Results {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// A folder of another model.
    #[error("{folder} belongs to {holds}, not to {asked} (other weights, or computed otherwise); give --out for another folder")]
    OtherModel {
        /// The folder.
        folder: PathBuf,
        /// Whose it is.
        holds: String,
        /// Whose scores were to be put there.
        asked: String,
    },
    /// A folder with answers that may be any model's.
    #[error("{0} holds answers, but no results.json that says whose they are; give --out for another folder")]
    Unclaimed(PathBuf),
    /// An answer could not be brought.
    #[error(transparent)]
    Rollout(#[from] agent0_rl::RolloutError),
    /// An answer could not be graded.
    #[error(transparent)]
    Answers(#[from] agent0_answers::AnswerError),
    /// The cache or the disk failed.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
}

impl EvalError {
    /// A failure of the disk at `path`.
    pub(crate) fn io(path: &Path) -> impl Fn(std::io::Error) -> Self + '_ {
        |cause| Self::Io { path: path.to_owned(), cause }
    }
}
