//! Shows an attempt with its programs and their results set apart: coloured behind a bar on a terminal, in their own fences elsewhere.

use std::io::Write;

use agent0_engine::Codec;
use agent0_rl::Trajectory;

use crate::speech::Said;

const CODE: &str = "\x1b[36m";
const RESULT: &str = "\x1b[32m";
const PLAIN: &str = "\x1b[0m";

/// Shows one attempt.
pub struct Show<W> {
    out: W,
    /// Whether to colour; elsewhere the text is shown as it is.
    coloured: bool,
    in_code: bool,
    /// The beginning of a line that may yet be a fence.
    held: String,
    /// Whether something of the present line is shown already.
    line_begun: bool,
}

impl<W: Write> Show<W> {
    /// Shows on `out`, in colours if it is a terminal and nobody minds them (<https://no-color.org>).
    pub fn new(out: W, is_terminal: bool) -> Self {
        let coloured = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { out, coloured, in_code: false, held: String::new(), line_begun: false }
    }

    /// Shows what is said.
    pub fn said(&mut self, said: &Said) -> std::io::Result<()> {
        match said {
            Said::Words(piece) => self.words(&piece.text)?,
            Said::Result(block) => self.result(block)?,
            Said::End { .. } => {}
        }
        self.out.flush()
    }

    /// Shows a whole attempt.
    pub fn trajectory(&mut self, trajectory: &Trajectory, codec: &dyn Codec) -> std::io::Result<()> {
        let from = trajectory.prompt_len;
        let mut rest = &trajectory.ids[from..];
        for run in trajectory.sampled[from..].chunk_by(|a, b| a == b) {
            let (ids, after) = rest.split_at(run.len());
            let text = codec.decode(ids);
            if run[0] {
                self.words(&text)?
            } else {
                self.result(&text)?
            }
            rest = after;
        }
        self.end()
    }

    /// Ends the last line.
    pub fn end(&mut self) -> std::io::Result<()> {
        if self.line_begun || !self.held.is_empty() {
            self.words("\n")?;
        }
        self.out.flush()
    }

    fn words(&mut self, text: &str) -> std::io::Result<()> {
        if !self.coloured {
            self.line_begun = text.chars().next_back().map_or(self.line_begun, |last| last != '\n');
            return self.out.write_all(text.as_bytes());
        }
        for c in text.chars() {
            if c == '\n' {
                self.end_line()?;
            } else if self.line_begun {
                self.character(c)?;
            } else {
                self.held.push(c);
                if !may_be_fence(&self.held) {
                    self.begin_line()?;
                }
            }
        }
        Ok(())
    }

    /// Shows a result; whatever is in it, it ends with its block.
    fn result(&mut self, block: &str) -> std::io::Result<()> {
        let parts = block.split_once("```output\n").and_then(|(before, rest)| Some((before, rest.strip_suffix("\n```\n")?)));
        let (true, Some((before, result))) = (self.coloured, parts) else { return self.words(block) };
        self.words(before)?;
        for line in result.split('\n') {
            write!(self.out, "{RESULT}  | ")?;
            line.chars().try_for_each(|c| self.character(c))?;
            writeln!(self.out, "{PLAIN}")?;
        }
        Ok(())
    }

    fn end_line(&mut self) -> std::io::Result<()> {
        let fence = self.held.trim().strip_prefix("```").map(|rest| rest.trim_start_matches('`').to_owned());
        match fence.filter(|_| !self.line_begun) {
            Some(info) if self.in_code == info.is_empty() => self.in_code = !self.in_code,
            Some(_) if !self.in_code => self.in_code = true,
            _ => {
                self.begin_line()?;
                writeln!(self.out, "{}", if self.in_code { PLAIN } else { "" })?;
            }
        }
        self.held.clear();
        self.line_begun = false;
        Ok(())
    }

    /// Shows what was held: the line is no fence.
    fn begin_line(&mut self) -> std::io::Result<()> {
        if self.in_code && !self.line_begun {
            write!(self.out, "{CODE}  | ")?;
        }
        self.line_begun = true;
        std::mem::take(&mut self.held).chars().try_for_each(|c| self.character(c))
    }

    /// What a model or a program says cannot steer the terminal.
    fn character(&mut self, c: char) -> std::io::Result<()> {
        let shown = if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c };
        self.out.write_all(shown.encode_utf8(&mut [0; 4]).as_bytes())
    }
}

/// Whether a line that begins so may be a fence.
fn may_be_fence(line: &str) -> bool {
    let line = line.trim_start();
    let info = line.trim_start_matches('`');
    info.is_empty() || (line.starts_with("```") && !info.contains('`'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is shown of words and results in turn.
    fn shown(coloured: bool, parts: &[&str], pieces: usize) -> String {
        let mut show = Show { coloured, ..Show::new(Vec::new(), false) };
        for (i, part) in parts.iter().enumerate() {
            let chars: Vec<char> = part.chars().collect();
            match i % 2 {
                0 => chars.chunks(pieces).for_each(|piece| show.words(&piece.iter().collect::<String>()).unwrap()),
                _ => show.result(part).unwrap(),
            }
        }
        show.end().unwrap();
        String::from_utf8(show.out).unwrap()
    }

    const PARTS: [&str; 3] = ["Run:\n```python\nx = '`'\nprint(x)\n```", "\n```output\n`\n```\nb\n```\n", "So ```inline``` \\boxed{1}"];

    #[test]
    fn programs_and_results_are_set_apart() {
        let expected = format!(
            "Run:\n{CODE}  | x = '`'{PLAIN}\n{CODE}  | print(x){PLAIN}\n{RESULT}  | `{PLAIN}\n{RESULT}  | ```{PLAIN}\n{RESULT}  | b{PLAIN}\n\
             So ```inline``` \\boxed{{1}}\n"
        );
        for pieces in [1, 2, 5, 100] {
            assert_eq!(shown(true, &PARTS, pieces), expected, "{pieces}");
        }
    }

    #[test]
    fn elsewhere_the_text_is_as_it_is() {
        assert_eq!(shown(false, &PARTS, 3), PARTS.concat() + "\n");
        assert_eq!(shown(false, &["a\n"], 1), "a\n");
    }

    #[test]
    fn a_result_can_close_a_block_that_the_model_left_open() {
        let parts = ["```python\n1\n", "```\n```output\n[not run]\n```\n"];
        assert_eq!(shown(true, &parts, 1), format!("{CODE}  | 1{PLAIN}\n{RESULT}  | [not run]{PLAIN}\n"));
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(
            shown(true, &["a\x1b[2Jb\r", "\n```output\n\x07\n```\n"], 1),
            format!("a\u{fffd}[2Jb\u{fffd}\n{RESULT}  | \u{fffd}{PLAIN}\n")
        );
    }
}
