//! Mathematics with one answer: MATH-500, Minerva, AMC and AIME in the copies in use, and GSM8K.

use agent0_answers::boxed;

use super::Draft;
use crate::rows::Row;

/// Reads a row with a problem and its answer: `answer` as text or number, or what the solution puts in its last `\boxed{}`.
pub(crate) fn mathematics(row: &Row) -> Result<Draft, String> {
    let answer = match row.maybe_text(&["answer"]) {
        Some(answer) => answer,
        None if row.has(&["solution"]) => {
            let solution = row.text(&["solution"])?;
            let found = boxed(&solution).map(str::to_string);
            found.ok_or("there is no `answer`, and the `solution` has no \\boxed{}; add the answer or remove the row")?
        }
        None => row.text(&["answer"])?,
    };
    Ok(Draft { question: row.text(&["problem", "question"])?, answer, subject: row.maybe_text(&["subject", "type"]), ..Draft::default() })
}

/// Reads a row of GSM8K, whose `answer` is a worked solution that ends with `#### 72`.
pub(crate) fn gsm8k(row: &Row) -> Result<Draft, String> {
    let solution = row.text(&["answer"])?;
    let (_, answer) =
        solution.rsplit_once("####").ok_or("the `answer` has no line `#### ...` with the number; add it or remove the row")?;
    Ok(Draft { question: row.text(&["question"])?, answer: answer.trim().to_string(), ..Draft::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::row;
    use serde_json::{Value, json};

    fn answer(value: Value) -> String {
        mathematics(&row(value)).unwrap().answer
    }

    #[test]
    fn the_copies_in_use_are_read() {
        let math500 = json!({"problem": "Find $x$.", "solution": "So \\boxed{1}.", "answer": "\\frac{1}{2}", "subject": "Algebra", "level": 2,
            "unique_id": "test/algebra/1.json"});
        let draft = mathematics(&row(math500)).unwrap();
        assert_eq!(
            (draft.question.as_str(), draft.answer.as_str(), draft.subject.as_deref()),
            ("Find $x$.", "\\frac{1}{2}", Some("Algebra"))
        );
        // Minerva: with its answer, and as a solution only.
        assert_eq!(answer(json!({"question": "q", "answer": "4.5e33"})), "4.5e33");
        let solution =
            json!({"problem": "q", "solution": "First $\\boxed{1}$, then \n$\\boxed{\\frac{2}{3}}$.", "type": "Optics", "idx": 3});
        let draft = mathematics(&row(solution)).unwrap();
        assert_eq!((draft.answer.as_str(), draft.subject.as_deref()), ("\\frac{2}{3}", Some("Optics")));
        // AMC writes numbers as decimals; AIME capitals, or the box alone.
        assert_eq!(answer(json!({"id": 0, "problem": "q", "answer": 27.0, "url": "u"})), "27");
        assert_eq!(answer(json!({"ID": "2024-II-4", "Problem": "q", "Solution": "s", "Answer": 33})), "33");
        assert_eq!(answer(json!({"id": 60, "problem": "q", "solution": "\\boxed{204}", "url": "u"})), "204");
    }

    #[test]
    fn a_problem_without_an_answer_is_refused() {
        let without = |value| mathematics(&row(value)).unwrap_err();
        assert!(without(json!({"problem": "q", "solution": "no box"})).contains("add the answer"));
        assert!(without(json!({"problem": "q"})).contains("the field `answer` is missing"));
        assert!(without(json!({"answer": "1"})).contains("the field `problem` or `question` is missing"));
    }

    #[test]
    fn gsm8k_ends_with_the_number() {
        let draft = gsm8k(&row(json!({"question": "How many?", "answer": "48/2 = <<48/2=24>>24\n48+24 = 72\n#### 1,072"}))).unwrap();
        assert_eq!((draft.question.as_str(), draft.answer.as_str()), ("How many?", "1,072"));
        assert!(gsm8k(&row(json!({"question": "q", "answer": "72"}))).unwrap_err().contains("####"));
    }
}
