//! Questions with lettered choices: SuperGPQA (`options`, `answer_letter`) and MMLU-Pro (`options`, `answer` as a letter,
//! `answer_index`).

use super::Draft;
use crate::choice::{self, MOST_CHOICES};
use crate::rows::Row;

/// What fills up the list of choices in some rows of MMLU-Pro.
const NO_CHOICE: &str = "N/A";

/// Reads a row with choices. The letter decides which is right; without one, its index. Choices that say `N/A` are dropped, and
/// the letters move up.
pub(crate) fn multiple_choice(row: &Row) -> Result<Draft, String> {
    let options = row.texts(&["options", "choices"])?;
    let gold = match row.maybe_text(&["answer_letter"]) {
        Some(text) => index(&text, options.len())?,
        None if row.has(&["answer"]) => index(&row.text(&["answer"])?, options.len())?,
        None => match row.index("answer_index") {
            Some(index) if index < options.len() => index,
            _ => return Err("neither `answer_letter` nor `answer` nor `answer_index` names a choice; add one of them".to_string()),
        },
    };
    let is_choice = |option: &String| option.trim() != NO_CHOICE;
    if !is_choice(&options[gold]) {
        return Err(format!("the answer is a choice that says {NO_CHOICE}; name the right one"));
    }
    let place = options[..gold].iter().filter(|option| is_choice(option)).count();
    let choices: Vec<String> = options.into_iter().filter(is_choice).collect();
    let subject = row.maybe_text(&["category", "discipline", "subject"]);
    Ok(Draft { question: row.text(&["question"])?, answer: choice::letter(place).to_string(), choices, subject })
}

/// The letter that an answer names, out of so many choices: `B`, `b` and `(B)` are all `B`.
pub(crate) fn letter(answer: &str, choices: usize) -> Result<String, String> {
    index(answer, choices).map(|index| choice::letter(index).to_string())
}

fn index(answer: &str, choices: usize) -> Result<usize, String> {
    if !(2..=MOST_CHOICES).contains(&choices) {
        return Err(format!("there are {choices} choices; give 2 to {MOST_CHOICES}"));
    }
    let text = answer.trim();
    let text = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')).unwrap_or(text);
    match text.as_bytes() {
        &[byte] if byte.is_ascii_alphabetic() && usize::from(byte.to_ascii_uppercase() - b'A') < choices => {
            Ok(usize::from(byte.to_ascii_uppercase() - b'A'))
        }
        _ => Err(format!("the answer `{answer}` is no letter of its choices; make it one of A to {}", choice::letter(choices - 1))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::row;
    use serde_json::json;

    #[test]
    fn supergpqa_and_mmlu_pro_are_read() {
        let supergpqa = json!({"uuid": "u", "question": "Largest?", "options": ["one", "three", "two"], "answer": "three", "answer_letter": "B",
            "discipline": "Science", "field": "Mathematics", "subfield": "Order", "difficulty": "easy", "is_calculation": false});
        let draft = multiple_choice(&row(supergpqa)).unwrap();
        assert_eq!((draft.answer.as_str(), draft.choices.len(), draft.subject.as_deref()), ("B", 3, Some("Science")));
        let mmlu_pro = json!({"question_id": 70, "question": "Smallest?", "options": ["one", "two"], "answer": "A", "answer_index": 0,
            "cot_content": "", "category": "math", "src": "own"});
        let draft = multiple_choice(&row(mmlu_pro)).unwrap();
        assert_eq!((draft.answer.as_str(), draft.question.as_str(), draft.subject.as_deref()), ("A", "Smallest?", Some("math")));
        let by_index = json!({"question": "q", "options": ["a", "b"], "answer_index": 1});
        assert_eq!(multiple_choice(&row(by_index)).unwrap().answer, "B");
    }

    #[test]
    fn fillers_go_and_letters_follow() {
        let draft = multiple_choice(&row(json!({"question": "q", "options": ["a", "N/A", "b", "c", "N/A"], "answer": "D"}))).unwrap();
        assert_eq!((draft.answer.as_str(), &draft.choices[..]), ("C", &["a", "b", "c"].map(str::to_string)[..]));
        let filler = multiple_choice(&row(json!({"question": "q", "options": ["a", "N/A"], "answer": "B"}))).unwrap_err();
        assert!(filler.contains("N/A"), "{filler}");
    }

    #[test]
    fn only_letters_of_choices_are_answers() {
        for answer in ["B", "b", " (B) "] {
            assert_eq!(letter(answer, 2).unwrap(), "B");
        }
        for answer in ["C", "", "AB", "1", "é", "two"] {
            assert!(letter(answer, 2).unwrap_err().contains("A to B"), "{answer}");
        }
        assert!(letter("A", 1).unwrap_err().contains("2 to 26"));
        assert!(multiple_choice(&row(json!({"question": "q", "options": [], "answer": "A"}))).unwrap_err().contains("0 choices"));
        assert!(multiple_choice(&row(json!({"question": "q", "options": "a", "answer_index": 3}))).is_err());
    }
}
