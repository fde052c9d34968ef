//! Multiple choice: how options are shown, and which letter an answer names. What names no letter is wrong, never a guess.

/// Most options of a question: letters `A` to `Z`.
pub const MOST_CHOICES: usize = 26;

/// The letter of the option with this index.
///
/// # Panics
/// At 26 and above.
pub fn letter(index: usize) -> char {
    assert!(index < MOST_CHOICES);
    char::from(b'A' + index as u8)
}

/// The question with its options below, one `(A) ...` a line, and the wish for a letter.
pub(crate) fn with_options(question: &str, choices: &[String]) -> String {
    let mut text = question.trim_end().to_owned();
    text.push('\n');
    for (index, choice) in choices.iter().enumerate() {
        text += &format!("\n({}) {}", letter(index), choice.trim());
    }
    text + "\n\nExactly one option is right. The final answer is its letter alone."
}

/// The letter that the content of a box names, among those of `choices` options: `B`, `(B)`, `B.`, `\text{B}`, `B) text`, `Option B`.
pub(crate) fn chosen(answer: &str, choices: usize) -> Option<char> {
    let mut rest = answer.trim();
    // Commands and brackets around the whole, in any order of nesting.
    loop {
        let inner = unwrap(rest);
        if inner == rest {
            break;
        }
        rest = inner;
    }
    for word in ["option", "answer", "choice"] {
        if let Some(after) = strip_word(rest, word) {
            rest = unwrap(after.trim_start_matches([':', ' ']));
        }
    }
    let opened = rest.strip_prefix('(').map(str::trim_start);
    let body = opened.unwrap_or(rest);
    let named = body.chars().next()?.to_ascii_uppercase();
    let after = &body[named.len_utf8()..];
    let ends = match opened {
        Some(_) => after.trim_start().starts_with(')'),
        None => after.is_empty() || after.starts_with(['.', ')', ':', ',']) || (after.starts_with(' ') && body.starts_with(named)),
    };
    let known = named.is_ascii_uppercase() && usize::from(named as u8 - b'A') < choices.min(MOST_CHOICES);
    // "A cat" is prose that begins with an article, "B cat" names an option.
    let article = opened.is_none() && after.starts_with(' ') && named == 'A';
    (known && ends && !article).then_some(named)
}

/// What stands in a command, in dollar signs or in stars, if that is all there is.
fn unwrap(text: &str) -> &str {
    let text = text.trim().trim_end_matches('.').trim_end();
    let within = |open: &str, close: &str| text.strip_prefix(open)?.strip_suffix(close);
    let commands = ["\\text{", "\\textbf{", "\\mathrm{", "\\mathbf{", "\\textit{", "\\mathit{", "\\boxed{", "{"];
    let inner = commands.iter().find_map(|open| within(open, "}").filter(|inner| !inner.contains(['{', '}']) || inner.starts_with('\\')));
    inner.or_else(|| within("**", "**")).or_else(|| within("$", "$")).map_or(text, str::trim)
}

/// What follows a word at the start, whatever its case.
fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let head = text.get(..word.len())?;
    head.eq_ignore_ascii_case(word).then(|| &text[word.len()..]).filter(|rest| rest.starts_with([' ', ':']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_read() {
        let b =
            ["B", "b", "(B)", "B.", "B)", "B: the second", "B) the second", "(B) the second", "\\text{B}", "\\textbf{(B)}", "$B$", "**B**"];
        for answer in
            b.iter().chain(&["Option B", "option (B)", "Answer: B", "B the second", " B ", "\\mathrm{\\text{B}}", "( B )", "B, C"])
        {
            assert_eq!(chosen(answer, 4), Some('B'), "{answer}");
        }
        assert_eq!(chosen("A", 4), Some('A'));
        assert_eq!(chosen("J", 10), Some('J'));
    }

    #[test]
    fn what_names_no_letter_is_no_answer() {
        for answer in ["E", "", "42", "Because", "A cat", "BC", "the answer", "b cat", "(BC)", "é", "\\frac{A}{B}", "()", "$"] {
            assert_eq!(chosen(answer, 4), None, "{answer}");
        }
        assert_eq!(chosen("A", 0), None);
    }

    #[test]
    fn options_stand_below_the_question() {
        let text = with_options("Which? ", &["one".into(), " two".into()]);
        assert!(text.starts_with("Which?\n\n(A) one\n(B) two\n\n"), "{text}");
    }
}
