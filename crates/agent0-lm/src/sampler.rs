//! Drawing one token from one row of logits. A pure function of the logits, the parameters and one random number.

use agent0_compute::{Compute, exp_sum_scaled, max_value};
use agent0_engine::SamplingParams;

/// Columns summed at a time when searching the cumulative distribution.
const STRIDE: usize = 512;

/// Draws a token. `logits` holds real tokens only; `uniform` is in [0, 1).
pub(crate) fn draw(cx: &Compute, logits: &[f32], params: &SamplingParams, uniform: f64) -> u32 {
    if params.is_greedy() {
        return argmax(cx, logits);
    }
    let truncated = params.top_p < 1.0 || (params.top_k > 0 && params.top_k < logits.len());
    if truncated { draw_truncated(cx, logits, params, uniform) } else { draw_full(cx, logits, params.temperature, uniform) }
}

/// The most probable token; the lowest id among equals.
fn argmax(cx: &Compute, logits: &[f32]) -> u32 {
    let max = max_value(cx, logits);
    logits.iter().position(|&l| l == max).unwrap_or(0) as u32
}

/// Inverse of the cumulative distribution over all tokens, in two steps: the stretch, then the token in it.
fn draw_full(cx: &Compute, logits: &[f32], temperature: f32, uniform: f64) -> u32 {
    let (max, scale) = (max_value(cx, logits), 1.0 / temperature);
    let mass = |part: &[f32]| f64::from(exp_sum_scaled(cx, part, max, scale));
    let sums: Vec<f64> = logits.chunks(STRIDE).map(mass).collect();
    let mut left = uniform * sums.iter().sum::<f64>();
    let mut stretch = 0;
    while stretch + 1 < sums.len() && left >= sums[stretch] {
        left -= sums[stretch];
        stretch += 1;
    }
    let first = stretch * STRIDE;
    let part = &logits[first..(first + STRIDE).min(logits.len())];
    let mut last_possible = first;
    for (i, logit) in part.iter().enumerate() {
        let p = mass(std::slice::from_ref(logit));
        if p > 0.0 {
            last_possible = first + i;
            if left < p {
                break;
            }
        }
        left -= p;
    }
    last_possible as u32
}

/// Draw among the `top_k` most probable tokens that are needed to reach the mass `top_p`; ties go to lower ids.
///
/// Candidates are taken from a window below the maximum that is widened until it holds all that are needed, so no
/// full sort takes place.
fn draw_truncated(cx: &Compute, logits: &[f32], params: &SamplingParams, uniform: f64) -> u32 {
    let (max, scale) = (max_value(cx, logits), 1.0 / params.temperature);
    let keep = if params.top_k == 0 { logits.len() } else { params.top_k };
    let total = f64::from(exp_sum_scaled(cx, logits, max, scale));
    let wanted = if params.top_p < 1.0 { f64::from(params.top_p) * total } else { f64::INFINITY };
    let mut window = 8.0 * params.temperature;
    loop {
        let mut candidates: Vec<(f32, u32)> =
            logits.iter().zip(0u32..).filter(|(l, _)| **l >= max - window).map(|(&l, id)| (l, id)).collect();
        candidates.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        // A window that holds everything and yet not all candidates has met with numbers that are none.
        let complete = candidates.len() == logits.len() || window == f32::MAX;
        let (mut mass, mut kept) = (0.0, Vec::new());
        for (logit, id) in candidates {
            if kept.len() == keep || mass >= wanted {
                break;
            }
            let p = f64::from(exp_sum_scaled(cx, &[logit], max, scale));
            mass += p;
            kept.push((id, p));
        }
        // Rounding may leave the mass just short of the total; then all tokens are kept.
        if kept.len() == keep || mass >= wanted || complete {
            let mut left = uniform * mass;
            for &(id, p) in &kept {
                if left < p {
                    return id;
                }
                left -= p;
            }
            return kept.last().map_or(0, |&(id, _)| id);
        }
        window *= 2.0;
        if !window.is_finite() {
            window = f32::MAX;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent0_compute::Isa;

    fn cx() -> Compute {
        Compute::new(1, Isa::detect())
    }

    fn logits() -> Vec<f32> {
        (0..1300).map(|i| ((i * 37 % 101) as f32) * 0.05 - if i % 7 == 0 { 3.0 } else { 0.0 }).collect()
    }

    fn softmax(logits: &[f32], temperature: f64) -> Vec<f64> {
        let max = logits.iter().copied().fold(f32::MIN, f32::max);
        let e: Vec<f64> = logits.iter().map(|&l| (f64::from(l - max) / temperature).exp()).collect();
        let sum: f64 = e.iter().sum();
        e.into_iter().map(|x| x / sum).collect()
    }

    #[test]
    fn full_draw_inverts_the_cumulative_distribution() {
        let logits = logits();
        let params = SamplingParams { temperature: 0.8, ..Default::default() };
        let p = softmax(&logits, 0.8);
        for u in [0.0, 0.1234, 0.5, 0.77777, 0.999_999] {
            let id = draw(&cx(), &logits, &params, u) as usize;
            let below: f64 = p[..id].iter().sum();
            assert!(below <= u + 1e-5 && u < below + p[id] + 1e-5, "u {u}: {below} .. {}", below + p[id]);
        }
    }

    #[test]
    fn truncation_keeps_exactly_the_smallest_sufficient_set() {
        let logits = logits();
        let p = softmax(&logits, 1.0);
        let mut order: Vec<usize> = (0..p.len()).collect();
        order.sort_by(|&a, &b| p[b].total_cmp(&p[a]).then(a.cmp(&b)));
        for (top_p, top_k) in [(0.9f32, 0usize), (1.0, 5), (0.02, 0), (0.999, 40)] {
            let params = SamplingParams { top_p, top_k, ..Default::default() };
            let mut mass = 0.0;
            let mut set = Vec::new();
            for &id in &order {
                if mass >= f64::from(top_p) - 1e-7 || (top_k > 0 && set.len() == top_k) {
                    break;
                }
                mass += p[id];
                set.push(id);
            }
            assert_eq!(draw(&cx(), &logits, &params, 0.0) as usize, set[0]);
            let last = draw(&cx(), &logits, &params, 1.0 - 1e-12) as usize;
            assert!(set[set.len().saturating_sub(2)..].contains(&last), "top_p {top_p} top_k {top_k}");
            let cx = cx();
            let draws = (0..2000).map(|i| draw(&cx, &logits, &params, f64::from(i) / 2000.0) as usize);
            assert!(draws.into_iter().all(|id| set.contains(&id)));
        }
    }

    #[test]
    fn zero_temperature_takes_the_first_maximum() {
        for temperature in [0.0, f32::from_bits(1)] {
            assert_eq!(draw(&cx(), &[0.0, 3.0, 3.0, -1.0], &SamplingParams { temperature, ..Default::default() }, 0.9), 1);
        }
    }

    #[test]
    fn numbers_that_are_none_end_in_some_token() {
        for (top_p, top_k) in [(1.0, 0), (0.9, 0), (1.0, 5)] {
            let params = SamplingParams { top_p, top_k, ..Default::default() };
            assert!(draw(&cx(), &[f32::NAN; 40], &params, 0.5) < 40);
        }
    }
}
