//! One text on every machine and in every run, in what a call writes: names for the folders of the interpreter and of its packages, and
//! none for addresses in memory.
//!
//! The message of a failed import names a file; a model that reads it should read the same text wherever the user keeps Python. In a root
//! of its own the packages have that name already; where files are seen at their real places, only the text can be changed. What Python
//! shows of an object without a text of its own ends with its address, which depends on what other calls did before.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use crate::interpreter::Interpreter;
use crate::tree::PACKAGES;

/// What the folder of the interpreter is called: where a system's own interpreter is.
const PREFIX: &str = "/usr";

/// What comes before the digits of an address, and what stands for both. A shorter number is no address.
const ADDRESS: &[u8] = b" at 0x";
const NO_ADDRESS: &[u8] = b" at 0x...";
const ADDRESS_DIGITS: std::ops::RangeInclusive<usize> = 9..=16;

/// Folders by their real paths, the longest first, and what they are called.
#[derive(Debug, Default)]
pub struct Names(Vec<(Vec<u8>, &'static [u8])>);

impl Names {
    /// The names for an interpreter's folders.
    pub fn of(interpreter: &Interpreter) -> Self {
        let places = interpreter.places.iter().map(|place| (place, PACKAGES));
        Self::new(places.chain([(&interpreter.prefix, PREFIX)]))
    }

    fn new(names: impl Iterator<Item = (impl AsRef<Path>, &'static str)>) -> Self {
        let named = names.filter(|(real, name)| real.as_ref() != Path::new("/") && real.as_ref() != Path::new(name));
        let mut names: Vec<_> = named.map(|(real, name)| (real.as_ref().as_os_str().as_bytes().to_vec(), name.as_bytes())).collect();
        names.sort_by_key(|(real, _)| std::cmp::Reverse(real.len()));
        Self(names)
    }

    /// The length of what `text` begins with, if that is to be renamed, and how.
    fn find(&self, text: &[u8]) -> Option<(usize, &'static [u8])> {
        match text[0] {
            b'/' => self.0.iter().find(|(real, _)| is_folder(text, real)).map(|(real, name)| (real.len(), *name)),
            b' ' => address(text).map(|length| (length, NO_ADDRESS)),
            _ => None,
        }
    }

    /// The bytes that may be needed to tell what a text begins with.
    fn longest(&self) -> usize {
        self.0.first().map_or(0, |(real, _)| real.len() + 1).max(ADDRESS.len() + ADDRESS_DIGITS.end() + 1)
    }
}

/// Whether `text` begins with the path of a folder, or of something in it.
fn is_folder(text: &[u8], real: &[u8]) -> bool {
    let goes_on = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    text.starts_with(real) && !text.get(real.len()).is_some_and(goes_on)
}

/// The length of the address that `text` begins with.
fn address(text: &[u8]) -> Option<usize> {
    let digits = text.strip_prefix(ADDRESS)?.iter().take(ADDRESS_DIGITS.end() + 1).take_while(|byte| byte.is_ascii_hexdigit()).count();
    ADDRESS_DIGITS.contains(&digits).then_some(ADDRESS.len() + digits)
}

/// Renames in a stream of bytes, however it is cut.
#[derive(Debug)]
pub struct Renamer {
    names: Arc<Names>,
    /// What came last: something to be renamed may have begun there.
    held: Vec<u8>,
}

impl Renamer {
    pub fn new(names: Arc<Names>) -> Self {
        Self { names, held: Vec::new() }
    }

    /// Takes the next bytes; gives those that are certain.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        self.rename(self.names.longest())
    }

    /// Gives the last bytes.
    pub fn finish(&mut self) -> Vec<u8> {
        self.rename(0)
    }

    fn rename(&mut self, hold: usize) -> Vec<u8> {
        let certain = self.held.len().saturating_sub(hold);
        let mut renamed = Vec::with_capacity(self.held.len());
        let mut at = 0;
        while at < certain {
            let (length, text) = self.names.find(&self.held[at..]).unwrap_or((1, &self.held[at..=at]));
            renamed.extend_from_slice(text);
            at += length;
        }
        self.held.drain(..at);
        renamed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Arc<Names> {
        Arc::new(Names::new([("/home/u/py", "/usr"), ("/home/u/py/lib/site-packages", "/packages"), ("/usr", "/usr")].into_iter()))
    }

    fn renamed(pieces: &[&str]) -> String {
        let mut renamer = Renamer::new(names());
        let mut text: Vec<u8> = pieces.iter().flat_map(|piece| renamer.push(piece.as_bytes())).collect();
        text.extend(renamer.finish());
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn folders_have_their_names_however_the_text_arrives() {
        let text = "(/home/u/py/lib/site-packages/a/b.py) '/home/u/py' /home/u/py/lib/os.py <f at 0x7ffff18d2d40> /home/u/py";
        let wanted = "(/packages/a/b.py) '/usr' /usr/lib/os.py <f at 0x...> /usr";
        assert_eq!(renamed(&[text]), wanted);
        for cut in 0..text.len() {
            assert_eq!(renamed(&[&text[..cut], &text[cut..]]), wanted, "cut at {cut}");
        }
        let letters: Vec<String> = text.chars().map(String::from).collect();
        assert_eq!(renamed(&letters.iter().map(String::as_str).collect::<Vec<_>>()), wanted);
    }

    #[test]
    fn other_texts_stay() {
        let digits = " at 0x".to_owned() + &"0".repeat(17);
        for text in ["/home/u/python3", "/home/u/py.old/x", "/home/u/p", "/usr/lib", "home/u/py", "", " at 0xff", "0x7ffff18d2d40", &digits]
        {
            assert_eq!(renamed(&[text]), text);
        }
    }
}
