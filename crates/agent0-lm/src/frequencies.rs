//! Rotary frequencies of a model and their scaling for longer contexts. Applying them is `agent0-compute`'s part.

/// How the frequencies of pre-training are stretched for a longer context.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All frequencies divided by one factor.
    Linear(f32),
    /// Llama 3: low frequencies divided by `factor`, high ones kept, those between blended.
    Llama3 {
        /// Divisor of the low frequencies.
        factor: f32,
        /// Frequencies of fewer turns than this in `original_context` positions are low.
        low_freq_factor: f32,
        /// Frequencies of more turns than this in `original_context` positions are high.
        high_freq_factor: f32,
        /// Context length before it was stretched, in tokens.
        original_context: f32,
    },
    /// A divisor for each frequency, as GGUF files store them.
    Divisors(Vec<f32>),
}

/// `theta^(-2i / head_dim)` for `i` in `0..head_dim / 2`, scaled; in f32 as transformers computes them.
pub(crate) fn inv_freq(theta: f32, head_dim: usize, scaling: &RopeScaling) -> Vec<f32> {
    let plain = (0..head_dim / 2).map(|i| {
        let exponent = (2 * i) as f32 / head_dim as f32;
        1.0 / f64::from(theta).powf(f64::from(exponent)) as f32
    });
    match scaling {
        RopeScaling::None => plain.collect(),
        RopeScaling::Linear(factor) => plain.map(|f| f / factor).collect(),
        RopeScaling::Divisors(divisors) => plain.zip(divisors).map(|(f, divisor)| f / divisor).collect(),
        &RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => plain
            .map(|f| {
                let wavelength = std::f32::consts::TAU / f;
                if wavelength > original_context / low_freq_factor {
                    f / factor
                } else if wavelength < original_context / high_freq_factor {
                    f
                } else {
                    let smooth = (original_context / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
                    (1.0 - smooth) * f / factor + smooth * f
                }
            })
            .collect(),
    }
}

/// Llama 3's scaling when that is what `divisors` come from, as config.json has no word for divisors of any other kind.
///
/// Between the bounds, `1 / divisor` is linear in the frequency. That line tells the bounds up to a common factor, which changes
/// nothing: the low one is taken to be 1, as it is in Meta's models.
pub(crate) fn as_llama3(divisors: &[f32], theta: f32, head_dim: usize) -> Option<RopeScaling> {
    let factor = divisors.iter().copied().fold(1.0, f32::max);
    let plain = inv_freq(theta, head_dim, &RopeScaling::None);
    let kept = |divisor: f32| (1.0 / f64::from(divisor) - 1.0 / f64::from(factor)) / (1.0 - 1.0 / f64::from(factor));
    let mut between = plain.iter().zip(divisors).filter(|&(_, &divisor)| divisor > 1.0 && divisor < factor);
    let ((&f1, &d1), (&f2, &d2)) = (between.next()?, between.next_back()?);
    let slope = (kept(d1) - kept(d2)) / f64::from(f1 - f2);
    let offset = slope * f64::from(f1) - kept(d1);
    let found = RopeScaling::Llama3 {
        factor,
        low_freq_factor: 1.0,
        // Whole hundredths and positions: what is left of rounding goes.
        high_freq_factor: ((100.0 * (1.0 + 1.0 / offset)).round() / 100.0) as f32,
        original_context: (std::f64::consts::TAU * slope / offset).round() as f32,
    };
    let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * b;
    let wanted = inv_freq(theta, head_dim, &RopeScaling::Divisors(divisors.to_vec()));
    inv_freq(theta, head_dim, &found).iter().zip(&wanted).all(close).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divisors_of_llama_3_are_recognised_and_no_others() {
        for (theta, head_dim, factor, original_context) in [(5e5, 128, 8.0, 8192.0), (5e5, 64, 32.0, 8192.0), (1e4, 16, 8.0, 64.0)] {
            let scaling = RopeScaling::Llama3 { factor, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context };
            let plain = inv_freq(theta, head_dim, &RopeScaling::None);
            let divisors: Vec<f32> = plain.iter().zip(inv_freq(theta, head_dim, &scaling)).map(|(p, s)| p / s).collect();
            assert_eq!(as_llama3(&divisors, theta, head_dim), Some(scaling));
        }
        let longrope: Vec<f32> = (0..64).map(|i| 1.0 + i as f32 / 20.0).collect();
        assert_eq!(as_llama3(&longrope, 5e5, 128), None);
        assert_eq!(as_llama3(&[1.0; 64], 5e5, 128), None);
    }

    #[test]
    fn scalings_divide_the_frequencies() {
        let plain = inv_freq(10_000.0, 8, &RopeScaling::None);
        for (frequency, expected) in plain.iter().zip([1.0, 0.1, 0.01, 0.001]) {
            assert!((frequency / expected - 1.0).abs() < 1e-6, "{frequency} {expected}");
        }
        let halved = inv_freq(10_000.0, 8, &RopeScaling::Linear(2.0));
        assert!(plain.iter().zip(&halved).all(|(p, h)| p / 2.0 == *h));
        let divided = inv_freq(10_000.0, 8, &RopeScaling::Divisors(vec![1.0, 2.0, 4.0, 8.0]));
        assert_eq!((divided[0], divided[3]), (plain[0], plain[3] / 8.0));
    }
}
