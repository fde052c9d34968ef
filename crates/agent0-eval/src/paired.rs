//! Whether two models differ, judged on the questions that both were asked.

use agent0_rl::Seed;

/// Resamples of the bootstrap.
const RESAMPLES: usize = 10_000;

/// How one model compares with another on common questions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// Questions that both were asked.
    pub questions: usize,
    /// Mean score of the second less that of the first.
    pub delta: f64,
    /// Two-sided probability of a difference at least as large if there were none.
    pub p: f64,
    /// How `p` was found.
    pub test: Test,
}

/// A paired test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// McNemar's exact test, for the questions of one benchmark, answered once.
    McNemar,
    /// The paired bootstrap over questions, for shares of several answers and for averages.
    Bootstrap,
}

/// Compares averages over benchmarks, each of which counts the same; `benchmarks[b]` has the scores of the first and the second model on
/// the questions of one. `None` where a benchmark has no questions, and without benchmarks.
pub fn compare(benchmarks: &[Vec<(f64, f64)>]) -> Option<Difference> {
    if benchmarks.is_empty() || benchmarks.iter().any(Vec::is_empty) {
        return None;
    }
    let differences: Vec<Vec<f64>> = benchmarks.iter().map(|pairs| pairs.iter().map(|(a, b)| b - a).collect()).collect();
    let mean = |of: &Vec<f64>| of.iter().sum::<f64>() / of.len() as f64;
    let once = benchmarks.iter().flatten().all(|(a, b)| [a, b].iter().all(|share| **share == 0.0 || **share == 1.0));
    let (p, test) = match &differences[..] {
        [one] if once => {
            let count = |sign: f64| one.iter().filter(|difference| **difference == sign).count();
            (mcnemar(count(1.0), count(-1.0)), Test::McNemar)
        }
        several => (bootstrap(several), Test::Bootstrap),
    };
    Some(Difference {
        questions: benchmarks.iter().map(Vec::len).sum(),
        delta: differences.iter().map(mean).sum::<f64>() / differences.len() as f64,
        p,
        test,
    })
}

/// McNemar's exact test: of `gained + lost` questions on which the models differ, either way is equally likely for each.
fn mcnemar(gained: usize, lost: usize) -> f64 {
    let n = gained + lost;
    // The binomial terms from 0 on, in logarithms: 2^-n underflows.
    let mut log_term = -(n as f64) * std::f64::consts::LN_2;
    let mut tail = 0.0;
    for i in 0..=gained.min(lost) {
        tail += log_term.exp();
        log_term += ((n - i) as f64 / (i + 1) as f64).ln();
    }
    (2.0 * tail).min(1.0)
}

/// How often the average of resampled differences is not on the side of the true one, doubled. The questions of each benchmark are
/// resampled by themselves. Draws from a fixed stream.
fn bootstrap(benchmarks: &[Vec<f64>]) -> f64 {
    let seed = Seed::root(0).child("bootstrap");
    let (mut not_above, mut not_below) = (1usize, 1usize);
    for resample in 0..RESAMPLES {
        let stream = seed.child(resample);
        let mut draws = (0u64..).map(|draw| stream.child(draw).value());
        let mut mean = |of: &[f64]| {
            let n = of.len() as u64;
            draws.by_ref().take(of.len()).map(|draw| of[(draw % n) as usize]).sum::<f64>() / n as f64
        };
        let sum: f64 = benchmarks.iter().map(|of| mean(of)).sum();
        not_above += usize::from(sum <= 0.0);
        not_below += usize::from(sum >= 0.0);
    }
    (2.0 * not_above.min(not_below) as f64 / (RESAMPLES + 1) as f64).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mcnemar_is_the_exact_binomial_test() {
        // scipy.stats.binomtest(min, n, 0.5).pvalue
        let cases = [((0, 0), 1.0), ((5, 0), 0.0625), ((10, 2), 0.03857421875), ((7, 7), 1.0), ((60, 35), 0.01337870302600394)];
        for ((gained, lost), p) in cases {
            assert!((mcnemar(gained, lost) - p).abs() < 1e-9, "{gained} {lost}: {}", mcnemar(gained, lost));
            assert_eq!(mcnemar(gained, lost), mcnemar(lost, gained));
        }
        assert!(mcnemar(3000, 1000) < 1e-200 && mcnemar(3000, 2990) > 0.5);
    }

    #[test]
    fn single_answers_are_compared_by_mcnemar() {
        let pairs = vec![(0.0, 1.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)];
        let found = compare(&[pairs]).unwrap();
        assert_eq!((found.questions, found.delta, found.test, found.p), (4, 0.25, Test::McNemar, 1.0));
        assert_eq!(compare(&[]), None);
    }

    #[test]
    fn shares_are_compared_by_the_bootstrap() {
        let better: Vec<(f64, f64)> = (0..40).map(|i| (0.25, if i % 4 == 0 { 0.25 } else { 0.75 })).collect();
        let found = compare(&[better]).unwrap();
        assert_eq!((found.test, found.delta), (Test::Bootstrap, 0.375));
        assert!(found.p < 1e-3);
        let noise = [(0..40).map(|i| if i % 2 == 0 { (0.25, 0.5) } else { (0.5, 0.25) }).collect()];
        assert!(compare(&noise).unwrap().p > 0.5);
        assert_eq!(compare(&noise), compare(&noise));
    }

    #[test]
    fn in_an_average_each_benchmark_counts_the_same() {
        let (small, large) = (vec![(0.0, 1.0); 10], vec![(1.0, 0.0); 90]);
        let even = compare(&[small.clone(), large.clone()]).unwrap();
        assert_eq!((even.questions, even.delta, even.p, even.test), (100, 0.0, 1.0, Test::Bootstrap));
        let better = compare(&[small, vec![(0.0, 0.0); 90]]).unwrap();
        assert!(better.delta == 0.5 && better.p < 1e-3);
        assert_eq!(compare(&[large, Vec::new()]), None);
    }
}
