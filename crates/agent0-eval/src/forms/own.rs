//! Our own form: `id`, `question`, `answer`, and where they make sense `choices` and `subject`.

use super::{Draft, letter};
use crate::rows::Row;

/// Whether a row is of our own form: its id is text, and the question, the answer and the choices have their plain names. The
/// published forms number their rows, or have other names; a copy of GSM8K with such an id still has its solutions as answers.
pub(crate) fn is_own(row: &Row) -> bool {
    let is_solution = || row.maybe_text(&["answer"]).is_some_and(|answer| answer.contains("####"));
    row.has_text("id") && row.has(&["question"]) && row.has(&["answer"]) && !row.has(&["options"]) && !is_solution()
}

/// Reads a row of our own form; one with choices is one of multiple choice.
pub(crate) fn own(row: &Row) -> Result<Draft, String> {
    let question = row.text(&["question"])?;
    let answer = row.text(&["answer"])?;
    let choices = if row.has(&["choices"]) { row.texts(&["choices"])? } else { Vec::new() };
    let answer = if choices.is_empty() { answer } else { letter(&answer, choices.len())?.to_string() };
    Ok(Draft { question, answer, choices, subject: row.maybe_text(&["subject"]) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::row;
    use serde_json::json;

    #[test]
    fn rows_of_ours_are_known_by_their_fields() {
        assert!(is_own(&row(json!({"id": "a-1", "question": "q", "answer": 2}))));
        assert!(!is_own(&row(json!({"id": 1, "question": "q", "answer": "2"}))));
        assert!(!is_own(&row(json!({"id": "1", "problem": "q", "answer": "2"}))));
    }

    #[test]
    fn choices_make_the_answer_a_letter() {
        let text = own(&row(json!({"id": "a", "question": "1+1?", "answer": "2", "subject": "sums"}))).unwrap();
        assert_eq!((text.answer.as_str(), text.subject.as_deref()), ("2", Some("sums")));
        let choice = own(&row(json!({"id": "a", "question": "1+1?", "answer": "b", "choices": ["1", "2"]}))).unwrap();
        assert_eq!((choice.answer.as_str(), choice.choices.len()), ("B", 2));
        let wrong = own(&row(json!({"id": "a", "question": "1+1?", "answer": "C", "choices": ["1", "2"]}))).unwrap_err();
        assert!(wrong.contains("`C`") && wrong.contains("A to B"), "{wrong}");
    }
}
