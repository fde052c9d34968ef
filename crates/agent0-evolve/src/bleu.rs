//! Sentence BLEU-4 with NLTK's smoothing method 1 over whitespace tokens (algorithm.md section 3), made for comparing
//! every text of a batch with every other.

use std::collections::HashMap;

/// Longest n-gram that counts.
const ORDERS: usize = 4;

/// What an n-gram without a match counts as, NLTK's epsilon.
const SMOOTHING: f64 = 0.1;

/// A batch of texts whose n-grams are counted once and compared as numbers.
pub struct Batch {
    texts: Vec<Text>,
}

/// One text.
struct Text {
    tokens: usize,
    /// Per order, the distinct n-grams as (id, count), by ascending id.
    grams: [Vec<(u32, u32)>; ORDERS],
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
    /// Counts the n-grams of `texts`.
    pub fn new(texts: &[&str]) -> Self {
        let mut interner = Interner::default();
        Self { texts: texts.iter().map(|text| interner.count(text)).collect() }
    }

    /// How many texts there are.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// BLEU-4 in `[0, 1]` of the text at index `hypothesis` against that at `reference`.
    ///
    /// 0 when they share no word. As in NLTK, a text of fewer than four words has smoothed precisions for the orders
    /// it lacks, so it does not reach 1 even against itself.
    pub fn bleu4(&self, hypothesis: usize, reference: usize) -> f64 {
        let (hypothesis, reference) = (&self.texts[hypothesis], &self.texts[reference]);
        let mut logs = [0.0; ORDERS];
        for (order, log) in logs.iter_mut().enumerate() {
            let matches = overlap(&hypothesis.grams[order], &reference.grams[order]);
            if order == 0 && matches == 0 {
                return 0.0;
            }
            let matches = if matches == 0 { SMOOTHING } else { f64::from(matches) };
            let possible = hypothesis.tokens.saturating_sub(order).max(1);
            *log = (matches / possible as f64).ln();
        }
        brevity_penalty(hypothesis.tokens, reference.tokens) * exact_mean(logs).exp()
    }
}

impl<'a> Interner<'a> {
    fn count(&mut self, text: &'a str) -> Text {
        let words: Vec<u32> = words(text).map(|word| intern(&mut self.words, word)).collect();
        let mut ids: [Vec<u32>; ORDERS] = Default::default();
        for start in 0..words.len() {
            let mut prefix = NO_PREFIX;
            for (order, &word) in words[start..].iter().take(ORDERS).enumerate() {
                prefix = intern(&mut self.grams, (prefix, word));
                ids[order].push(prefix);
            }
        }
        Text { tokens: words.len(), grams: ids.map(counted) }
    }
}

/// The number of `key`, a new one when it was not seen before.
fn intern<K: std::hash::Hash + Eq>(ids: &mut HashMap<K, u32>, key: K) -> u32 {
    let next = ids.len() as u32;
    *ids.entry(key).or_insert(next)
}

/// Splits as Python's `str.split()`, for which the four ASCII separators are whitespace too.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)).filter(|word| !word.is_empty())
}

/// The distinct ids with their counts, ascending.
fn counted(mut ids: Vec<u32>) -> Vec<(u32, u32)> {
    ids.sort_unstable();
    ids.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as u32)).collect()
}

/// Sum over common ids of the smaller count.
fn overlap(a: &[(u32, u32)], b: &[(u32, u32)]) -> u32 {
    let (mut i, mut j, mut sum) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        let ((id_a, count_a), (id_b, count_b)) = (a[i], b[j]);
        if id_a == id_b {
            sum += count_a.min(count_b);
        }
        i += usize::from(id_a <= id_b);
        j += usize::from(id_b <= id_a);
    }
    sum
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
