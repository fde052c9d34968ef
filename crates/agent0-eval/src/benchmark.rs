//! The ten benchmarks: their names, what an answer of each is, and where on the Hugging Face hub their questions are.

use crate::EvalError;
use crate::forms::{self, Form};

/// What the answers of a benchmark are, and so how they are graded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Grading {
    /// Mathematics: an expression that may be written in many ways.
    Math,
    /// Multiple choice: a letter.
    Choice,
    /// A short text, compared by the fuzzy match of BIG-Bench Extra Hard.
    Bbeh,
}

/// A dataset repository on the hub that holds a benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HubSource {
    /// `org/name`, at its `main` revision when it is first fetched.
    pub repo: &'static str,
    /// The files, read one after another: a path in the repository, in which `*` stands for any text, slashes included.
    pub files: &'static str,
}

/// One benchmark.
#[derive(Debug)]
pub struct Benchmark {
    /// The name on the command line, such as `math500`.
    pub name: &'static str,
    /// The name in tables, such as `MATH-500`.
    pub title: &'static str,
    /// How its answers are graded.
    pub grading: Grading,
    /// Where it is published, in the order in which the places are tried.
    pub sources: &'static [HubSource],
    /// How many rows it has as published.
    pub published_rows: usize,
    /// How its rows are read.
    pub(crate) form: Form,
}

const fn at(repo: &'static str, files: &'static str) -> HubSource {
    HubSource { repo, files }
}

static BENCHMARKS: [Benchmark; 10] = [
    Benchmark {
        name: "amc23",
        title: "AMC23",
        grading: Grading::Math,
        sources: &[at("math-ai/amc23", "test-*.parquet"), at("zwhe99/amc23", "*test*")],
        published_rows: 40,
        form: forms::mathematics,
    },
    Benchmark {
        name: "minerva",
        title: "Minerva",
        grading: Grading::Math,
        sources: &[
            at("math-ai/minervamath", "test.jsonl"),
            at("svc-huggingface/minerva-math", "test.jsonl"),
            at("zwhe99/simplerl-minerva-math", "*test*"),
        ],
        published_rows: 272,
        form: forms::mathematics,
    },
    Benchmark {
        name: "math500",
        title: "MATH-500",
        grading: Grading::Math,
        sources: &[at("HuggingFaceH4/MATH-500", "test.jsonl"), at("math-ai/math500", "test.jsonl")],
        published_rows: 500,
        form: forms::mathematics,
    },
    Benchmark {
        name: "gsm8k",
        title: "GSM8K",
        grading: Grading::Math,
        sources: &[at("openai/gsm8k", "main/test-*.parquet")],
        published_rows: 1319,
        form: forms::gsm8k,
    },
    Benchmark {
        name: "olympiadbench",
        title: "OlympiadBench",
        grading: Grading::Math,
        sources: &[
            at("Hothan/OlympiadBench", "OlympiadBench/OE_TO_maths_en_COMP/*.parquet"),
            at("zwhe99/simplerl-OlympiadBench", "*test*"),
        ],
        published_rows: 674,
        form: forms::olympiad,
    },
    Benchmark {
        name: "aime24",
        title: "AIME24",
        grading: Grading::Math,
        sources: &[
            at("HuggingFaceH4/aime_2024", "data/train-*.parquet"),
            at("math-ai/aime24", "test-*.parquet"),
            at("Maxwell-Jia/AIME_2024", "aime_2024_problems.parquet"),
        ],
        published_rows: 30,
        form: forms::mathematics,
    },
    Benchmark {
        name: "aime25",
        title: "AIME25",
        grading: Grading::Math,
        sources: &[
            at("math-ai/aime25", "test.jsonl"),
            at("opencompass/AIME2025", "aime2025-*.jsonl"),
            at("yentinglin/aime_2025", "data/train-*.parquet"),
        ],
        published_rows: 30,
        form: forms::mathematics,
    },
    Benchmark {
        name: "supergpqa",
        title: "SuperGPQA",
        grading: Grading::Choice,
        sources: &[at("m-a-p/SuperGPQA", "SuperGPQA-all.jsonl")],
        published_rows: 26_529,
        form: forms::multiple_choice,
    },
    Benchmark {
        name: "mmlu_pro",
        title: "MMLU-Pro",
        grading: Grading::Choice,
        sources: &[at("TIGER-Lab/MMLU-Pro", "data/test-*.parquet")],
        published_rows: 12_032,
        form: forms::multiple_choice,
    },
    Benchmark {
        name: "bbeh",
        title: "BBEH",
        grading: Grading::Bbeh,
        sources: &[at("MrLight/bbeh-eval", "train.jsonl"), at("BBEH/bbeh", "*train*")],
        published_rows: 4520,
        form: forms::bbeh,
    },
];

/// All ten, in the order of the published tables: seven of mathematics, then SuperGPQA, MMLU-Pro and BBEH.
pub fn benchmarks() -> &'static [Benchmark] {
    &BENCHMARKS
}

/// Looks a benchmark up by its name (letter case, `-` and `_` do not matter).
///
/// # Errors
/// [`EvalError::UnknownBenchmark`] with the known names, the nearest first.
pub fn find_benchmark(name: &str) -> Result<&'static Benchmark, EvalError> {
    let plain = |name: &str| name.to_lowercase().replace(['-', '_'], "");
    let wanted = plain(name);
    BENCHMARKS.iter().find(|b| plain(b.name) == wanted).ok_or_else(|| {
        let mut known: Vec<&str> = BENCHMARKS.iter().map(|b| b.name).collect();
        known.sort_by_key(|known| strsim::damerau_levenshtein(known, &wanted));
        EvalError::UnknownBenchmark { name: name.to_string(), known: known.join(", ") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn benchmarks_are_found_as_they_are_written() {
        for name in ["mmlu_pro", "MMLU-Pro", "mmlupro"] {
            assert_eq!(find_benchmark(name).unwrap().title, "MMLU-Pro");
        }
        let message = find_benchmark("mat500").unwrap_err().to_string();
        assert!(message.contains("unknown benchmark `mat500`; known, the nearest first: math500, "), "{message}");
    }

    #[test]
    fn entries_are_well_formed() {
        let names: Vec<&str> = benchmarks().iter().map(|b| b.name).collect();
        let published = ["amc23", "minerva", "math500", "gsm8k", "olympiadbench", "aime24", "aime25", "supergpqa", "mmlu_pro", "bbeh"];
        assert_eq!(names, published);
        for benchmark in benchmarks() {
            assert!(!benchmark.sources.is_empty());
            assert!(benchmark.sources.iter().all(|s| s.repo.split('/').count() == 2 && !s.files.starts_with('/')));
        }
    }
}
