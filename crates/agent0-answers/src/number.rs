//! Answers that are exact numbers: integers, decimals (also repeating ones, times a power of ten, and as programs print them), `a/b`, `\frac{a}{b}`, mixed
//! numbers and `5 million`, each perhaps with a sign or a `%`. Reads normal forms only (see `normal`).

use num_bigint::BigInt;
use num_rational::BigRational;

/// Longest number that is read as one, in bytes: what is longer is no answer to a task, and must not cost time.
const LONGEST: usize = 1000;
/// Largest exponent of ten in `1e9`, either way: that of a program's numbers.
const LARGEST_EXPONENT: u32 = 308;
/// What `5 million` counts, as powers of ten.
const COUNTED: [(&str, u32); 5] = [("hundred", 2), ("thousand", 3), ("million", 6), ("billion", 9), ("trillion", 12)];

/// An exact number as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Number {
    /// Its value, without regard to a `%`.
    pub(crate) value: BigRational,
    /// Digits after the decimal point, if it was written with one (or the most of its parts): it may be a rounded number.
    pub(crate) places: Option<u32>,
    /// Whether a `%` follows it.
    pub(crate) percent: bool,
    /// Whether it is written in a way that math-verify does not read as a number.
    pub(crate) is_foreign: bool,
}

/// Reads a normal form as an exact number.
pub(crate) fn number(normal: &str) -> Option<Number> {
    if normal.len() > LONGEST {
        return None;
    }
    let (body, percent) = normal.strip_suffix('%').map_or((normal, false), |body| (body, true));
    let (body, negative) = signed(body);
    let known = || {
        fraction(body).or_else(|| mixed_with_frac(body)).or_else(|| quotient(body)).or_else(|| decimal(body)).or_else(|| scientific(body))
    };
    let foreign = || mixed_with_slash(body).or_else(|| float(body)).or_else(|| repeating(body)).or_else(|| counted(body));
    let ((value, places), is_foreign) = known().map(|written| (written, false)).or_else(|| Some((foreign()?, true)))?;
    Some(Number { value: if negative { -value } else { value }, places, percent, is_foreign })
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

/// `a\frac{b}{c}`
fn mixed_with_frac(text: &str) -> Option<Written> {
    let at = text.find("\\frac")?;
    mixed(&text[..at], fraction(&text[at..])?)
}

/// `a b/c`
fn mixed_with_slash(text: &str) -> Option<Written> {
    let (whole, rest) = text.split_once(' ')?;
    mixed(whole, quotient(rest)?)
}

/// A whole number and a proper fraction of whole numbers: the sum of the two.
fn mixed(whole: &str, (rest, places): Written) -> Option<Written> {
    let (whole, whole_places) = decimal(whole)?;
    let proper = rest >= ratio(0) && rest < ratio(1) && whole_places.is_none() && places.is_none();
    proper.then(|| (whole + rest, None))
}

/// `1e6`, `1.5e-07`, as programs print decimals. With a sign the exponent has two digits or more: `2e-1` may be Euler's number less 1.
fn float(text: &str) -> Option<Written> {
    let (mantissa, exponent) = text.split_once(['e', 'E'])?;
    let has_sign = exponent.starts_with(['+', '-']);
    if has_sign && exponent.len() < 3 { None } else { scaled(mantissa, exponent) }
}

/// `1.5\times 10^{-7}`, `3\cdot 10^5`
fn scientific(text: &str) -> Option<Written> {
    let (mantissa, exponent) = text.split_once("\\times 10^").or_else(|| text.split_once("\\cdot 10^"))?;
    scaled(mantissa, exponent.strip_prefix('{').and_then(|e| e.strip_suffix('}')).unwrap_or(exponent))
}

/// A decimal times a power of ten. It is as exact as the last digit that is written.
fn scaled(mantissa: &str, exponent: &str) -> Option<Written> {
    let (digits, negative) = signed(exponent);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let exponent: u32 = digits.parse().ok().filter(|e| *e <= LARGEST_EXPONENT)?;
    let (value, places) = decimal(mantissa)?;
    let places = places.unwrap_or(0);
    Some(match negative {
        true => (value * unit(exponent), Some(places + exponent)),
        false => (value / unit(exponent), places.checked_sub(exponent).filter(|places| *places > 0)),
    })
}

/// `0.1\overline{6}`: what is under the line repeats for ever.
fn repeating(text: &str) -> Option<Written> {
    let (head, period) = text.split_once("\\overline{")?;
    let period = period.strip_suffix('}').filter(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))?;
    let places = head.split_once('.')?.1.len() as u32;
    let (start, _) = decimal(&format!("{head}0"))?;
    let period_value = BigRational::new(period.parse().ok()?, BigInt::from(10).pow(period.len() as u32) - 1);
    Some((start + period_value * unit(places), None))
}

/// `5 million`
fn counted(text: &str) -> Option<Written> {
    let (count, word) = text.split_once(' ')?;
    let (_, exponent) = COUNTED.into_iter().find(|(name, _)| *name == word)?;
    Some((decimal(count)?.0 / unit(exponent), None))
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

/// The size of a number, without its sign.
pub(crate) fn magnitude(value: &BigRational) -> BigRational {
    if *value < ratio(0) { -value } else { value.clone() }
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
            ("1e6", "1000000", None, false),
            ("-1.5e-07", "-3/20000000", Some(8), false),
            ("1E+16", "10000000000000000", None, false),
            ("1.25e1", "25/2", Some(1), false),
            ("-3\\times 10^5", "-300000", None, false),
            ("1.5\\cdot 10^{-3}", "3/2000", Some(4), false),
            ("0.\\overline{3}", "1/3", None, false),
            ("2.1\\overline{36}", "47/22", None, false),
            ("5 million", "5000000", None, false),
            ("1.5 hundred%", "150", None, true),
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
            "2e-1",
            "1e",
            "e5",
            "1e400",
            "\\times 10^5",
            "2\\times 10^x",
            "2\\times 10^{5}5",
            "1e5.5",
            "0\\overline{3}",
            "0.\\overline{}",
            "million",
            "5 millions",
            "5  million",
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
