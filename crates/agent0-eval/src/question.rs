//! Questions as they come out of a file, whatever its form, and the rows that did not become one.

use serde::{Deserialize, Serialize};

use crate::benchmark::benchmarks;

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
    /// Rows read, whatever became of them; unknown in results of older versions.
    #[serde(default)]
    pub rows: Option<usize>,
}

impl Origin {
    /// What to say where a copy from the hub has more or fewer rows than `bench` as published, as one that came only in part has. How
    /// many a file of the user's has is the user's business.
    pub fn discrepancy(&self, bench: &str) -> Option<String> {
        let published = benchmarks().iter().find(|benchmark| benchmark.name == bench)?.published_rows;
        let read = self.rows.filter(|rows| self.revision.is_some() && *rows != published)?;
        Some(format!("the copy has {read} rows where {published} are published"))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_in_part_is_told_from_a_file_of_the_user_s() {
        let says = |bench: &str, revision: Option<&str>, rows| {
            let revision = revision.map(str::to_owned);
            Origin { source: "here".into(), revision, sha256: "0".into(), rows }.discrepancy(bench)
        };
        assert_eq!(says("gsm8k", Some("c"), Some(100)).unwrap(), "the copy has 100 rows where 1319 are published");
        assert_eq!(says("gsm8k", Some("c"), Some(1319)), None);
        assert_eq!(says("gsm8k", Some("c"), None), None);
        assert_eq!(says("gsm8k", None, Some(100)), None);
        assert_eq!(says("mine", None, Some(100)), None);
    }
}
