//! The ten benchmarks: loading, prompts, protocols, scores, tables. Knows nothing of training.
//!
//! A [`Benchmark`] knows where its questions are published and in which form. [`obtain`] brings them from the Hugging Face hub
//! by way of the user's cache, [`read_file`] reads a file of the user's; both give [`Loaded`]: the questions, and every row that
//! was left out, with the reason.
//!
//! A [`Protocol`] says how they are asked. [`evaluate`] asks an [`Examinee`], keeps each answer with its verdict ([`Records`]) and
//! counts them into a [`Score`]; the [`Results`] of one model are a folder. A [`Table`] holds models against each other.

mod bbeh;
mod benchmark;
mod caveat;
mod choice;
mod digest;
mod error;
mod forms;
mod grade;
mod load;
mod paired;
mod protocol;
mod published;
mod question;
mod records;
mod results;
mod rows;
mod run;
mod score;
mod table;

pub use benchmark::{Benchmark, Grading, HubSource, benchmarks, find_benchmark};
pub use choice::{MOST_CHOICES, letter};
pub use digest::{adapter_digest, model_digest};
pub use error::EvalError;
pub use grade::{Grade, grade};
pub use load::{obtain, read_file};
pub use paired::{Difference, Test, compare};
pub use protocol::{EvalPrompts, Overrides, Preset, Protocol, grading_of};
pub use published::{PUBLISHED, Published};
pub use question::{Loaded, Origin, Question, Rejected};
pub use records::{Record, Records};
pub use results::{Results, Subject, records_name};
pub use run::{Clock, Exam, Examinee, Standing, evaluate};
pub use score::{Averages, Score, Tool, averages};
pub use table::{Cell, Delta, Shown, Table, TableRow};
