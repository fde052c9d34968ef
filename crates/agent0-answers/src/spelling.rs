//! How a normal form is spelled for math-verify, where that would read something else than what is meant: words as products of their
//! letters, and notations of numbers that it does not know.
//!
//! Only what is asked of math-verify changes, never what the answer is.

use crate::number::number;

/// From this length on letters in a row are a word, not a product of variables.
const WORD: usize = 4;
/// Words that math-verify knows as functions.
const FUNCTIONS: [&str; 10] = ["sqrt", "sinh", "cosh", "tanh", "arcsin", "arccos", "arctan", "asin", "acos", "atan"];

/// LaTeX that math-verify reads as what the normal form means.
pub(crate) fn for_math_verify(normal: &str) -> String {
    let text = match number(normal) {
        Some(number) if number.is_foreign => {
            let (above, below) = (number.value.numer(), number.value.denom());
            let percent = if number.percent { "%" } else { "" };
            if number.value.is_integer() { format!("{above}{percent}") } else { format!("\\frac{{{above}}}{{{below}}}{percent}") }
        }
        _ => with_words(normal),
    };
    text.replace('%', "\\%")
}

/// Marks words as text, `pi` as the number, and writes the powers of programming languages as LaTeX does.
fn with_words(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first == '\\' {
            let (command, after) = rest.split_at(1 + rest[1..].chars().take_while(char::is_ascii_alphabetic).count());
            // What stands in braces right after a command belongs to it: `\begin{pmatrix}`.
            let argument = after.strip_prefix('{').and_then(|inner| inner.split_once('}')).map(|(inner, _)| inner);
            let whole = argument.filter(|inner| inner.chars().all(|c| c.is_ascii_alphabetic())).map_or(0, |inner| inner.len() + 2);
            out.push_str(command);
            out.push_str(&after[..whole]);
            rest = &after[whole..];
            if command.len() == 1 {
                // A backslash before something that is no letter: `\{`.
                let length = rest.chars().next().map_or(0, char::len_utf8);
                out.push_str(&rest[..length]);
                rest = &rest[length..];
            }
        } else if first.is_alphabetic() {
            let length = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
            let (word, after) = rest.split_at(length);
            match word {
                "pi" => out.push_str("\\pi "),
                _ if word.chars().count() >= WORD && !FUNCTIONS.contains(&word) => {
                    out.extend(["\\text{", word, "}"]);
                }
                _ => out.push_str(word),
            }
            rest = after;
        } else if let Some(after) = rest.strip_prefix("**") {
            let digits = after.bytes().take_while(u8::is_ascii_digit).count();
            let exponent = &after[..digits];
            if digits > 1 {
                out.extend(["^{", exponent, "}"])
            } else {
                out.extend(["^", exponent])
            }
            rest = &after[digits..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    joined_words(&out)
}

/// Words side by side are one text: `\text{no} \text{solution}` is `\text{no solution}`.
fn joined_words(text: &str) -> String {
    text.replace("} \\text{", " ")
}

#[cfg(test)]
mod tests {
    use super::for_math_verify;

    #[test]
    fn only_what_would_be_misread_changes() {
        let cases = [
            ("x+1", "x+1"),
            ("2\\pi r", "2\\pi r"),
            ("\\frac{1}{2}", "\\frac{1}{2}"),
            ("1,5", "1,5"),
            ("0.5", "0.5"),
            ("50%", "50\\%"),
            ("abc", "abc"),
            ("\\{1,2\\}", "\\{1,2\\}"),
            ("\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}"),
            ("\\operatorname{lcmm}(2,3)", "\\operatorname{lcmm}(2,3)"),
            ("sqrt(2)/2", "sqrt(2)/2"),
            ("east", "\\text{east}"),
            ("some words", "\\text{some words}"),
            ("Monday,Friday", "\\text{Monday},\\text{Friday}"),
            ("3.50 dollars", "3.50 \\text{dollars}"),
            ("2pi", "2\\pi "),
            ("x**2+y**10", "x^2+y^{10}"),
            ("1e-05", "\\frac{1}{100000}"),
            ("1.5e6", "1500000"),
            ("5 million", "5000000"),
            ("-1 1/2", "\\frac{-3}{2}"),
            ("0.1\\overline{6}", "\\frac{1}{6}"),
            ("größer", "\\text{größer}"),
            ("\\", "\\"),
            ("\\é", "\\é"),
        ];
        for (normal, latex) in cases {
            assert_eq!(for_math_verify(normal), latex, "{normal}");
        }
    }
}
