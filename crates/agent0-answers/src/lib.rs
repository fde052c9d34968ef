//! What the final answer of a text is, and when two answers are the same (algorithm.md sections 2 and 8).
//!
//! [`boxed`] finds the answer. [`fast`] compares two answers by their text and as exact numbers and says when that is not
//! enough. Then a [`Judge`] decides: [`MathVerify`] asks the math-verify library inside the sandbox. A [`Grader`] puts the
//! three together and sorts the answers to one task into clusters for the vote.
//!
//! Nothing here knows of models, tasks or rewards.

mod boxed;
mod error;
mod grader;
mod math_verify;
mod normal;
mod number;
mod spelling;
mod verdict;
mod worker;

pub use boxed::boxed;
pub use error::AnswerError;
pub use grader::{By, Clusters, Decision, Grader, Judge};
pub use math_verify::MathVerify;
pub use normal::{is_number, normalise};
pub use verdict::{Verdict, fast};
