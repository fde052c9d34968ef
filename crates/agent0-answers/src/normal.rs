//! The normal form of an answer: what is left when everything that is only typography is taken away. It stays LaTeX, so that
//! it can stand for the answer in front of a grader.
//!
//! Works on a flat list of tokens, so that no nesting is too deep, in linear time.

use crate::number::number;

/// The normal form of an answer (algorithm.md section 8, step 1).
///
/// Dollar signs, `\left`, `\right`, spacing and display commands go; `\dfrac` and kin become `\frac` with braces around its
/// arguments; other characters and commands for the same sign become one; `\text{...}` after a number is a unit and goes, elsewhere
/// its content stays; commas between thousands go; so do a full stop at the end and spaces, except between letters and digits.
pub fn normalise(answer: &str) -> String {
    let tokens = with_exponents(without_text(tokens(answer)));
    let mut text = emit(&without_needless_braces(with_arguments(tokens)));
    if text.ends_with('.') && !text.ends_with("..") {
        text.pop();
    }
    without_thousands(text)
}

/// Whether an answer, as a text gives it, is one exact number.
pub fn is_number(answer: &str) -> bool {
    number(&normalise(answer)).is_some()
}

/// A command with its backslash, one other character, or a space.
type Token<'a> = &'a str;

const SPACE: Token = " ";
/// Commands that only style or space what they stand beside.
const SPACING: [&str; 16] = [
    "\\,",
    "\\!",
    "\\;",
    "\\:",
    "\\>",
    "\\ ",
    "\\quad",
    "\\qquad",
    "\\displaystyle",
    "\\textstyle",
    "\\limits",
    "\\(",
    "\\)",
    "\\[",
    "\\]",
    "\\$",
];
/// Commands that stand for the same as another.
const SYNONYMS: [(&str, Token); 13] = [
    ("\\dfrac", "\\frac"),
    ("\\tfrac", "\\frac"),
    ("\\cfrac", "\\frac"),
    ("\\dbinom", "\\binom"),
    ("\\tbinom", "\\binom"),
    ("\\%", "%"),
    ("\\leq", "\\le"),
    ("\\geq", "\\ge"),
    ("\\neq", "\\ne"),
    ("\\lbrace", "\\{"),
    ("\\rbrace", "\\}"),
    ("\\bar", "\\overline"),
    ("\\varnothing", "\\emptyset"),
];
/// Characters for which LaTeX has a command or another way to write them.
const CHARACTERS: [(char, &[Token]); 19] = [
    ('\u{2212}', &["-"]),
    ('×', &["\\times"]),
    ('·', &["\\cdot"]),
    ('⋅', &["\\cdot"]),
    ('÷', &["/"]),
    ('π', &["\\pi"]),
    ('∞', &["\\infty"]),
    ('≤', &["\\le"]),
    ('≥', &["\\ge"]),
    ('≠', &["\\ne"]),
    ('∪', &["\\cup"]),
    ('∅', &["\\emptyset"]),
    ('°', &["^", "\\circ"]),
    ('²', &["^", "2"]),
    ('³', &["^", "3"]),
    ('½', &["\\frac", "{", "1", "}", "{", "2", "}"]),
    ('¼', &["\\frac", "{", "1", "}", "{", "4", "}"]),
    ('¾', &["\\frac", "{", "3", "}", "{", "4", "}"]),
    ('±', &["\\pm"]),
];
const TEXT: [&str; 8] = ["\\text", "\\textrm", "\\textbf", "\\textit", "\\textnormal", "\\mbox", "\\mathrm", "\\mathbf"];
/// Words in `\text{...}` that change what the number before them means: `i` and `e` are numbers themselves.
const NO_UNITS: [&str; 16] =
    ["hundred", "thousand", "million", "billion", "trillion", "dozen", "percent", "or", "and", "to", "if", "when", "mod", "pi", "i", "e"];

/// Splits LaTeX into tokens, with other spellings of the same thing made one and pure typography made a space.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let mut len = first.len_utf8();
        if first == '\\' {
            let letters = rest[1..].bytes().take_while(u8::is_ascii_alphabetic).count();
            len += if letters > 0 { letters } else { rest[1..].chars().next().map_or(0, char::len_utf8) };
        }
        let (token, after) = rest.split_at(len);
        rest = after;
        match token {
            "\\left" | "\\right" => {
                // `\left.` draws nothing; neither command draws anything but its delimiter.
                rest = rest.strip_prefix('.').unwrap_or(rest);
                tokens.push(SPACE);
            }
            "\\degree" => tokens.extend(["^", "\\circ"]),
            "$" | "~" => tokens.push(SPACE),
            "{" if rest.starts_with(",}") => rest = &rest[2..],
            "√" => {
                // The root of the number that follows, or of what follows in braces.
                let (digits, after) = rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count());
                rest = after;
                tokens.push("\\sqrt");
                if !digits.is_empty() {
                    tokens.extend(["{", digits, "}"]);
                }
            }
            _ if SPACING.contains(&token) || first.is_whitespace() => tokens.push(SPACE),
            _ => match (SYNONYMS.iter().find(|(name, _)| *name == token), CHARACTERS.iter().find(|(c, _)| *c == first)) {
                (Some((_, other)), _) => tokens.push(other),
                (_, Some((_, others))) => tokens.extend(*others),
                _ => tokens.push(token),
            },
        }
    }
    tokens
}

/// For every opening brace, where it is closed.
fn matching(tokens: &[Token]) -> Vec<Option<usize>> {
    let mut closing = vec![None; tokens.len()];
    let mut open = Vec::new();
    for (i, &token) in tokens.iter().enumerate() {
        match token {
            "{" => open.push(i),
            "}" => {
                if let Some(start) = open.pop() {
                    closing[start] = Some(i);
                }
            }
            _ => {}
        }
    }
    closing
}

/// Index of the first token from `at` on that is no space.
fn skip_spaces(tokens: &[Token], at: usize) -> usize {
    at + tokens[at.min(tokens.len())..].iter().take_while(|&&t| t == SPACE).count()
}

/// The braces of the group that follows the token `at`.
fn group_after(tokens: &[Token], closing: &[Option<usize>], at: usize) -> Option<(usize, usize)> {
    let start = skip_spaces(tokens, at + 1);
    Some((start, closing.get(start).copied().flatten()?))
}

/// Takes the wrapping off text groups, and drops those that are the unit of a number, which then are all that follows.
fn without_text(tokens: Vec<Token<'_>>) -> Vec<Token<'_>> {
    let closing = matching(&tokens);
    let mut out: Vec<Token> = Vec::with_capacity(tokens.len());
    let mut unwrapped_ends = Vec::new();
    let mut seen_text = false;
    let mut at = 0;
    while at < tokens.len() {
        let group = TEXT.contains(&tokens[at]).then(|| group_after(&tokens, &closing, at)).flatten();
        match group {
            Some((start, end)) => {
                // Only the first group can follow a bare number.
                if !seen_text
                    && is_unit(&tokens[start + 1..end])
                    && only_units_follow(&tokens, &closing, end + 1)
                    && is_number(&out.concat())
                {
                    return out;
                }
                seen_text = true;
                unwrapped_ends.push(end);
                out.push(SPACE);
                at = start + 1;
            }
            None if unwrapped_ends.last() == Some(&at) => {
                unwrapped_ends.pop();
                out.push(SPACE);
                at += 1;
            }
            None => {
                out.push(tokens[at]);
                at += 1;
            }
        }
    }
    out
}

fn is_unit(group: &[Token]) -> bool {
    let text = group.concat().to_lowercase();
    !text.trim().is_empty()
        && !text.bytes().any(|b| b.is_ascii_digit())
        && text.split(|c: char| !c.is_alphabetic()).all(|word| !NO_UNITS.contains(&word))
}

/// Whether from `at` on there is nothing but more text groups, exponents, and what joins units.
fn only_units_follow(tokens: &[Token], closing: &[Option<usize>], mut at: usize) -> bool {
    while at < tokens.len() {
        at = match tokens[at] {
            SPACE | "/" | "." | "\\cdot" => at + 1,
            "^" => match group_after(tokens, closing, at) {
                Some((_, end)) => end + 1,
                None => skip_spaces(tokens, at + 1) + 1,
            },
            token if TEXT.contains(&token) => match group_after(tokens, closing, at) {
                Some((start, end)) if is_unit(&tokens[start + 1..end]) => end + 1,
                _ => return false,
            },
            _ => return false,
        };
    }
    true
}

/// Writes braces around an exponent with a minus: what is meant by `10^-3` is `10^{-3}`.
fn with_exponents(tokens: Vec<Token<'_>>) -> Vec<Token<'_>> {
    let is_digit = |token: &Token| token.bytes().all(|b| b.is_ascii_digit());
    let mut out: Vec<Token> = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        let digits = match tokens[at..] {
            ["^", "-", ..] => tokens[at + 2..].iter().take_while(|token| is_digit(token)).count(),
            _ => 0,
        };
        if digits > 0 {
            out.extend(["^", "{", "-"]);
            out.extend(&tokens[at + 2..at + 2 + digits]);
            out.push("}");
            at += 2 + digits;
        } else {
            out.push(tokens[at]);
            at += 1;
        }
    }
    out
}

/// Writes braces around the arguments of `\frac` and `\sqrt` that have none: `\frac12` is `\frac{1}{2}`.
fn with_arguments(tokens: Vec<Token<'_>>) -> Vec<Token<'_>> {
    let closing = matching(&tokens);
    let mut bare = vec![false; tokens.len()];
    for (i, &token) in tokens.iter().enumerate() {
        let arguments = match token {
            "\\frac" | "\\binom" => 2,
            "\\sqrt" => 1,
            _ => continue,
        };
        let mut at = i + 1;
        for _ in 0..arguments {
            at = skip_spaces(&tokens, at);
            match (tokens.get(at), closing.get(at).copied().flatten()) {
                (Some(_), Some(end)) => at = end + 1,
                (Some(argument), None) if argument.chars().all(char::is_alphanumeric) => {
                    bare[at] = true;
                    at += 1;
                }
                _ => break,
            }
        }
    }
    let mut out = Vec::with_capacity(tokens.len());
    for (token, bare) in tokens.into_iter().zip(bare) {
        if bare {
            out.extend(["{", token, "}"]);
        } else {
            out.push(token);
        }
    }
    out
}

/// `x^{2}` is `x^2`, and `x^{\pi}` is `x^\pi`.
fn without_needless_braces(tokens: Vec<Token<'_>>) -> Vec<Token<'_>> {
    let mut out: Vec<Token> = Vec::with_capacity(tokens.len());
    for token in tokens {
        out.push(token);
        if let [.., "^" | "_", "{", argument, "}"] = out[..]
            && argument.strip_prefix('\\').unwrap_or(argument).chars().all(char::is_alphanumeric)
        {
            out.truncate(out.len() - 3);
            out.push(argument);
        }
    }
    out
}

/// Writes tokens with the spaces that matter: between two letters or digits that were apart. Between a number and a single
/// letter none does: `2 i` is `2i`.
fn emit(tokens: &[Token]) -> String {
    let is_letter = |token: Option<&Token>| token.is_some_and(|t| t.chars().next().is_some_and(char::is_alphabetic));
    let mut text = String::new();
    let mut apart = false;
    let mut after_command = false;
    for (i, &token) in tokens.iter().enumerate() {
        if token == SPACE {
            apart = true;
            continue;
        }
        let before = text.chars().next_back();
        let factor = before.is_some_and(|c| c.is_ascii_digit()) && is_letter(Some(&token)) && !is_letter(tokens.get(i + 1));
        let joined = before.is_some_and(char::is_alphanumeric) && token.chars().next().is_some_and(char::is_alphanumeric);
        if joined && (apart && !factor || after_command) {
            text.push(' ');
        }
        text.push_str(token);
        apart = false;
        after_command = token.len() > 1 && token.starts_with('\\');
    }
    text
}

/// Takes out the separators of a number such as `-1,234,567.8` or `12 000`; anything else stays as it is.
fn without_thousands(text: String) -> String {
    for separator in [',', ' '] {
        let body = text.strip_prefix(['-', '+']).unwrap_or(&text);
        let body = body.strip_suffix('%').unwrap_or(body);
        let (whole, part) = body.split_once('.').map_or((body, None), |(whole, part)| (whole, Some(part)));
        let mut groups = whole.split(separator);
        let digits = |group: &str| group.bytes().all(|b| b.is_ascii_digit());
        let first = groups.next().is_some_and(|g| (1..=3).contains(&g.len()) && digits(g));
        let mut more = groups.peekable();
        if first && more.peek().is_some() && more.all(|g| g.len() == 3 && digits(g)) && part.is_none_or(digits) {
            return text.replace(separator, "");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{is_number, normalise};

    #[test]
    fn answers_of_texts_are_told_from_numbers() {
        for answer in ["$1,250", "12\\text{ cm}", "50\\%", "\\dfrac{1}{2}"] {
            assert!(is_number(answer), "{answer}");
        }
        for answer in ["2^3 \\times 5", "2, 3", "\\text{False}", "4:1", "x = 5", ""] {
            assert!(!is_number(answer), "{answer}");
        }
    }

    #[test]
    fn typography_goes() {
        let cases = [
            ("$42$", "42"),
            (" \\(x + 1\\) ", "x+1"),
            ("\\left( 1, 2 \\right)", "(1,2)"),
            ("\\left.x\\right|_{0}", "x|_0"),
            ("\\dfrac{1}{2}", "\\frac{1}{2}"),
            ("\\tfrac12", "\\frac{1}{2}"),
            ("\\frac 1 {23}", "\\frac{1}{23}"),
            ("\\frac1{\\sqrt2}", "\\frac{1}{\\sqrt{2}}"),
            ("2 \\pi r", "2\\pi r"),
            ("2\\pi\\,r", "2\\pi r"),
            ("2 x + 3 cm", "2x+3 cm"),
            ("x^{2}+y_{1}", "x^2+y_1"),
            ("x^{10}", "x^{10}"),
            ("1,234,567", "1234567"),
            ("-1{,}234.5", "-1234.5"),
            ("12\\,000", "12000"),
            ("1,23", "1,23"),
            ("(1,234)", "(1,234)"),
            ("1, 234, 5678", "1,234,5678"),
            ("\\$1,000.", "1000"),
            ("50\\%", "50%"),
            ("\u{2212}3", "-3"),
            ("2√3·π", "2\\sqrt{3}\\cdot\\pi"),
            ("2√12", "2\\sqrt{12}"),
            ("√(x)", "\\sqrt(x)"),
            ("½", "\\frac{1}{2}"),
            ("x²≥9", "x^2\\ge 9"),
            ("90°", "90^\\circ"),
            ("90^{\\circ}", "90^\\circ"),
            ("90\\degree", "90^\\circ"),
            ("x \\leq 2", "x\\le 2"),
            ("0.\\bar{3}", "0.\\overline{3}"),
            ("10^-3", "10^{-3}"),
            ("10^{-3}", "10^{-3}"),
            ("5^-1+2", "5^{-1}+2"),
            ("1 1/2", "1 1/2"),
            ("3.", "3"),
            ("0.333...", "0.333..."),
            ("", ""),
            (" . ", ""),
        ];
        for (answer, normal) in cases {
            assert_eq!(normalise(answer), normal, "{answer}");
            assert_eq!(normalise(normal), normal, "a normal form is its own");
        }
    }

    #[test]
    fn units_go_and_words_stay() {
        let cases = [
            ("5\\text{ cm}", "5"),
            ("5 \\text{ cm}^2", "5"),
            ("5\\,\\mathrm{m}/\\mathrm{s}^{2}.", "5"),
            ("\\frac{1}{2}\\text{ hour}", "\\frac{1}{2}"),
            ("1,200\\text{ dollars}", "1200"),
            ("5\\text{ million}", "5 million"),
            ("2\\mathrm{i}", "2i"),
            ("3\\text{ or }4", "3 or 4"),
            ("3 \\text{ cm or } 4", "3 cm or 4"),
            ("\\text{yes}", "yes"),
            ("\\textbf{(A)}", "(A)"),
            ("x\\text{ cm}", "x cm"),
            ("\\text{no units}", "no units"),
            ("5\\text{", "5\\text{"),
        ];
        for (answer, normal) in cases {
            assert_eq!(normalise(answer), normal, "{answer}");
            assert_eq!(normalise(normal), normal, "a normal form is its own");
        }
    }

    #[test]
    fn hostile_texts_take_linear_time() {
        for piece in ["{", "\\text{", "\\frac", "\\frac{", "5\\text{a}", "^{a}", "9", "1,000", "\\left", "{,}"] {
            normalise(&piece.repeat(100_000));
        }
        normalise(&format!("{}1{}", "\\text{".repeat(50_000), "}".repeat(50_000)));
    }
}
