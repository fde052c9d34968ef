//! Comparing two answers without a computer algebra system (algorithm.md section 8, steps 1 and 2).

use num_bigint::BigUint;

use crate::normal::normalise;
use crate::number::{magnitude, number, ratio, unit};

/// What text and exact arithmetic can say about two answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// They mean the same.
    Same,
    /// They are different.
    Different,
    /// A grader that knows mathematics must decide.
    Ask,
}

/// Differences from this decimal place on may be the noise of a program's arithmetic: there the grader rounds.
const NOISE_PLACES: u32 = 6;

/// Longest number that is read in a base, in digits.
const LONGEST_IN_A_BASE: usize = 1000;

/// Compares two answers.
pub fn fast(a: &str, b: &str) -> Verdict {
    compare_normal(&normalise(a), &normalise(b))
}

/// Compares two normal forms: the same text is the same; of exact numbers, equal is the same and unequal is different, but
/// with a `%`, or when a decimal may be the other number rounded, the grader decides, as it does for everything else. Two numbers that
/// both name their base are compared here: the grader takes no notice of bases.
pub(crate) fn compare_normal(a: &str, b: &str) -> Verdict {
    if a == b {
        return Verdict::Same;
    }
    if let (Some(a), Some(b)) = (in_a_base(a), in_a_base(b)) {
        return if a == b { Verdict::Same } else { Verdict::Different };
    }
    let (Some(a), Some(b)) = (number(a), number(b)) else { return Verdict::Ask };
    if a.percent != b.percent {
        return Verdict::Ask;
    }
    if a.value == b.value {
        return Verdict::Same;
    }
    if a.percent {
        return Verdict::Ask;
    }
    // Half a unit of the last place of the coarser decimal, or so little beside the numbers (those above 1 count as 1) that it may be
    // noise of a program's arithmetic.
    let tolerance = match [a.places, b.places].into_iter().flatten().min() {
        Some(places) => {
            let size = magnitude(&a.value).min(magnitude(&b.value)).min(ratio(1));
            (unit(places) / ratio(2)).max(unit(NOISE_PLACES) * size)
        }
        None => ratio(0),
    };
    if magnitude(&(a.value - b.value)) <= tolerance { Verdict::Ask } else { Verdict::Different }
}

/// The value of a whole number that names its base: `4210_5`, `1f_{16}`. It starts with a digit, unlike a variable with an index.
fn in_a_base(text: &str) -> Option<BigUint> {
    let (digits, base) = text.split_once('_')?;
    let base = base.strip_prefix('{').and_then(|base| base.strip_suffix('}')).unwrap_or(base);
    let base: u32 = base.parse().ok().filter(|base| *base >= 2)?;
    let plain = digits.len() <= LONGEST_IN_A_BASE && digits.starts_with(|c: char| c.is_ascii_digit());
    let value = || digits.chars().try_fold(BigUint::ZERO, |value, c| Some(value * base + c.to_digit(base.min(36))?));
    plain.then(value).flatten()
}

#[cfg(test)]
mod tests {
    use super::{Verdict::*, fast};

    #[test]
    fn numbers_are_compared_exactly() {
        let cases = [
            ("5", "5.0", Same),
            ("\\frac12", "0.5", Same),
            ("1\\frac{1}{2}", "1.5", Same),
            ("1,000", "1000", Same),
            ("5", "6", Different),
            ("\\frac{1}{3}", "\\frac{1}{4}", Different),
            ("3.14", "3.15", Different),
            ("3.14", "3.2", Different),
            ("3", "3.2", Different),
            ("3.14", "3.1", Ask),
            ("\\frac{1}{3}", "0.333333", Ask),
            ("\\frac{1}{3}", "0.33", Ask),
            ("2", "1.9999999999", Ask),
            ("0.30000000000000004", "0.3", Ask),
            ("0.9999999999999999", "1", Ask),
            ("0.0000012", "0.000001", Ask),
            ("0.0000012", "0.0000013", Different),
            ("1.6\\times10^{-19}", "9.1\\times10^{-31}", Different),
            ("1.6\\times10^{-19}", "1.602\\times10^{-19}", Ask),
            ("3\\times10^8", "300000000", Same),
            ("50%", "50", Ask),
            ("50%", "0.5", Ask),
            ("50\\%", "50.0%", Same),
            ("4210_{5}", "4210_6", Different),
            ("11_2", "3_{10}", Same),
            ("1f_{16}", "31_{10}", Same),
            ("4210_5", "4210", Ask),
            ("19_5", "19_6", Ask),
            ("2516_8", "2516_{83}", Different),
            ("a_11", "a_12", Ask),
            ("x", "y", Ask),
            ("5", "x=5", Ask),
        ];
        for (a, b, verdict) in cases {
            assert_eq!((fast(a, b), fast(b, a)), (verdict, verdict), "{a} / {b}");
        }
    }

    #[test]
    fn enormous_numbers_cost_nothing() {
        assert_eq!(fast(&"9".repeat(1 << 20), &"8".repeat(1 << 20)), Ask);
        assert_eq!(fast("10^{10^{10}}", "10^{10^{11}}"), Ask);
    }
}
