//! From token bytes to text that can be shown: characters are whole, and nothing is let out that may yet turn out to be the beginning of
//! a stop string. What comes out depends on the bytes alone, never on where tokens or pieces end.

use std::collections::VecDeque;

/// A token that the model chose, as far as a reader may want to know it.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// What it stands for; not always whole characters.
    pub bytes: Vec<u8>,
    /// Its log-probability under the unmodified distribution.
    pub logprob: f32,
    /// Characters of the text that begin before it.
    pub offset: usize,
}

/// What can be shown, and the tokens whose last byte is in it. At a stop string also the token that runs into it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Piece {
    pub text: String,
    pub tokens: Vec<Token>,
}

impl Piece {
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.tokens.is_empty()
    }
}

impl From<String> for Piece {
    /// Text that does not come from the model.
    fn from(text: String) -> Self {
        Self { text, tokens: Vec::new() }
    }
}

/// The state along one text.
pub struct Assembler {
    stops: Vec<Vec<u8>>,
    /// Bytes that were taken in and not let out.
    held: Vec<u8>,
    /// Bytes let out.
    out: usize,
    /// Bytes taken in that begin a character.
    characters: usize,
    /// Tokens not let out, with the bytes at which they begin and end.
    pending: VecDeque<(Token, usize, usize)>,
    stopped: bool,
}

impl Assembler {
    /// Stops at the first of `stops` to be complete, and leaves it out. None of them may be empty.
    pub fn new(stops: &[String]) -> Self {
        let stops = stops.iter().map(|stop| stop.as_bytes().to_vec()).collect();
        Self { stops, held: Vec::new(), out: 0, characters: 0, pending: VecDeque::new(), stopped: false }
    }

    /// Whether a stop string was met. Nothing more comes out then.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// Takes a token; a control token has no bytes and leaves no trace.
    pub fn push(&mut self, bytes: &[u8], logprob: f32) -> Piece {
        if self.stopped || bytes.is_empty() {
            return Piece::default();
        }
        let start = self.out + self.held.len();
        let token = Token { bytes: bytes.to_vec(), logprob, offset: self.characters };
        self.pending.push_back((token, start, start + bytes.len()));
        self.characters += bytes.iter().filter(|&&byte| begins_character(byte)).count();
        for &byte in bytes {
            self.held.push(byte);
            let complete = self.stops.iter().filter(|stop| self.held.ends_with(stop)).map(Vec::len).max();
            if let Some(length) = complete {
                self.held.truncate(self.held.len() - length);
                self.stopped = true;
                break;
            }
        }
        let kept_back = if self.stopped { 0 } else { self.kept_back() };
        self.let_out(self.held.len() - kept_back)
    }

    /// Text that does not come from the model follows: what was held before it. Stop strings are not looked for in it, nor across its ends.
    pub fn insert(&mut self, text: &str) -> Piece {
        let before = self.finish();
        self.out += text.len();
        self.characters += text.chars().count();
        before
    }

    /// The model says no more: what was held.
    pub fn finish(&mut self) -> Piece {
        self.let_out(self.held.len())
    }

    fn let_out(&mut self, count: usize) -> Piece {
        let text = String::from_utf8_lossy(&self.held[..count]).into_owned();
        self.held.drain(..count);
        self.out += count;
        let mut tokens = Vec::new();
        while let Some((token, ..)) = self.pending.pop_front_if(|(_, start, end)| *end <= self.out || (self.stopped && *start < self.out)) {
            tokens.push(token);
        }
        Piece { text, tokens }
    }

    /// Bytes at the end of `held` that may begin a stop string, or else an unfinished character.
    fn kept_back(&self) -> usize {
        let begun = |stop: &Vec<u8>| (1..stop.len().min(self.held.len() + 1)).rev().find(|&n| self.held.ends_with(&stop[..n]));
        self.stops.iter().filter_map(begun).max().unwrap_or_else(|| unfinished(&self.held))
    }
}

fn begins_character(byte: u8) -> bool {
    byte & 0xc0 != 0x80
}

/// Bytes at the end that may become a character.
fn unfinished(mut bytes: &[u8]) -> usize {
    loop {
        match std::str::from_utf8(bytes) {
            Ok(_) => return 0,
            Err(error) => match error.error_len() {
                None => return bytes.len() - error.valid_up_to(),
                Some(length) => bytes = &bytes[error.valid_up_to() + length..],
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pieces that come out of tokens, the last one from the end.
    fn pieces(stops: &[&str], tokens: &[&[u8]]) -> (Vec<String>, bool) {
        let mut assembler = Assembler::new(&stops.iter().map(|&stop| stop.to_owned()).collect::<Vec<_>>());
        let mut pieces: Vec<String> = tokens.iter().map(|token| assembler.push(token, 0.0).text).collect();
        pieces.push(assembler.finish().text);
        (pieces, assembler.stopped())
    }

    /// The text, whatever the tokens are: one byte each, two bytes each, all in one.
    fn text(stops: &[&str], text: &str) -> String {
        let cut = |size: usize| pieces(stops, &text.as_bytes().chunks(size).collect::<Vec<_>>()).0.concat();
        let whole = cut(1);
        for size in [2, 3, text.len()] {
            assert_eq!(cut(size), whole, "tokens of {size} bytes");
        }
        whole
    }

    #[test]
    fn characters_come_out_whole() {
        let (pieces, _) = pieces(&[], &[b"a\xe6", b"\x95", b"\xb0\xf0\x9f", b"\x91\x8d!"]);
        assert_eq!(pieces, ["a", "", "数", "👍!", ""]);
        assert_eq!(text(&[], "é 数 👍"), "é 数 👍");
    }

    #[test]
    fn what_is_no_text_is_replaced_as_in_one_piece() {
        for bytes in [&b"a\xffb"[..], b"\xe6\x95", b"\xe6\x95a", b"\xf0\x9f\xff\x91", b"\xe6\xe6\x95\xb0"] {
            let tokens: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(pieces(&[], &tokens).0.concat(), String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn stop_strings_are_found_over_tokens_and_left_out() {
        assert_eq!(pieces(&["END"], &[b"so E", b"N", b"D more", b"more"]), (["so ", "", "", "", ""].map(str::to_owned).to_vec(), true));
        assert_eq!(text(&["\n\n"], "a\nb\n\nc"), "a\nb");
        assert_eq!(text(&["数"], "1 数 2"), "1 ");
        assert_eq!(text(&["nothing"], "a not"), "a not", "the end shows that it was none");
    }

    #[test]
    fn the_stop_string_that_is_complete_first_counts() {
        assert_eq!(text(&["abc", "b"], "xabc"), "xa");
        assert_eq!(text(&["b", "ab"], "xab"), "x", "of two at once the longer");
        assert_eq!(text(&["aab"], "aaab"), "a");
    }

    #[test]
    fn text_is_held_only_while_it_may_begin_a_stop_string() {
        let (pieces, stopped) = pieces(&["###"], &[b"a#", b"#", b"b##", b"c"]);
        assert_eq!((pieces, stopped), (["a", "", "##b", "##c", ""].map(str::to_owned).to_vec(), false));
    }

    #[test]
    fn insertions_are_never_searched() {
        let mut assembler = Assembler::new(&["stop".to_owned()]);
        assert_eq!(assembler.push(b"a st", 0.0).text, "a ");
        assert_eq!(assembler.insert("op stop st").text, "st");
        assert_eq!(assembler.push(b"op, stop", 0.0).text, "op, ");
        assert!(assembler.stopped() && assembler.push(b"x", 0.0).is_empty());
    }

    #[test]
    fn tokens_come_with_their_last_byte() {
        let mut assembler = Assembler::new(&["END".to_owned()]);
        let offsets = |piece: Piece| piece.tokens.iter().map(|token| token.offset).collect::<Vec<_>>();
        let none: [usize; 0] = [];
        assert_eq!(offsets(assembler.push("é".as_bytes(), -1.0)), [0]);
        assert_eq!(offsets(assembler.push(b"\xe6", -1.0)), none);
        assert_eq!(offsets(assembler.push(b"\x95\xb0", -1.0)), [1, 2], "in the middle of a character it has begun");
        assert_eq!(offsets(assembler.push(b"", -1.0)), none);
        assert_eq!(offsets(assembler.push(b"E", -1.0)), none);
        assert_eq!(offsets(assembler.push(b"x", -1.0)), [2, 3]);
        assert_eq!(offsets(assembler.push(b"y", -1.0)), [4]);
        assert_eq!(offsets(assembler.push(b"zE", -1.0)), none);
        assert_eq!(offsets(assembler.push(b"N", -1.0)), none);
        assert_eq!(offsets(assembler.push(b"D", -1.0)), [5], "those wholly in the stop string are left out with it");
    }
}
