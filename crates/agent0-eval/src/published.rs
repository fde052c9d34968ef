//! Scores that others have published, for comparison beside measured ones. None of them was measured here, and their protocols differ.

use crate::score::Averages;

/// A published row: percentages over 100.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Published {
    /// The method, and the model it starts from.
    pub name: &'static str,
    /// MATH AVG.
    pub math: f64,
    /// SuperGPQA.
    pub supergpqa: f64,
    /// MMLU-Pro.
    pub mmlu_pro: f64,
    /// BBEH.
    pub bbeh: f64,
    /// Overall AVG.
    pub overall: f64,
}

const fn row(name: &'static str, [math, supergpqa, mmlu_pro, bbeh, overall]: [f64; 5]) -> Published {
    Published { name, math, supergpqa, mmlu_pro, bbeh, overall }
}

/// The table of the Agent0 paper for Qwen3-8B-Base (arXiv 2511.16043; algorithm.md section 9), in per cent.
pub const PUBLISHED: [Published; 6] = [
    row("Qwen3-8B-Base", [49.2, 28.3, 51.8, 8.6, 34.5]),
    row("Qwen3-8B-Base + tool", [53.2, 29.5, 54.8, 9.37, 36.7]),
    row("Absolute Zero (Qwen3-8B-Base)", [52.6, 33.5, 62.5, 10.8, 39.9]),
    row("R-Zero (Qwen3-8B-Base)", [54.7, 31.4, 58.2, 10.6, 38.7]),
    row("Socratic-Zero (Qwen3-8B-Base)", [56.1, 30.1, 60.9, 9.5, 39.2]),
    row("Agent0 (Qwen3-8B-Base)", [58.2, 33.0, 63.4, 13.7, 42.1]),
];

impl Published {
    /// The score of a benchmark, 0 to 1; of the seven of mathematics only the average is published.
    pub fn score(&self, bench: &str) -> Option<f64> {
        let percent = match bench {
            "supergpqa" => self.supergpqa,
            "mmlu_pro" => self.mmlu_pro,
            "bbeh" => self.bbeh,
            _ => return None,
        };
        Some(percent / 100.0)
    }

    /// The averages, 0 to 1.
    pub fn averages(&self) -> Averages {
        Averages { math: Some(self.math / 100.0), overall: Some(self.overall / 100.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::averages;

    /// Guards against slips of the pen: the published overall averages follow from the published parts.
    #[test]
    fn overall_averages_follow_from_their_parts() {
        for row in &PUBLISHED {
            let whole = averages(|bench| row.score(bench).or(Some(row.math / 100.0)));
            assert!((whole.overall.unwrap() - row.overall / 100.0).abs() < 0.0011, "{}", row.name);
        }
    }
}
