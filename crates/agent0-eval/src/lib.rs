//! The ten benchmarks: loading, prompts, protocols, scores, tables. Knows nothing of training.
//!
//! A [`Benchmark`] knows where its questions are published and in which form. [`obtain`] brings them from the Hugging Face hub
//! by way of the user's cache, [`read_file`] reads a file of the user's; both give [`Loaded`]: the questions, and every row that
//! was left out, with the reason.

mod benchmark;
mod error;
mod forms;
mod load;
mod question;
mod rows;

pub use benchmark::{Benchmark, Grading, HubSource, benchmarks, find_benchmark};
pub use error::EvalError;
pub use load::{obtain, read_file};
pub use question::{Loaded, Origin, Question, Rejected};
