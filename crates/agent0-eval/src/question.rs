//! Questions as they come out of a file, whatever its form, and the rows that did not become one.

use serde::{Deserialize, Serialize};

/// One question with its gold answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Unique within what was loaded, and the same each time. In a benchmark's original form: the benchmark's name, a dash, and the
    /// id there, else the row's number counted from 0 (`gsm8k-17`); in our own form the id as it stands.
    pub id: String,
    /// The question's text, without the choices.
    pub question: String,
    /// The gold answer, not empty: mathematics as LaTeX or text (several answers separated by commas), the letter `A`, `B`, ... of
    /// a choice, or the target of BBEH.
    pub answer: String,
    /// The choices in order; empty unless the question is one of multiple choice. Choice `i` has the letter `A` + `i`.
    pub choices: Vec<String>,
    /// The subject, category or task, where the source tells one.
    pub subject: Option<String>,
}

/// A row that is not asked, because something in it is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The row's number in its file, counted from 1 (in JSON Lines the line), going on from file to file when there are several.
    pub row: usize,
    /// Its id, if it has one.
    pub id: Option<String>,
    /// What is wrong and what to do about it, in a sentence without a full stop.
    pub why: String,
}

/// Where questions came from, for the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The path of a file, or `org/name@commit file` of the hub; several files are separated by commas.
    pub source: String,
    /// The commit on the hub; `None` for a file of the user's.
    pub revision: Option<String>,
    /// SHA-256 of the bytes read, lower-case hex; of several files the bytes follow one another.
    pub sha256: String,
}

/// What a source holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The questions in the source's order; at least one.
    pub questions: Vec<Question>,
    /// The rows that were left out, in order. Questions and these together are all rows.
    pub rejected: Vec<Rejected>,
    /// Where they came from.
    pub origin: Origin,
}
