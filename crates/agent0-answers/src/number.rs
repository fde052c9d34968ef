//! Answers that are exact numbers: integers, decimals, `a/b`, `\frac{a}{b}` and mixed numbers, each perhaps with a sign or a
//! `%`. Reads normal forms only (see `normal`).

use num_bigint::BigInt;
use num_rational::BigRational;

/// Longest number that is read as one, in bytes: what is longer is no answer to a task, and must not cost time.
const LONGEST: usize = 1000;

/// An exact number as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Number {
    /// Its value, without regard to a `%`.
    pub(crate) value: BigRational,
    /// Digits after the decimal point, if it was written with one (or the most of its parts): it may be a rounded number.
    pub(crate) places: Option<u32>,
    /// Whether a `%` follows it.
    pub(crate) percent: bool,
}

/// Reads a normal form as an exact number.
pub(crate) fn number(normal: &str) -> Option<Number> {
    if normal.len() > LONGEST {
        return None;
    }
    let (body, percent) = normal.strip_suffix('%').map_or((normal, false), |body| (body, true));
    let (body, negative) = signed(body);
    let (value, places) = fraction(body).or_else(|| mixed(body)).or_else(|| quotient(body)).or_else(|| decimal(body))?;
    Some(Number { value: if negative { -value } else { value }, places, percent })
}

/// Takes a sign off the front; the flag says whether it was a minus.
fn signed(text: &str) -> (&str, bool) {
    match text.strip_prefix('-') {
        Some(rest) => (rest, true),
        None => (text.strip_prefix('+').unwrap_or(text), false),
    }
}

/// A value and its decimal places, if it was written with a point.
type Written = (BigRational, Option<u32>);

/// `12`, `1.5`, `.5`
fn decimal(text: &str) -> Option<Written> {
    let (whole, part) = text.split_once('.').map_or((text, None), |(whole, part)| (whole, Some(part)));
    let digits = format!("{whole}{}", part.unwrap_or(""));
    if digits.is_empty() || part == Some("") || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let places = part.map(|part| part.len() as u32);
    let value = BigRational::new(digits.parse().ok()?, BigInt::from(10).pow(places.unwrap_or(0)));
    Some((value, places))
}

/// `\frac{a}{b}`, where `a` and `b` are decimals with or without a sign.
fn fraction(text: &str) -> Option<Written> {
    let (above, below) = text.strip_prefix("\\frac{")?.strip_suffix('}')?.split_once("}{")?;
    divide(part(above)?, part(below)?)
}

/// `a/b`, where `b` has no sign.
fn quotient(text: &str) -> Option<Written> {
    let (above, below) = text.split_once('/')?;
    divide(decimal(above)?, decimal(below)?)
}

/// `a\frac{b}{c}` or `a b/c`, integers with `b < c`: the sum of the two.
fn mixed(text: &str) -> Option<Written> {
    let (whole, (rest, places)) = match text.split_once(' ') {
        Some((whole, rest)) => (whole, quotient(rest)?),
        None => {
            let at = text.find("\\frac")?;
            (&text[..at], fraction(&text[at..])?)
        }
    };
    let (whole, whole_places) = decimal(whole)?;
    let proper = rest >= ratio(0) && rest < ratio(1) && whole_places.is_none() && places.is_none();
    proper.then(|| (whole + rest, None))
}

fn part(text: &str) -> Option<Written> {
    let (body, negative) = signed(text);
    let (value, places) = decimal(body)?;
    Some((if negative { -value } else { value }, places))
}

fn divide(above: Written, below: Written) -> Option<Written> {
    (below.0 != ratio(0)).then(|| (above.0 / below.0, above.1.max(below.1)))
}

/// A whole number.
pub(crate) fn ratio(whole: i64) -> BigRational {
    BigRational::from_integer(BigInt::from(whole))
}

/// `10^-places`
pub(crate) fn unit(places: u32) -> BigRational {
    BigRational::new(BigInt::from(1), BigInt::from(10).pow(places))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(String, Option<u32>, bool)> {
        number(text).map(|n| (n.value.to_string(), n.places, n.percent))
    }

    #[test]
    fn numbers_are_read_exactly() {
        let cases = [
            ("12", "12", None, false),
            ("-0", "0", None, false),
            ("+007", "7", None, false),
            ("1.50", "3/2", Some(2), false),
            (".5", "1/2", Some(1), false),
            ("-3/6", "-1/2", None, false),
            ("1.5/2", "3/4", Some(1), false),
            ("\\frac{1}{2}", "1/2", None, false),
            ("-\\frac{-1}{2}", "1/2", None, false),
            ("\\frac{0.5}{-2}", "-1/4", Some(1), false),
            ("1\\frac{1}{2}", "3/2", None, false),
            ("-1\\frac{1}{2}", "-3/2", None, false),
            ("2 3/4", "11/4", None, false),
            ("12.5%", "25/2", Some(1), true),
        ];
        for (text, value, places, percent) in cases {
            assert_eq!(read(text), Some((value.to_string(), places, percent)), "{text}");
        }
    }

    #[test]
    fn everything_else_is_no_number() {
        let others = [
            "",
            "-",
            ".",
            "5.",
            "1..2",
            "1/0",
            "\\frac{1}{0}",
            "0/0",
            "1/-2",
            "--1",
            "1e5",
            "x",
            "1/2/3",
            "3\\frac{5}{2}",
            "1 2",
            "1 1.5/2",
            "10^{10}",
            "½",
            "١",
            "\\frac{1}{2}{3}",
            "\\frac{\\frac{1}{2}}{3}",
            "%",
            "1%%",
            "Infinity",
        ];
        for text in others {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read(&"9".repeat(LONGEST + 1)), None);
        assert!(read(&"9".repeat(LONGEST)).is_some());
    }
}
