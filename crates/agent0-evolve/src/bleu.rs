//! Sentence BLEU-4 with NLTK's smoothing method 1 over whitespace tokens (algorithm.md section 3), of every text of a batch
//! against every later one.
//!
//! Pairs are not compared word by word. An inverted index says which texts hold an n-gram, so that the matches of one
//! text with all others are counted by walking the lists of its own n-grams: the work is the number of matches, and most
//! pairs have few.

use std::collections::HashMap;
use std::hash::Hash;

/// Longest n-gram that counts.
const ORDERS: usize = 4;

/// What an n-gram without a match counts as, NLTK's epsilon.
const SMOOTHING: f64 = 0.1;

/// A batch of texts with the index of their n-grams.
pub struct Batch {
    texts: Vec<Text>,
    /// Per n-gram, the texts that hold it, ascending.
    holders: Vec<Vec<Holder>>,
}

/// One text.
#[derive(Default)]
struct Text {
    tokens: usize,
    /// Per order, its distinct n-grams.
    grams: [Vec<Gram>; ORDERS],
}

/// An n-gram of a text: its number, and which of the n-gram's holders the text is.
struct Gram {
    id: u32,
    at: u32,
}

/// A text that holds an n-gram, `count` times.
struct Holder {
    text: u32,
    count: u32,
}

/// Gives every distinct n-gram of the batch a number. An n-gram is its prefix's number and its last word's.
#[derive(Default)]
struct Interner<'a> {
    words: HashMap<&'a str, u32>,
    grams: HashMap<(u32, u32), u32>,
}

/// Prefix of the n-grams of order 1.
const NO_PREFIX: u32 = u32::MAX;

impl Batch {
    /// Indexes the n-grams of `texts`.
    pub fn new(texts: &[&str]) -> Self {
        let mut batch = Self { texts: Vec::with_capacity(texts.len()), holders: Vec::new() };
        let mut interner = Interner::default();
        for text in texts {
            batch.add(text, &mut interner);
        }
        batch
    }

    /// How many texts there are.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// BLEU-4 in `[0, 1]` of the text at index `hypothesis` against each text after it as the reference, in their order.
    ///
    /// 0 when they share no word. As in NLTK, a text of fewer than four words has smoothed precisions for the orders
    /// it lacks, so it does not reach 1 even against its equal.
    pub fn bleu4_of_later(&self, hypothesis: usize) -> impl Iterator<Item = f64> {
        let (text, first) = (&self.texts[hypothesis], hypothesis + 1);
        let matches = self.matches_with_later(hypothesis);
        let logs: [Vec<f64>; ORDERS] = std::array::from_fn(|order| text.log_precisions(order));
        matches.into_iter().zip(&self.texts[first..]).map(move |(matches, reference)| {
            if matches[0] == 0 {
                return 0.0;
            }
            let logs = std::array::from_fn(|order| logs[order][matches[order] as usize]);
            brevity_penalty(text.tokens, reference.tokens) * exact_mean(logs).exp()
        })
    }

    /// For each text after `hypothesis`, per order, how many n-grams they share: the smaller count of each.
    fn matches_with_later(&self, hypothesis: usize) -> Vec<[u32; ORDERS]> {
        let first = hypothesis + 1;
        let mut matches = vec![[0; ORDERS]; self.len() - first];
        for (order, grams) in self.texts[hypothesis].grams.iter().enumerate() {
            for gram in grams {
                let holders = &self.holders[gram.id as usize][gram.at as usize..];
                let Some((own, later)) = holders.split_first() else { continue };
                for other in later {
                    matches[other.text as usize - first][order] += own.count.min(other.count);
                }
            }
        }
        matches
    }

    fn add<'a>(&mut self, text: &'a str, interner: &mut Interner<'a>) {
        let words: Vec<u32> = words(text).map(|word| intern(&mut interner.words, word)).collect();
        let mut indexed = Text { tokens: words.len(), ..Text::default() };
        for start in 0..words.len() {
            let mut prefix = NO_PREFIX;
            for (&word, grams) in words[start..].iter().zip(&mut indexed.grams) {
                prefix = intern(&mut interner.grams, (prefix, word));
                grams.extend(self.count(prefix));
            }
        }
        self.texts.push(indexed);
    }

    /// Counts an n-gram for the text that is being added; `Some` the first time.
    fn count(&mut self, id: u32) -> Option<Gram> {
        let text = self.texts.len() as u32;
        if id as usize == self.holders.len() {
            self.holders.push(Vec::new());
        }
        let holders = &mut self.holders[id as usize];
        match holders.last_mut().filter(|holder| holder.text == text) {
            Some(holder) => {
                holder.count += 1;
                None
            }
            None => {
                holders.push(Holder { text, count: 1 });
                Some(Gram { id, at: holders.len() as u32 - 1 })
            }
        }
    }
}

impl Text {
    /// Logarithm of this hypothesis' precision of an order, by the number of matches.
    fn log_precisions(&self, order: usize) -> Vec<f64> {
        let possible = self.tokens.saturating_sub(order).max(1);
        let precision = |matches| if matches == 0 { SMOOTHING } else { matches as f64 } / possible as f64;
        (0..=possible).map(|matches| precision(matches).ln()).collect()
    }
}

/// The number of `key`, a new one when it was not seen before.
fn intern<K: Hash + Eq>(ids: &mut HashMap<K, u32>, key: K) -> u32 {
    let next = ids.len() as u32;
    *ids.entry(key).or_insert(next)
}

/// Splits as Python's `str.split()`, for which the four ASCII separators are whitespace too.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)).filter(|word| !word.is_empty())
}

/// Below 1 for a hypothesis shorter than its reference.
fn brevity_penalty(hypothesis: usize, reference: usize) -> f64 {
    match hypothesis {
        0 => 0.0,
        n if n > reference => 1.0,
        n => (1.0 - reference as f64 / n as f64).exp(),
    }
}

/// The mean, summed without rounding error in between, as NLTK does with `fsum`: equal distances must stay equal, or
/// clusters change.
fn exact_mean(values: [f64; ORDERS]) -> f64 {
    let (mut sum, mut lost) = (0.0f64, 0.0f64);
    for value in values {
        let next = sum + value;
        let seen = next - sum;
        lost += (sum - (next - seen)) + (value - seen);
        sum = next;
    }
    (sum + lost) / ORDERS as f64
}
