//! What the agents are told, and which tasks no vote can label. Knows nothing of tokens.

/// System turn of the curriculum agent.
pub const CURRICULUM_SYSTEM: &str = "You write original problems for a mathematics competition.";

/// User turn of the curriculum agent. Every proposal starts from this one prompt. It says nothing about the solver: small
/// models write such remarks into their problems.
pub const CURRICULUM_USER: &str = "\
Write ONE new mathematics or reasoning problem. Pick any field: number theory, combinatorics, algebra, geometry, \
probability, sequences, counting with constraints, money and rates, dates and schedules, or logic puzzles.

Rules:
- State every number that is needed.
- It must take several steps, or a short computation, to solve.
- The answer is one definite number or one short expression, never a proof, a program or an explanation.
- Choose your own setting and your own numbers.

Write the problem between <question> and </question>. Then solve it in a few lines and end with the final answer in \
\\boxed{}. Use exactly this form:

<question>
the full text of your problem
</question>
short solution
\\boxed{final answer}";

/// System turn of the executor. Told to be a programmer, the default model runs a program for nearly every question; told to reason
/// and then compute, for one in four. docs/results.md compares such prompts.
pub const EXECUTOR_SYSTEM: &str = "\
You are a programmer who answers questions by running code. Your ```python block is run, and you are shown what it prints in an \
```output block. Then you end with the final answer in \\boxed{}. Import sympy where it helps.";

/// User turn of the executor.
pub const EXECUTOR_USER: &str = "\
{question}

Write a short ```python program, with a comment for each step, that prints the answer.";

/// Whether a question asks for a proof, which no vote can label.
pub fn asks_for_proof(question: &str) -> bool {
    let lower = question.to_lowercase();
    let mut words = lower.split(|c: char| !c.is_alphabetic());
    words.any(|word| ["prove", "proof", "disprove", "justify"].contains(&word))
        || ["show that", "demonstrate that", "explain why", "verify that"].iter().any(|phrase| lower.contains(phrase))
}

/// Whether an answer is prose: more words than a value, a name or a short list needs.
pub fn is_prose(answer: &str) -> bool {
    const MOST_WORDS: usize = 4;
    let words = answer.split(|c: char| !(c.is_alphanumeric() || c == '\\' || c == '\'')).filter(|word| {
        word.chars().count() > 1 && word.chars().all(|c| c.is_alphabetic() || c == '\'') // numbers and \commands are not words
    });
    words.count() > MOST_WORDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proofs_and_prose_are_seen() {
        assert!(asks_for_proof("Prove that n is even."));
        assert!(asks_for_proof("Show that x > 1."));
        assert!(!asks_for_proof("An improved waterproof machine makes 3 parts. How many in 5 hours?"));
        assert!(is_prose("the sequence converges because it is bounded"));
        for value in ["42", "\\frac{1}{2}", "x^2 + 3x + 1", "Alice and Bob", "\\sqrt{2} \\text{ cm}", "1, 2, 3, 4, 5, 6, 7"] {
            assert!(!is_prose(value), "{value}");
        }
    }
}
