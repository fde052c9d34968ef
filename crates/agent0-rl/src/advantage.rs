//! Group-relative advantages (algorithm.md section 4).

/// Added to the standard deviation.
const EPS: f64 = 1e-6;

/// `A_i = (R_i - mean) / (std + 1e-6)` with the unbiased standard deviation.
///
/// `None` when the rewards have no spread (or there are fewer than two): such a group teaches nothing and is skipped.
pub fn advantages(rewards: &[f64]) -> Option<Vec<f64>> {
    let first = *rewards.first()?;
    if rewards.iter().all(|&reward| reward == first) {
        return None;
    }
    let n = rewards.len() as f64;
    let mean = rewards.iter().sum::<f64>() / n;
    let variance = rewards.iter().map(|reward| (reward - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let std = variance.sqrt();
    Some(rewards.iter().map(|reward| (reward - mean) / (std + EPS)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_spread_is_skipped() {
        assert_eq!(advantages(&[]), None);
        assert_eq!(advantages(&[1.0]), None);
        assert_eq!(advantages(&[0.1; 7]), None);
    }

    #[test]
    fn two_rewards_lie_a_root_of_two_apart() {
        let a = advantages(&[0.0, 1.0]).unwrap();
        let expected = 0.5 / (0.5f64.sqrt() + 1e-6);
        assert!((a[0] + expected).abs() < 1e-15 && (a[1] - expected).abs() < 1e-15);
    }
}
