//! What the agents are told, and which tasks no vote can label. Knows nothing of tokens.

/// System turn of the curriculum agent.
pub const CURRICULUM_SYSTEM: &str = "You write original mathematics problems.";

/// User turn of the curriculum agent. The examples, written for this prompt, show the form better than a description of it does.
/// They are problems that a program solves and a guess does not: those are what teaches the executor to use its tool.
/// It says nothing about the solver: small models write such remarks into their problems.
pub const CURRICULUM_USER: &str = "\
Write one new mathematics problem about the topic. It states every number that is needed, a short program can compute its answer, \
and the answer is one number. Use exactly this form:

Topic: multiples and divisors
<question>
How many whole numbers from 10 to 500 are multiples of 6 but not of 4?
</question>
\\boxed{41}

Topic: buying fruit
<question>
Mia buys 7 bags with 12 apples in each. She gives a third of all her apples to her neighbours and then eats 5 of those that are left. \
How many apples does she still have?
</question>
\\boxed{51}

Topic: a week of work
<question>
Tom works 5 hours on each of 4 days and earns 12 dollars an hour. He pays 30 dollars for the bus and spends half of the rest on food. How many dollars does he have left?
</question>
\\boxed{105}

Topic: equations
<question>
Solve the equation 17x - 45 = 6x + 142 for x.
</question>
\\boxed{17}

Topic: sums of cubes
<question>
What is the sum of the cubes of all odd numbers from 1 to 19?
</question>
\\boxed{19900}

Topic: {topic}";

/// What tasks are to be about: a small model that may choose writes the same few problems again and again. Stories, and exercises
/// that are asked directly: an executor that answers stories only forgets how equations are solved.
pub const TOPICS: [&str; 40] = [
    "buying things and paying for them",
    "a discount or a tax in percent",
    "wages and hours of work",
    "speed, distance and time",
    "a trip in several parts",
    "sharing things among friends",
    "the ages of people in a family",
    "a recipe and its quantities",
    "saving money week by week",
    "boxes and the things in them",
    "a school and its classes",
    "a shop and its profit",
    "the points of a team",
    "a farm and its harvest",
    "tickets at two prices",
    "the pages of a book read day by day",
    "wood, cloth or wire that is cut to pieces",
    "filling a tank",
    "people of whom one has several times as many as another",
    "the bills of a month",
    "an equation with one unknown",
    "two equations with two unknowns",
    "the value of an expression with brackets",
    "the product of large numbers",
    "a long sum of different numbers",
    "fractions",
    "percentages",
    "the average of several numbers",
    "the least common multiple",
    "the greatest common divisor",
    "the divisors of a number",
    "the remainder of a division",
    "prime numbers",
    "multiples between two numbers",
    "square numbers and cubes",
    "a sequence and its terms",
    "the sum of many terms",
    "powers and factorials",
    "counting arrangements or choices",
    "the probability of dice or cards",
];

/// System turn of the executor. It does not say "output block": an executor took these words for a function, and called it.
pub const EXECUTOR_SYSTEM: &str = "\
You solve problems with brief reasoning and Python. A ```python block that you write is run for you, and what it prints comes back as \
```output. Never write ```output yourself. numpy and sympy are installed.";

/// User turn of the executor: plain words, which leave it to the model when to program. docs/results.md compares such prompts.
pub const EXECUTOR_USER: &str = "\
{question}

Think in one or two sentences. Then compute with a short ```python block that prints the result. When you have seen its ```output, \
end with the final answer in \\boxed{}.";

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
