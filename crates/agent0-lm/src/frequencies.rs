//! Rotary frequencies of a model and their scaling for longer contexts. Applying them is `agent0-compute`'s part.

/// How the frequencies of pre-training are stretched for a longer context.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RopeScaling {
    /// Not at all.
    None,
    /// All frequencies divided by one factor.
    Linear(f32),
    /// Llama 3: low frequencies divided by `factor`, high ones kept, those between blended.
    Llama3 { factor: f32, low_freq_factor: f32, high_freq_factor: f32, original_context: f32 },
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

#[cfg(test)]
mod tests {
    use super::*;

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
