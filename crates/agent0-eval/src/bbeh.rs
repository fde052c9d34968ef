//! BIG-Bench Extra Hard's own matching, which is not mathematical: texts are compared after light clean-up. Follows the benchmark's
//! published evaluation rule by rule, so that scores can be compared with others'.

/// Phrases after which a response states its answer, in the order in which they are looked for.
const PHRASES: [&str; 4] = ["The answer is:", "The final answer is ", "The final answer is: ", "The answer is "];

/// The answer that a response states in words, if it does: what follows the last such phrase.
pub(crate) fn stated(response: &str) -> Option<&str> {
    let mut answer = response.trim();
    let mut found = false;
    for phrase in PHRASES {
        if let Some((_, rest)) = answer.rsplit_once(phrase) {
            answer = rest.trim();
            found = true;
        }
    }
    (found && !answer.is_empty()).then_some(answer)
}

/// Whether an answer matches the target.
pub(crate) fn matches(answer: &str, target: &str) -> bool {
    let (answer, target) = (clean_answer(answer), clean_target(target));
    if answer == target {
        return true;
    }
    // An option with its brackets on one side only; nothing else is tried then.
    if let Some(letter) = bracketed(&answer) {
        return target == letter;
    }
    if let Some(letter) = bracketed(&target) {
        return answer == letter;
    }
    let same_number = || matches!((number(&answer), number(&target)), (Some(a), Some(b)) if a == b);
    let unquoted = |text: &str| text.replace('\'', "");
    same_number()
        || unquoted(&answer) == unquoted(&target)
        || answer == format!("[{target}]")
        || target == format!("[{answer}]")
        || answer.strip_suffix('?') == Some(&target)
}

fn clean_answer(answer: &str) -> String {
    let answer = answer.trim();
    let plain = without_markup(answer.strip_suffix('.').unwrap_or(answer)).to_lowercase().replace(", ", ",").replace("**", "");
    let line = plain.split('\n').next().unwrap_or_default();
    line.strip_suffix('.').unwrap_or(line).to_owned()
}

fn clean_target(target: &str) -> String {
    target.trim().to_lowercase().replace(", ", ",")
}

/// Takes off dollar signs, a box and text commands around a whole answer.
fn without_markup(answer: &str) -> &str {
    let mut inner = answer;
    if inner.len() > 1 {
        inner = inner.strip_prefix('$').and_then(|rest| rest.strip_suffix('$')).unwrap_or(inner);
    }
    for command in ["boxed{", "text{", "texttt{"] {
        if let Some(rest) = inner.strip_suffix('}')
            && let Some((_, content)) = rest.split_once(command)
        {
            inner = content.split(command).next().unwrap_or_default();
        }
    }
    inner
}

/// The one character between round brackets.
fn bracketed(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('(')?.strip_suffix(')')?;
    (inner.chars().count() == 1).then_some(inner)
}

/// A number as the benchmark's own language reads it: blanks around it and single underscores between digits are allowed.
fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    let bytes = text.as_bytes();
    let is_digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    let separates = |at: usize| is_digit(at.checked_sub(1)) && is_digit(Some(at + 1));
    if bytes.iter().enumerate().any(|(at, &byte)| byte == b'_' && !separates(at)) {
        return None;
    }
    text.replace('_', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_one_answer_match() {
        let cases = [
            ("17", "17"),
            ("17.0", "17"),
            ("1_000", "1000"),
            ("Paris", "paris"),
            ("(B)", "b"),
            ("B", "(B)"),
            ("a, b, c", "a,b,c"),
            ("[3, 4]", "3, 4"),
            ("3, 4", "[3,4]"),
            ("It's", "its"),
            ("yes?", "yes"),
            ("**no**", "no"),
            ("unknown.", "unknown"),
            ("$12$", "12"),
            (r"\text{proved}", "proved"),
            (r"\boxed{\text{proved}}", "proved"),
            ("first line\nsecond", "first line"),
        ];
        for (answer, target) in cases {
            assert!(matches(answer, target), "{answer} / {target}");
        }
    }

    #[test]
    fn other_answers_do_not() {
        let cases = [("17", "71"), ("(A)", "(B)"), ("(A)", "[a]"), ("a,b", "b,a"), ("1__0", "10"), ("nan", "nano"), ("", "0"), ("$", "")];
        for (answer, target) in cases {
            assert!(!matches(answer, target), "{answer} / {target}");
        }
    }

    #[test]
    fn answers_in_words_are_found() {
        assert_eq!(stated("So. The answer is: 5\n"), Some("5"));
        assert_eq!(stated("The answer is 4. No. The final answer is (C)."), Some("(C)."));
        assert_eq!(stated("nothing of the kind"), None);
        assert_eq!(stated("The answer is: "), None);
    }
}
