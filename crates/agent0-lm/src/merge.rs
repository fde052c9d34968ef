//! A model with an adapter added to its weights: what a merged export writes. Reads as any other checkpoint does.

use std::ops::Range;

use crate::checkpoint::{Checkpoint, LayerTensor, Tensor};
use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::lora::{LoraWeights, Site};

/// `W + (alpha / rank) B A` in place of every weight `W` that the adapter has a target for.
pub(crate) struct Merged<'a> {
    pub(crate) base: &'a dyn Checkpoint,
    pub(crate) adapter: &'a LoraWeights,
}

impl Checkpoint for Merged<'_> {
    fn config(&self) -> &ModelConfig {
        self.base.config()
    }

    fn read_rows(&self, tensor: Tensor, rows: Range<usize>, out: &mut [f32]) -> Result<(), ModelError> {
        self.base.read_rows(tensor, rows.clone(), out)?;
        if let Tensor::Layer(layer, part) = tensor
            && let Some((site, linear)) = linear(part)
        {
            self.add_update(layer, site, linear, rows, out);
        }
        Ok(())
    }
}

impl Merged<'_> {
    /// Adds the update of some rows, in f32 and in the order in which PEFT does: `B A` first, then its scale, then the weight.
    fn add_update(&self, layer: usize, site: Site, linear: &str, rows: Range<usize>, out: &mut [f32]) {
        let Some(group) = self.adapter.group(layer, site) else { return };
        let Some(index) = group.parts.iter().position(|part| part.name == linear) else { return };
        let (rank, scale, inputs) = (self.adapter.spec.rank, self.adapter.scale(), site.inputs(self.config()));
        let a = &group.a[index * rank * inputs..(index + 1) * rank * inputs];
        let b = &group.parts[index].b[rows.start * rank..rows.end * rank];
        let mut update = vec![0.0; inputs];
        for (b, weights) in b.chunks_exact(rank).zip(out.chunks_exact_mut(inputs)) {
            update.fill(0.0);
            for (b, a) in b.iter().zip(a.chunks_exact(inputs)) {
                update.iter_mut().zip(a).for_each(|(u, a)| *u += b * a);
            }
            weights.iter_mut().zip(&update).for_each(|(w, u)| *w += scale * u);
        }
    }
}

/// The linear layer whose matrix `part` is: where its LoRA lies, and its Hugging Face name.
fn linear(part: LayerTensor) -> Option<(Site, &'static str)> {
    Some(match part {
        LayerTensor::Q => (Site::Qkv, "q_proj"),
        LayerTensor::K => (Site::Qkv, "k_proj"),
        LayerTensor::V => (Site::Qkv, "v_proj"),
        LayerTensor::O => (Site::Output, "o_proj"),
        LayerTensor::Gate => (Site::GateUp, "gate_proj"),
        LayerTensor::Up => (Site::GateUp, "up_proj"),
        LayerTensor::Down => (Site::Down, "down_proj"),
        _ => return None,
    })
}
