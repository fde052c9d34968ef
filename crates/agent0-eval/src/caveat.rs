//! What must be said beside the published averages: that a benchmark was not asked in full, or not all of them alike.

use agent0_rl::RolloutParams;

use crate::benchmark::{Benchmark, Grading, benchmarks};
use crate::protocol::Preset;
use crate::results::Results;
use crate::score::{Score, Tool};

impl Results {
    /// Why the averages with or without the tool are not what their names promise; `None` where they are, and without averages.
    pub fn caveat(&self, tool: Tool) -> Option<String> {
        let averages = self.averages(tool);
        averages.math?;
        let is_counted = |benchmark: &Benchmark| benchmark.grading == Grading::Math || averages.overall.is_some();
        let counted: Vec<(&Benchmark, &Score)> = benchmarks()
            .iter()
            .filter(|benchmark| is_counted(benchmark))
            .filter_map(|benchmark| Some((benchmark, self.score(benchmark.name, tool)?)))
            .collect();
        let parts: Vec<String> = [other_numbers(&counted), unlike(&counted)].into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

/// Names the benchmarks of which not so many questions were asked as are published.
fn other_numbers(counted: &[(&Benchmark, &Score)]) -> Option<String> {
    let named: Vec<String> = counted
        .iter()
        .filter(|(benchmark, score)| score.rows != benchmark.published_rows)
        .map(|(benchmark, score)| format!("{} ({} of {})", benchmark.title, score.rows, benchmark.published_rows))
        .collect();
    (!named.is_empty()).then(|| format!("not as many questions as are published: {}", named.join(", ")))
}

/// Says when no preset and no single number explains how answers were drawn, or when models were told different things.
fn unlike(counted: &[(&Benchmark, &Score)]) -> Option<String> {
    let by_preset = |holds: fn((usize, f32), &Score) -> bool| {
        let presets = [Preset::Paper, Preset::Greedy, Preset::Sampled];
        presets.into_iter().any(|preset| counted.iter().all(|(benchmark, score)| holds(preset.drawn(Some(benchmark)), score)))
    };
    let samples = are_equal(counted.iter().map(|(_, score)| score.protocol.samples))
        || by_preset(|(samples, _), score| score.protocol.samples == samples);
    let temperature = are_equal(counted.iter().map(|(_, score)| score.protocol.rollout.temperature))
        || by_preset(|(_, temperature), score| score.protocol.rollout.temperature == temperature);
    let limits = are_equal(counted.iter().map(|(_, score)| RolloutParams { temperature: 0.0, ..score.protocol.rollout.clone() }));
    let mut unlike = Vec::new();
    unlike.extend((!samples).then_some("answers a question"));
    unlike.extend((!temperature).then_some("temperature"));
    unlike.extend((!limits).then_some("limits of an answer"));
    unlike.extend((!are_equal(counted.iter().map(|(_, score)| &score.prompt_hash))).then_some("prompts"));
    (!unlike.is_empty()).then(|| format!("not all asked alike: they differ in {}", unlike.join(", ")))
}

fn are_equal<T: PartialEq>(mut values: impl Iterator<Item = T>) -> bool {
    let first = values.next();
    values.all(|value| Some(value) == first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{EvalPrompts, Overrides, Protocol};
    use crate::results::Subject;
    use crate::score::tests::score;

    fn asked(benchmark: &'static Benchmark, preset: Preset, overrides: &Overrides) -> Score {
        let protocol = Protocol::new(preset, Some(benchmark), true, EvalPrompts::without_tool(), 0, overrides);
        Score { rows: benchmark.published_rows, protocol, ..score(benchmark.name, &[("a", 1.0), ("b", 0.0)]) }
    }

    /// All benchmarks of mathematics.
    fn mathematics(preset: impl Fn(&Benchmark) -> Preset, overrides: &Overrides) -> Results {
        let of = benchmarks().iter().filter(|benchmark| benchmark.grading == Grading::Math);
        let subject = Subject {
            name: "m".into(),
            model: "m".into(),
            model_digest: "1".into(),
            adapter: None,
            adapter_digest: None,
            numerics: "f32".into(),
            python: None,
        };
        Results { subject, results: of.map(|benchmark| asked(benchmark, preset(benchmark), overrides)).collect() }
    }

    fn caveat(results: &Results) -> Option<String> {
        results.caveat(Tool::On)
    }

    #[test]
    fn one_way_to_ask_needs_no_words() {
        for preset in [Preset::Paper, Preset::Greedy, Preset::Sampled] {
            assert_eq!(caveat(&mathematics(|_| preset, &Overrides::default())), None);
        }
        // The same as preset paper.
        let parts = mathematics(|benchmark| if benchmark.name == "gsm8k" { Preset::Greedy } else { Preset::Paper }, &Overrides::default());
        assert_eq!(caveat(&parts), None);
        let overrides = Overrides { samples: Some(8), temperature: Some(0.6), max_tokens: Some(99), max_turns: Some(1) };
        assert_eq!(caveat(&mathematics(|_| Preset::Paper, &overrides)), None);
        assert_eq!(caveat(&mathematics(|_| Preset::Paper, &Overrides { samples: Some(8), ..Overrides::default() })), None);
    }

    #[test]
    fn benchmarks_asked_in_part_are_named() {
        let mut results = mathematics(|_| Preset::Greedy, &Overrides::default());
        results.results.iter_mut().filter(|score| ["gsm8k", "amc23"].contains(&score.bench.as_str())).for_each(|score| score.rows = 20);
        assert_eq!(caveat(&results).unwrap(), "not as many questions as are published: AMC23 (20 of 40), GSM8K (20 of 1319)");
        // What no average counts does not matter, and without an average nothing does.
        results.results.retain(|score| score.bench != "gsm8k");
        assert_eq!(caveat(&results), None);
    }

    #[test]
    fn ways_to_ask_that_differ_are_told() {
        let mut results =
            mathematics(|benchmark| if benchmark.name == "amc23" { Preset::Greedy } else { Preset::Paper }, &Overrides::default());
        assert_eq!(caveat(&results).unwrap(), "not all asked alike: they differ in answers a question, temperature");
        results = mathematics(|_| Preset::Greedy, &Overrides::default());
        results.results[3].protocol.rollout.max_tokens = 64;
        results.results[3].prompt_hash = "other".into();
        assert_eq!(caveat(&results).unwrap(), "not all asked alike: they differ in limits of an answer, prompts");
    }
}
