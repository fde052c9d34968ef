//! OlympiadBench: open-ended problems in English, some with several answers.

use super::Draft;
use crate::rows::Row;

/// Reads a row with `question` and `final_answer`. What the problem refers to, `context`, goes before it. Several answers become
/// one, separated by commas; since the source already writes most of them so within one text, an order does not matter there.
pub(crate) fn olympiad(row: &Row) -> Result<Draft, String> {
    let question = row.text(&["question", "problem"])?;
    let context = row.maybe_text(&["context"]).filter(|context| !context.trim().is_empty());
    let question = context.map_or(question.clone(), |context| format!("{}\n\n{question}", context.trim_end()));
    let answers = row.texts(&["final_answer", "answer"])?;
    let answer = answers.iter().map(|answer| answer.trim()).filter(|answer| !answer.is_empty()).collect::<Vec<_>>().join(", ");
    Ok(Draft { question, answer, subject: row.maybe_text(&["subfield", "subject"]), ..Draft::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::row;
    use serde_json::json;

    #[test]
    fn context_comes_first_and_answers_together() {
        let value = json!({"id": 1606, "question": "Find both.", "solution": ["s"], "final_answer": ["$(1,2)$", "$3$"], "context": "Let $n=1$.\n",
            "image_1": null, "modality": "Text-only", "is_multiple_answer": true, "unit": null, "answer_type": "Numerical", "error": null,
            "subfield": "Algebra", "subject": "Math"});
        let draft = olympiad(&row(value)).unwrap();
        assert_eq!(draft.question, "Let $n=1$.\n\nFind both.");
        assert_eq!((draft.answer.as_str(), draft.subject.as_deref()), ("$(1,2)$, $3$", Some("Algebra")));
        let plain = olympiad(&row(json!({"question": "q", "final_answer": ["2"], "context": null}))).unwrap();
        assert_eq!((plain.question.as_str(), plain.answer.as_str()), ("q", "2"));
        assert!(olympiad(&row(json!({"question": "q", "solution": ["s"]}))).unwrap_err().contains("`final_answer`"));
    }
}
