//! Finds the answer in a text: the last balanced `\boxed{...}` outside code blocks. Does not interpret it.

/// Content of the last balanced `\boxed{...}` with something in it, outside fenced code blocks; of nested boxes the inner one.
///
/// Braces escaped by a backslash do not count. A fence is a line that starts, indented or not, with three backticks or more;
/// a block without a closing fence reaches to the end of the text, and no box reaches across a block.
pub fn boxed(text: &str) -> Option<&str> {
    prose(text).into_iter().rev().find_map(last_box)
}

/// The stretches of `text` outside fenced blocks, in order.
fn prose(text: &str) -> Vec<&str> {
    let mut stretches = Vec::new();
    let mut start = 0;
    let mut at = 0;
    let mut open: Option<usize> = None;
    for line in text.split_inclusive('\n') {
        let body = line.trim_start();
        let backticks = body.bytes().take_while(|&b| b == b'`').count();
        let rest = body[backticks..].trim();
        match open {
            // What follows the backticks of an opening fence holds none itself: else it is code inside a line.
            None if backticks >= 3 && !rest.contains('`') => {
                stretches.push(&text[start..at]);
                open = Some(backticks);
            }
            Some(opening) if backticks >= opening && rest.is_empty() => {
                start = at + line.len();
                open = None;
            }
            _ => {}
        }
        at += line.len();
    }
    if open.is_none() {
        stretches.push(&text[start..]);
    }
    stretches
}

/// The balanced box that starts last, if it is not blank.
fn last_box(text: &str) -> Option<&str> {
    const NAME: &str = "\\boxed";
    let bytes = text.as_bytes();
    // Content start of every brace that is open here; `true` marks those of boxes.
    let mut open: Vec<(usize, bool)> = Vec::new();
    let mut found: Option<&str> = None;
    let mut found_start = 0;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if bytes[at..].starts_with(NAME.as_bytes()) => {
                at += NAME.len();
                let brace = at + bytes[at..].iter().take_while(|b| b.is_ascii_whitespace()).count();
                if bytes.get(brace) == Some(&b'{') {
                    at = brace + 1;
                    open.push((at, true));
                }
                continue;
            }
            b'\\' => at += 1,
            b'{' => open.push((at + 1, false)),
            b'}' => {
                if let Some((start, true)) = open.pop() {
                    let content = text[start..at].trim();
                    if start > found_start && !content.is_empty() {
                        (found, found_start) = (Some(content), start);
                    }
                }
            }
            _ => {}
        }
        at += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::boxed;

    #[test]
    fn the_last_balanced_box_counts() {
        let cases: [(&str, Option<&str>); 18] = [
            (r"so \boxed{42}.", Some("42")),
            (r"\boxed{1} no, \boxed{2}", Some("2")),
            (r"\boxed{\frac{1}{2}}", Some(r"\frac{1}{2}")),
            (r"\boxed {7}", Some("7")),
            (r"\boxed{1} and \boxed{2", Some("1")),
            (r"\boxed{ \boxed{3}", Some("3")),
            (r"\boxed{x = \boxed{5}}", Some("5")),
            (r"\boxed{\left\{ 1, 2 \right.}", Some(r"\left\{ 1, 2 \right.")),
            (r"\boxed{a \\}", Some(r"a \\")),
            (r"the set { \boxed{9}", Some("9")),
            (r"} \boxed{8}", Some("8")),
            (r"\boxed{5} then \boxed{ }", Some("5")),
            (r"\fbox{1} boxed{2}", None),
            (r"\boxedx{1}", None),
            (r"\boxed{", None),
            (r"\boxed", None),
            ("", None),
            ("\\boxed{é 数}", Some("é 数")),
        ];
        for (text, answer) in cases {
            assert_eq!(boxed(text), answer, "{text}");
        }
    }

    #[test]
    fn boxes_in_code_do_not_count() {
        let cases = [
            ("```python\nprint(r'\\boxed{1}')\n```", None),
            ("\\boxed{2}\n```python\nprint(r'\\boxed{1}')\n```\n", Some("2")),
            ("  ```python\n\\boxed{1}\n  ```\n\\boxed{3}", Some("3")),
            ("\\boxed{4}\n```output\n\\boxed{1}", Some("4")),
            ("````\n```\n\\boxed{1}\n````\n\\boxed{5}", Some("5")),
            ("```text\n```python\n\\boxed{1}\n```\n\\boxed{6}", Some("6")),
            ("``` a = \\boxed{1} ``` inline \\boxed{7}", Some("7")),
            ("\\boxed{1 +\n```text\n}\n```\n2} \\boxed{8}", Some("8")),
            ("\\boxed{1 +\n```text\n}\n```\n2}", None),
            ("`\\boxed{9}`", Some("9")),
        ];
        for (text, answer) in cases {
            assert_eq!(boxed(text), answer, "{text}");
        }
    }

    #[test]
    fn hostile_texts_take_linear_time() {
        let deep = "\\boxed{".repeat(200_000);
        assert_eq!(boxed(&deep), None);
        let closed = format!("{}1{}", deep, "}".repeat(200_000));
        assert_eq!(boxed(&closed), Some("1"));
        assert_eq!(boxed(&"```\n".repeat(200_000)), None);
    }
}
