//! Other ways to write an answer, and answers that are nearly the same, each with the name of its class.

/// Pairs of answers of one class.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Case {
    pub class: &'static str,
    pub a: String,
    pub b: String,
    /// Whether they mean the same.
    pub same: bool,
}

/// All that can be made of one answer.
pub fn perturbed(answer: &str) -> Vec<Case> {
    let case = |class, b: String| Case { class, a: answer.to_owned(), b, same: true };
    let mut cases: Vec<Case> = spacing(answer).into_iter().map(|b| case("spacing", b)).collect();
    cases.push(case("full stop", format!("{answer}.")));
    cases.extend(fractions(answer).into_iter().map(|b| case("\\dfrac", b)));
    let whole = answer.parse::<i64>().ok();
    if let Some(whole) = whole {
        let (twice, negative) = (2 * i128::from(whole), -i128::from(whole));
        let forms = [format!("{whole}.0"), format!("{whole}.00"), format!("\\frac{{{twice}}}{{2}}"), format!("{whole}/1")];
        cases.extend(forms.into_iter().map(|b| case("decimals", b)));
        cases.extend(grouped(whole, &[",", "{,}", "{,}\\!"]).into_iter().map(|b| case("commas", b)));
        cases.extend(grouped(whole, &["\\,", " ", "\\ "]).into_iter().map(|b| case("thousands apart", b)));
        if whole != 0 {
            let others = [
                (whole + 1).to_string(),
                format!("{whole}0"),
                negative.to_string(),
                format!("{whole}.5"),
                format!("{whole}.01"),
                format!("{whole}/7"),
            ];
            cases.extend(others.into_iter().map(|b| Case { same: false, ..case("other number", b) }));
        }
    } else if is_decimal(answer) {
        cases.extend(["0", "000"].map(|zeros| case("decimals", format!("{answer}{zeros}"))));
        cases.extend(
            ["1", "5", "/2"]
                .into_iter()
                .filter(|_| !answer.contains("00"))
                .map(|more| Case { same: false, ..case("other number", format!("{answer}{more}")) }),
        );
    }
    if whole.is_some() || is_decimal(answer) {
        cases.push(case("units", format!("\\${answer}")));
        for unit in ["\\text{ cm}", "\\text{ dollars}", "\\mathrm{~m}^2", "\\,\\mathrm{km}/\\mathrm{h}", " \\text{ units}"] {
            cases.push(case("units", format!("{answer}{unit}")));
        }
        for (a, b) in [("%", "\\%"), ("\\%", " \\%")] {
            cases.push(Case { a: format!("{answer}{a}"), ..case("percent", format!("{answer}{b}")) });
        }
        cases.push(Case { a: format!("{answer}\\%"), ..case("percent", format!("\\frac{{{answer}}}{{100}}")) });
        cases.push(Case { a: format!("{answer}\\%"), ..case("thin space before %", format!("{answer}\\,\\%")) });
    }
    if let Some(whole) = whole.filter(|whole| *whole > 0) {
        let above = |denominator: i128, part: i128| denominator * i128::from(whole) + part;
        if whole < 100_000 {
            let small = |digits: i64| format!("{digits}\\times 10^{{-19}}");
            cases.push(Case { a: small(whole), same: false, ..case("other small number", small(whole + 1)) });
        }
        let of = |class, a, b| Case { a, ..case(class, b) };
        cases.push(of("mixed number with a slash", format!("{whole} 3/4"), format!("\\frac{{{}}}{{4}}", above(4, 3))));
        cases.push(of("program's float", format!("{whole}e-05"), format!("\\frac{{{whole}}}{{100000}}")));
        cases.push(of("power of ten", format!("{whole}\\times 10^{{6}}"), format!("{whole}000000")));
        cases.push(of("counted", format!("{whole} million"), format!("{whole}000000")));
        cases.push(of("repeating decimal", format!("{whole}.\\overline{{3}}"), format!("\\frac{{{}}}{{3}}", above(3, 1))));
    }
    cases.retain(|case| case.a != case.b);
    cases
}

fn spacing(answer: &str) -> Vec<String> {
    let mut forms = vec![
        format!("${answer}$"),
        format!(" {answer} "),
        format!("\\( {answer} \\)"),
        format!("\\displaystyle {answer}"),
        answer.replace('+', " + ").replace('=', " = "),
        answer.replace(',', ",\\; "),
        answer.replace("^{2}", "^2"),
    ];
    if answer.starts_with('(') && answer.ends_with(')') && answer.matches('(').count() == 1 {
        forms.push(format!("\\left{}\\right)", &answer[..answer.len() - 1]));
    }
    forms
}

fn fractions(answer: &str) -> Vec<String> {
    let mut forms: Vec<String> = ["\\dfrac", "\\tfrac", "\\cfrac"].map(|name| answer.replace("\\frac", name)).into();
    // One-digit arguments need no braces.
    let bytes = answer.as_bytes();
    if let Some(at) = answer.find("\\frac{")
        && bytes.get(at + 7..at + 9) == Some(b"}{")
        && bytes.get(at + 10) == Some(&b'}')
    {
        forms.push(format!("{}\\frac{}{}{}", &answer[..at], &answer[at + 6..at + 7], &answer[at + 9..at + 10], &answer[at + 11..]));
        forms.push(format!("{}\\frac {} {}{}", &answer[..at], &answer[at + 6..at + 7], &answer[at + 9..at + 10], &answer[at + 11..]));
    }
    forms
}

fn grouped(whole: i64, separators: &[&str]) -> Vec<String> {
    let digits = whole.unsigned_abs().to_string();
    if digits.len() < 4 {
        return Vec::new();
    }
    let first = digits.len() % 3;
    let groups: Vec<&str> = [&digits[..first]]
        .into_iter()
        .filter(|g| !g.is_empty())
        .chain((first..digits.len()).step_by(3).map(|i| &digits[i..i + 3]))
        .collect();
    let sign = if whole < 0 { "-" } else { "" };
    separators.iter().map(|separator| format!("{sign}{}", groups.join(separator))).collect()
}

fn is_decimal(answer: &str) -> bool {
    let body = answer.strip_prefix('-').unwrap_or(answer);
    body.split_once('.').is_some_and(|(whole, part)| !part.is_empty() && (whole.to_owned() + part).bytes().all(|b| b.is_ascii_digit()))
}
