//! What the agents are told, and which tasks no vote can label. Knows nothing of tokens.

/// System turn of the curriculum agent.
pub const CURRICULUM_SYSTEM: &str = "You write original mathematics problems.";

/// User turn of the curriculum agent. The examples, written for this prompt, show the form better than a description of it does.
/// It says nothing about the solver: small models write such remarks into their problems.
pub const CURRICULUM_USER: &str = "\
Write one new mathematics problem about the topic. It states every number that is needed, takes several steps to solve, and its \
answer is one number. Use exactly this form:

Topic: planting trees
<question>
A park has 6 rows with 15 trees each. A storm breaks a third of the trees, and then the gardeners plant 4 new ones every day for 3 days. \
How many trees stand in the park now?
</question>
\\boxed{72}

Topic: renting a boat
<question>
Lena rents a boat. The first hour costs 20 dollars and every further hour 12 dollars, and she has a voucher for 25% off the whole price. \
She pays 51 dollars. For how many hours did she rent the boat?
</question>
\\boxed{5}

Topic: the sum of digits
<question>
How many whole numbers from 10 to 500 have digits whose sum is 7?
</question>
\\boxed{29}

Topic: {topic}";

/// What tasks are to be about: a small model that may choose writes the same few problems again and again. Stories, and exercises
/// that are asked directly: an executor that answers stories only forgets how equations are solved.
pub const TOPICS: [&str; 36] = [
    "buying things and paying for them",
    "a discount or a tax in percent",
    "wages and hours of work",
    "speed, distance and time",
    "sharing things among friends",
    "the ages of people in a family",
    "a recipe and its quantities",
    "saving money week by week",
    "a garden, its area and its fence",
    "boxes, tanks and their volumes",
    "people or machines that work together",
    "a school and its classes",
    "a farm and its animals",
    "a trip in several parts",
    "profit and loss of a shop",
    "the games and points of a team",
    "an equation with one unknown",
    "two equations with two unknowns",
    "a quadratic equation",
    "the value of an expression",
    "fractions",
    "ratios and proportions",
    "the average of several numbers",
    "the least common multiple",
    "the greatest common divisor",
    "divisors of a number",
    "remainders of a division",
    "prime numbers",
    "numbers written in another base",
    "a sequence and its next term",
    "the sum of many terms",
    "powers and growth",
    "counting arrangements or choices",
    "the probability of dice, coins or cards",
    "triangles and circles",
    "days of the week and dates",
];

/// System turn of the executor.
pub const EXECUTOR_SYSTEM: &str = "\
You are a helpful assistant who solves problems step by step, and who can run Python: a ```python block that you write is run, and you \
are shown what it prints in an ```output block. End with the final answer in \\boxed{}.";

/// User turn of the executor. Steps before the program: a program alone is shorter, but its errors are alike, and a vote of several
/// answers mends few of them. docs/results.md compares such prompts.
pub const EXECUTOR_USER: &str = "\
{question}

First write down the steps of the solution, briefly. Then write a short ```python program that follows them and prints the answer.";

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
