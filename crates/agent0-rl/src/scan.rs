//! Finds where a stretch of sampled text must stop (algorithm.md section 1), byte by byte as tokens arrive.
//!
//! Works on bytes, so a character may be spread over tokens. A fence is a run of three or more backticks that starts
//! its line, indented or not; the word after it names the language.
//!
//! - A python block is closed by the last backtick of its closing fence; the rest of that line is not waited for.
//! - An output block is invented when the model itself writes its opening fence.
//! - An answer is what [`agent0_answers::boxed`] finds: a balanced `\boxed{...}` with something in it, outside any block.

use std::sync::Arc;

use agent0_engine::{Codec, StopRule, StopState, TokenId};

/// What ends a stretch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// A closed python block with this program.
    Code(String),
    /// The model began an output block.
    Output {
        /// The byte of the stretch at which its fence starts.
        at: usize,
        /// Whether a python block is still open there.
        in_block: bool,
    },
    /// A box with this content.
    Boxed(String),
}

/// Whether the tool can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watch {
    /// There is no tool: blocks of any kind are just text without answers in it.
    Answers,
    /// The tool's calls are used up: python blocks are not run, but results are not to be invented either.
    AnswersAndOutputs,
    /// The tool is ready.
    All,
}

/// The state along one stretch, which starts at a line's start outside any block.
pub(crate) struct Scanner {
    watch: Watch,
    /// Bytes seen.
    seen: usize,
    /// The line so far.
    line: Vec<u8>,
    block: Option<Block>,
    /// The text since the start of the line with the first `\boxed` outside a block; a block ends it.
    boxes: Option<Vec<u8>>,
}

/// A code block that is not closed yet.
struct Block {
    python: bool,
    /// Backticks of the opening fence; the closing one has at least as many.
    backticks: usize,
    /// Columns before the opening fence, taken off the lines inside.
    indent: usize,
    code: Vec<u8>,
}

impl Scanner {
    pub(crate) fn new(watch: Watch) -> Self {
        Self { watch, seen: 0, line: Vec::new(), block: None, boxes: None }
    }

    /// Takes the bytes of one token; what it completes, if anything. Nothing may be pushed after that.
    pub(crate) fn push(&mut self, token: &[u8]) -> Option<Found> {
        token.iter().find_map(|&byte| self.byte(byte))
    }

    /// The last bytes that may yet turn out to be the start of an invented output block: from the first backtick of a line that can
    /// still become its fence.
    pub(crate) fn in_doubt(&self) -> usize {
        let watched = self.watch != Watch::Answers && self.block.as_ref().is_none_or(|block| block.python);
        let fence = self.line.trim_ascii_start();
        let info = fence.iter().position(|&byte| byte != b'`').map_or(&[][..], |backticks| &fence[backticks..]);
        let possible = info.is_empty() || (fence.starts_with(b"```") && b"output".starts_with(info.trim_ascii()));
        if watched && possible { fence.len() } else { 0 }
    }

    fn byte(&mut self, byte: u8) -> Option<Found> {
        self.seen += 1;
        if byte == b'\n' {
            self.end_line();
            return None;
        }
        self.line.push(byte);
        let fence = Fence::parse(&self.line);
        let Some(block) = &mut self.block else {
            return match fence {
                Some(fence) => {
                    self.boxes = None;
                    self.invented_output(&fence)
                }
                None => self.text(byte),
            };
        };
        let fence = fence?;
        if block.python && self.watch == Watch::All && fence.backticks >= block.backticks {
            return Some(Found::Code(String::from_utf8_lossy(&block.code).into_owned()));
        }
        if block.python { self.invented_output(&fence) } else { None }
    }

    /// A fence that opens an output block, after text or in place of a python block's closing fence.
    fn invented_output(&self, fence: &Fence) -> Option<Found> {
        let watched = self.watch != Watch::Answers && fence.info == "output";
        watched.then(|| Found::Output { at: self.seen - (self.line.len() - fence.indent), in_block: self.block.is_some() })
    }

    /// One byte of prose, the line's end excepted.
    fn text(&mut self, byte: u8) -> Option<Found> {
        match &mut self.boxes {
            Some(boxes) => boxes.push(byte),
            None if self.line.ends_with(b"\\boxed") => self.boxes = Some(self.line.clone()),
            None => {}
        }
        let boxes = self.boxes.as_ref().filter(|_| byte == b'}')?;
        agent0_answers::boxed(&String::from_utf8_lossy(boxes)).map(|answer| Found::Boxed(answer.to_owned()))
    }

    fn end_line(&mut self) {
        let fence = Fence::parse(&self.line);
        match (&mut self.block, fence) {
            (Some(block), Some(fence)) if fence.backticks >= block.backticks && fence.info.is_empty() => self.block = None,
            (Some(block), _) => block.push_line(&self.line),
            (None, Some(fence)) => self.block = Some(Block::open(&fence)),
            (None, None) => {
                if let Some(boxes) = &mut self.boxes {
                    boxes.push(b'\n');
                }
            }
        }
        self.line.clear();
    }
}

impl Block {
    fn open(fence: &Fence) -> Self {
        let language = fence.info.split_whitespace().next().unwrap_or("").to_ascii_lowercase();
        let python = matches!(language.as_str(), "python" | "py" | "python3");
        Self { python, backticks: fence.backticks, indent: fence.indent, code: Vec::new() }
    }

    fn push_line(&mut self, line: &[u8]) {
        let indent = line.iter().take(self.indent).take_while(|byte| byte.is_ascii_whitespace()).count();
        self.code.extend_from_slice(&line[indent..]);
        self.code.push(b'\n');
    }
}

/// A line that is a fence, as far as it has been seen.
struct Fence {
    indent: usize,
    backticks: usize,
    /// What follows the backticks, trimmed.
    info: String,
}

impl Fence {
    /// `None` as well when more backticks follow: then it is code inside a line.
    fn parse(line: &[u8]) -> Option<Self> {
        let trimmed = line.trim_ascii_start();
        let backticks = trimmed.iter().take_while(|&&byte| byte == b'`').count();
        let info = trimmed[backticks..].trim_ascii();
        (backticks >= 3 && !info.contains(&b'`')).then(|| Self {
            indent: line.len() - trimmed.len(),
            backticks,
            info: String::from_utf8_lossy(info).into_owned(),
        })
    }
}

/// The scanner as an engine's stop condition.
pub(crate) struct StretchRule {
    pub(crate) codec: Arc<dyn Codec>,
    pub(crate) watch: Watch,
}

struct StretchState {
    codec: Arc<dyn Codec>,
    scanner: Scanner,
}

impl StopRule for StretchRule {
    fn start(&self) -> Box<dyn StopState> {
        Box::new(StretchState { codec: self.codec.clone(), scanner: Scanner::new(self.watch) })
    }
}

impl StopState for StretchState {
    fn push(&mut self, id: TokenId) -> bool {
        self.scanner.push(self.codec.bytes(id)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first find in `text`, and what of `text` was read by then. The same whether fed whole or byte by byte.
    fn find(watch: Watch, text: &str) -> Option<(Found, &str)> {
        let mut scanner = Scanner::new(watch);
        let bytewise = text.bytes().find_map(|byte| scanner.push(&[byte]));
        let seen = scanner.seen;
        assert_eq!(Scanner::new(watch).push(text.as_bytes()), bytewise);
        bytewise.map(|found| (found, &text[..seen]))
    }

    fn code(text: &str) -> Option<String> {
        match find(Watch::All, text) {
            Some((Found::Code(code), _)) => Some(code),
            _ => None,
        }
    }

    fn boxed(text: &str) -> Option<String> {
        match find(Watch::Answers, text) {
            Some((Found::Boxed(content), _)) => Some(content),
            _ => None,
        }
    }

    #[test]
    fn a_python_block_ends_at_its_closing_fence() {
        let text = "Let us compute.\n```python\nx = 1\nprint(x)\n```\nNow";
        let (found, read) = find(Watch::All, text).unwrap();
        assert_eq!(found, Found::Code("x = 1\nprint(x)\n".into()));
        assert!(read.ends_with("print(x)\n```"));
    }

    #[test]
    fn language_tags() {
        for tag in ["python", "py", "python3", "Python", " python", "python  ", "python title=x", "python\r"] {
            assert_eq!(code(&format!("```{tag}\n1\n```")).as_deref(), Some("1\n"), "{tag:?}");
        }
        for tag in ["", "pythonic", "c", "text", "outputs"] {
            assert_eq!(code(&format!("```{tag}\n1\n```\n")), None, "{tag:?}");
        }
    }

    #[test]
    fn fences_stand_at_line_starts() {
        assert_eq!(code("see ```python\n1\n```"), None);
        assert_eq!(code("```python\ns = 'a```'\n```").as_deref(), Some("s = 'a```'\n"));
        assert_eq!(code("- do\n    ```python\n    if x:\n        y\n\n    ```").as_deref(), Some("if x:\n    y\n\n"));
        assert_eq!(code("````python\n'''\n```\n'''\n````").as_deref(), Some("'''\n```\n'''\n"));
        assert_eq!(code("```python print(1)``` is inline\n```py\n2\n```").as_deref(), Some("2\n"));
    }

    #[test]
    fn an_empty_block_is_a_block() {
        assert_eq!(code("```python\n```").as_deref(), Some(""));
    }

    #[test]
    fn other_blocks_hide_python_fences_and_boxes() {
        assert_eq!(code("```text\n```python\n1\n```\n"), None);
        assert_eq!(boxed("```latex\n\\boxed{1}\n```\n\\boxed{2}").as_deref(), Some("2"));
        assert_eq!(boxed("```python\nprint(r'\\boxed{1}')\n"), None);
    }

    #[test]
    fn boxes() {
        assert_eq!(boxed(r"so \boxed{42}.").as_deref(), Some("42"));
        assert_eq!(boxed(r"\boxed{\frac{1}{2}}").as_deref(), Some(r"\frac{1}{2}"));
        assert_eq!(boxed(r"\boxed {7}").as_deref(), Some("7"));
        assert_eq!(boxed(r"\boxed{\left\{ 1, 2 \right.}").as_deref(), Some(r"\left\{ 1, 2 \right."));
        assert_eq!(boxed("\\boxed{1\n+ 2}").as_deref(), Some("1\n+ 2"));
        assert_eq!(boxed("\\boxed{é 数}").as_deref(), Some("é 数"));
        assert_eq!(boxed(r"\boxed{} then \boxed{ 3 }").as_deref(), Some("3"));
        assert_eq!(boxed(r"\boxed{ \boxed{4}").as_deref(), Some("4"), "the first balanced one");
        assert_eq!(boxed("``` x = \\boxed{1} ``` is \\boxed{6}").as_deref(), Some("6"));
        assert_eq!(boxed(r"\boxed{1"), None);
        assert_eq!(boxed(r"\fbox{1} boxed{2}"), None);
        assert_eq!(boxed("\\boxed{1 +\n```text\n}\n```\n\\boxed{5}").as_deref(), Some("5"), "a block ends an open box");
    }

    #[test]
    fn invented_output_is_found_at_its_fence() {
        let text = "I run it.\n```output\n5\n```";
        let (found, read) = find(Watch::All, text).unwrap();
        assert_eq!((found, read), (Found::Output { at: "I run it.\n".len(), in_block: false }, "I run it.\n```output"));
        assert_eq!(find(Watch::Answers, text), None);
    }

    #[test]
    fn after_the_last_call_python_is_not_run_but_output_is_still_invented() {
        let text = "```python\n1\n```\n```output\n";
        assert_eq!(find(Watch::AnswersAndOutputs, text).unwrap().0, Found::Output { at: "```python\n1\n```\n".len(), in_block: false });
        let unclosed = "```python\n1\n  ```output\n";
        assert_eq!(find(Watch::AnswersAndOutputs, unclosed).unwrap().0, Found::Output { at: "```python\n1\n  ".len(), in_block: true });
        assert_eq!(find(Watch::AnswersAndOutputs, "```text\n```output\n").map(|f| f.0), None);
    }

    /// How much of `text` is in doubt at its end.
    fn doubt(watch: Watch, text: &str) -> usize {
        let mut scanner = Scanner::new(watch);
        assert_eq!(scanner.push(text.as_bytes()), None, "{text:?}");
        scanner.in_doubt()
    }

    #[test]
    fn the_start_of_an_output_fence_is_in_doubt() {
        for (text, bytes) in [("so\n`", 1), ("so\n  ``", 2), ("```", 3), ("````", 4), ("``` ou", 6), ("```python\n1\n", 0), ("`outp", 0)] {
            assert_eq!(doubt(Watch::All, text), bytes, "{text:?}");
        }
        for text in ["", "so", "so\n  ", "so `", "```py", "```c\n```", "```out\n", "``o"] {
            assert_eq!(doubt(Watch::All, text), 0, "{text:?}");
        }
        assert_eq!(doubt(Watch::AnswersAndOutputs, "```python\n1\n```out"), 6, "in place of the closing fence");
        assert_eq!(doubt(Watch::Answers, "```output"), 0, "nothing is cut away where there is no tool");
    }

    #[test]
    fn invalid_utf8_is_replaced() {
        assert_eq!(Scanner::new(Watch::Answers).push(b"\\boxed{\xff}"), Some(Found::Boxed("\u{fffd}".into())));
    }
}
