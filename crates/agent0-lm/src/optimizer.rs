//! AdamW on an adapter's matrices, with clipping by the global gradient norm.

use agent0_compute::{AdamStep, Compute, adamw, sum_of_squares};
use agent0_engine::{AdamParams, EngineError};

use crate::lora::{LoraGradient, LoraWeights};

/// Moments of every matrix, in the order of [`LoraWeights::matrices_mut`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AdamState {
    pub(crate) first: Vec<Vec<f32>>,
    pub(crate) second: Vec<Vec<f32>>,
    /// Steps taken.
    pub(crate) step: u64,
}

impl AdamState {
    pub(crate) fn new(weights: &LoraWeights) -> Self {
        let zeros: Vec<Vec<f32>> = weights.matrices().map(|m| vec![0.0; m.len()]).collect();
        Self { first: zeros.clone(), second: zeros, step: 0 }
    }

    /// One step on `weights`; returns the gradient's norm before clipping. A gradient that is not finite changes nothing.
    pub(crate) fn step(
        &mut self,
        cx: &Compute,
        weights: &mut LoraWeights,
        gradient: &LoraGradient,
        params: &AdamParams,
    ) -> Result<f64, EngineError> {
        let norm = gradient.matrices.iter().map(|g| sum_of_squares(cx, g)).sum::<f64>().sqrt();
        if !norm.is_finite() {
            return Err(EngineError::NonFinite("the gradient".into()));
        }
        let clip = f64::from(params.max_grad_norm);
        self.step += 1;
        let step = AdamStep {
            learning_rate: params.learning_rate,
            beta1: params.beta1,
            beta2: params.beta2,
            eps: params.eps,
            weight_decay: params.weight_decay,
            grad_scale: if norm > clip { (clip / norm) as f32 } else { 1.0 },
            step: self.step,
        };
        for (((w, g), m), v) in weights.matrices_mut().zip(&gradient.matrices).zip(&mut self.first).zip(&mut self.second) {
            adamw(cx, w, m, v, g, &step);
        }
        weights.changed(cx);
        Ok(norm)
    }
}
