//! Whether an answer is right. How answers of each kind are compared is in `choice`, `bbeh` and `agent0-answers`.

use agent0_answers::{AnswerError, By, Grader};

use crate::benchmark::Grading;
use crate::question::Question;
use crate::{bbeh, choice};

/// The verdict on one response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grade {
    /// The answer as it was taken from the response; `None` where there is none.
    pub answer: Option<String>,
    /// Whether it is right.
    pub correct: bool,
    /// Whether mathematics could not be compared in time; it counts as wrong.
    pub undecided: bool,
}

impl Grade {
    fn unanswered() -> Self {
        Self { answer: None, correct: false, undecided: false }
    }
}

/// Grades a response: `boxed` is the content of its final box, `text` all of it.
///
/// Mathematics and letters count in the box only. BBEH is also answered by its own phrases ("The answer is: ...").
///
/// # Errors
/// When the grader's judge does not work; never because of what an answer holds.
pub async fn grade(question: &Question, grading: Grading, boxed: Option<&str>, text: &str, grader: &Grader) -> Result<Grade, AnswerError> {
    let decided = |answer: String, correct| Grade { answer: Some(answer), correct, undecided: false };
    Ok(match grading {
        Grading::Math => match boxed {
            Some(answer) => {
                let decision = grader.same(answer, &question.answer).await?;
                Grade { undecided: decision.by == By::Nobody, ..decided(answer.to_owned(), decision.same) }
            }
            None => Grade::unanswered(),
        },
        Grading::Choice => match boxed.and_then(|answer| choice::chosen(answer, question.choices.len())) {
            Some(letter) => decided(letter.to_string(), letter.to_string() == question.answer),
            None => Grade::unanswered(),
        },
        Grading::Bbeh => match boxed.or_else(|| bbeh::stated(text)) {
            Some(answer) => decided(answer.to_owned(), bbeh::matches(answer, &question.answer)),
            None => Grade::unanswered(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn verdict(grading: Grading, gold: &str, choices: usize, boxed: Option<&str>, text: &str) -> (Option<String>, bool) {
        let question = Question {
            id: "1".into(),
            question: "?".into(),
            answer: gold.into(),
            choices: (0..choices).map(|i| format!("choice {i}")).collect(),
            subject: None,
        };
        let grade = grade(&question, grading, boxed, text, &Grader::new(None)).await.unwrap();
        (grade.answer, grade.correct)
    }

    #[tokio::test]
    async fn each_kind_is_graded_by_its_own_rule() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(verdict(Grading::Math, "\\frac12", 0, Some("0.5"), "").await, (some("0.5"), true));
        assert_eq!(verdict(Grading::Math, "12", 0, None, "The answer is: 12").await, (None, false));
        assert_eq!(verdict(Grading::Choice, "B", 4, Some("(b)"), "").await, (some("B"), true));
        assert_eq!(verdict(Grading::Choice, "B", 4, Some("choice 1"), "").await, (None, false), "no letter is no answer");
        assert_eq!(verdict(Grading::Choice, "B", 4, Some("C"), "").await, (some("C"), false));
        assert_eq!(verdict(Grading::Bbeh, "(B)", 0, Some("b"), "").await, (some("b"), true));
        assert_eq!(verdict(Grading::Bbeh, "17", 0, None, "Hm. The answer is: 17.").await, (some("17."), true));
        assert_eq!(verdict(Grading::Bbeh, "17", 0, None, "17").await, (None, false));
    }
}
