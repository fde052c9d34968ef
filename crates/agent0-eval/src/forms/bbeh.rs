//! BIG-Bench Extra Hard: a task's `input` and `target`, or `question` and `answer` in the copy with all tasks in one file.

use super::Draft;
use crate::rows::Row;

/// Reads a row. Task names are written with underscores: the sources differ.
pub(crate) fn bbeh(row: &Row) -> Result<Draft, String> {
    let task = row.maybe_text(&["task", "subject"]);
    let subject = task.map(|task| task.trim().trim_start_matches("bbeh_").to_lowercase().replace([' ', '-'], "_"));
    let question = row.text(&["input", "question"])?;
    Ok(Draft { question, answer: row.text(&["target", "answer"])?, subject, ..Draft::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::row;
    use serde_json::json;

    #[test]
    fn the_copies_in_use_are_read() {
        let wanted = Draft { question: "Sort: b a".into(), answer: "a b".into(), subject: Some("word_sorting".into()), ..Draft::default() };
        let copies = [
            json!({"task": "word sorting", "input": "Sort: b a", "target": "a b", "mini": 1}),
            json!({"task": "bbeh_word_sorting", "question": "Sort: b a", "answer": "a b"}),
        ];
        for copy in copies {
            assert_eq!(bbeh(&row(copy)).unwrap(), wanted);
        }
        let of_repository = bbeh(&row(json!({"input": "Sort: b a", "target": "a b"}))).unwrap();
        assert_eq!(of_repository, Draft { subject: None, ..wanted });
        assert!(bbeh(&row(json!({"input": "q"}))).unwrap_err().contains("`target` or `answer`"));
    }
}
