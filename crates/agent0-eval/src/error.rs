//! Why a benchmark could not be read or run, and what to do about it.

use std::path::PathBuf;

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
    #[error("cannot read {path}: {source}; give the path of an existing file in JSON Lines, JSON, CSV or Parquet")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
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
    /// The cache or the disk failed.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
}
