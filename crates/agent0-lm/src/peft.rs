//! Adapters on disk: a PEFT folder that `peft` itself loads, with the optimizer's state in a file beside it.
//!
//! `adapter_config.json` and `adapter_model.safetensors` follow PEFT; `optimizer.safetensors` (moments under the same names,
//! the step count in its metadata) is ours. Writes plainly: whoever calls decides where an unfinished folder may stand.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use agent0_compute::Compute;
use agent0_engine::{EngineError, LoraSpec};
use safetensors::tensor::{Dtype as StoredDtype, SafeTensors, TensorView};
use serde_json::{Value, json};

use crate::config::ModelConfig;
use crate::lora::{LoraWeights, Site};
use crate::optimizer::AdamState;

/// The description of an adapter, in its folder.
pub(crate) const CONFIG: &str = "adapter_config.json";
/// The weights of an adapter, in its folder.
pub(crate) const WEIGHTS: &str = "adapter_model.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";

/// Writes the adapter and its optimizer state into `folder`, which is made if need be.
pub(crate) fn save(folder: &Path, config: &ModelConfig, weights: &LoraWeights, optimizer: &AdamState) -> Result<(), EngineError> {
    std::fs::create_dir_all(folder).map_err(|e| failed(folder, e))?;
    let spec = &weights.spec;
    let description = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": config.hf_base.as_deref().unwrap_or(&config.name),
        "r": spec.rank,
        "lora_alpha": spec.alpha,
        "target_modules": spec.targets,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "use_rslora": false,
        "use_dora": false,
        "modules_to_save": null,
    });
    let text = serde_json::to_string_pretty(&description).map_err(|e| failed(&folder.join(CONFIG), e))?;
    write_synced(&folder.join(CONFIG), text.as_bytes())?;

    let current: Vec<&Vec<f32>> = weights.matrices().collect();
    let parts = layout(config, weights);
    let named = |prefix: &str, source: &[&Vec<f32>]| -> Vec<(String, Vec<usize>, Vec<u8>)> {
        parts.iter().map(|p| (format!("{prefix}{}", p.name), p.shape.to_vec(), p.bytes(source))).collect()
    };
    write_tensors(&folder.join(WEIGHTS), named("", &current), [("format".into(), "pt".into())].into())?;
    let first: Vec<&Vec<f32>> = optimizer.first.iter().collect();
    let second: Vec<&Vec<f32>> = optimizer.second.iter().collect();
    let moments = named("first.", &first).into_iter().chain(named("second.", &second)).collect();
    write_tensors(&folder.join(OPTIMIZER), moments, [("step".into(), optimizer.step.to_string())].into())
}

/// Reads the weights of a PEFT folder for this model.
pub(crate) fn load_weights(cx: &Compute, folder: &Path, config: &ModelConfig) -> Result<LoraWeights, EngineError> {
    let spec = read_spec(&folder.join(CONFIG))?;
    let mut weights = LoraWeights::build(cx, config, &spec, |_, _, _, inputs| vec![0.0; spec.rank * inputs]);
    let parts = layout(config, &weights);
    let path = folder.join(WEIGHTS);
    let bytes = std::fs::read(&path).map_err(|e| failed(&path, e))?;
    let stored = SafeTensors::deserialize(&bytes).map_err(|e| failed(&path, e))?;
    {
        let mut matrices: Vec<&mut Vec<f32>> = weights.matrices_mut().collect();
        for part in &parts {
            part.fill(&path, &stored, "", &mut matrices)?;
        }
    }
    // What is not used would be missing from every answer, unnoticed.
    if let Some(other) = stored.names().into_iter().filter(|name| parts.iter().all(|part| part.name != **name)).min() {
        return Err(failed(&path, format!("tensor {other} belongs to none of the linear layers that can have LoRA")));
    }
    weights.changed(cx);
    Ok(weights)
}

/// Reads a PEFT folder for this model, to train on. Without an optimizer file the optimizer starts afresh.
pub(crate) fn load(cx: &Compute, folder: &Path, config: &ModelConfig) -> Result<(LoraWeights, AdamState), EngineError> {
    let weights = load_weights(cx, folder, config)?;
    let parts = layout(config, &weights);
    let mut optimizer = AdamState::new(&weights);
    let path = folder.join(OPTIMIZER);
    if path.exists() {
        let bytes = std::fs::read(&path).map_err(|e| failed(&path, e))?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| failed(&path, e))?;
        let step = header.metadata().as_ref().and_then(|m| m.get("step")).and_then(|s| s.parse().ok());
        optimizer.step = step.ok_or_else(|| failed(&path, "the step count is missing"))?;
        let stored = SafeTensors::deserialize(&bytes).map_err(|e| failed(&path, e))?;
        for (prefix, moments) in [("first.", &mut optimizer.first), ("second.", &mut optimizer.second)] {
            let mut matrices: Vec<&mut Vec<f32>> = moments.iter_mut().collect();
            for part in &parts {
                part.fill(&path, &stored, prefix, &mut matrices)?;
            }
        }
    }
    Ok((weights, optimizer))
}

/// Whether `folder` holds a LoRA adapter that can be read, for whatever model.
pub(crate) fn check(folder: &Path) -> Result<(), EngineError> {
    read_spec(&folder.join(CONFIG))?;
    let path = folder.join(WEIGHTS);
    let bytes = std::fs::read(&path).map_err(|e| failed(&path, e))?;
    SafeTensors::deserialize(&bytes).map(drop).map_err(|e| failed(&path, e))
}

/// PEFT's name and the values of each part of `matrices` (ordered as the adapter's).
#[cfg(test)]
pub(crate) fn named(config: &ModelConfig, weights: &LoraWeights, matrices: &[Vec<f32>]) -> Vec<(String, Vec<f32>)> {
    layout(config, weights).into_iter().map(|p| (p.name.clone(), matrices[p.matrix][p.range()].to_vec())).collect()
}

/// Where one PEFT tensor lives in the adapter's matrices.
struct Part {
    name: String,
    shape: [usize; 2],
    matrix: usize,
    /// First element inside the matrix: parts of a fused site share one stacked `A`.
    offset: usize,
}

impl Part {
    fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.shape[0] * self.shape[1]
    }

    fn bytes(&self, matrices: &[&Vec<f32>]) -> Vec<u8> {
        matrices[self.matrix][self.range()].iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    fn fill(&self, path: &Path, stored: &SafeTensors, prefix: &str, matrices: &mut [&mut Vec<f32>]) -> Result<(), EngineError> {
        let name = format!("{prefix}{}", self.name);
        let tensor = stored.tensor(&name).map_err(|e| failed(path, format!("{name}: {e}")))?;
        if tensor.shape() != self.shape {
            return Err(failed(path, format!("{name} has shape {:?}, this model needs {:?}", tensor.shape(), self.shape)));
        }
        let values = match tensor.dtype() {
            StoredDtype::F32 => tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect::<Vec<_>>(),
            StoredDtype::BF16 => tensor.data().chunks_exact(2).map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            StoredDtype::F16 => tensor.data().chunks_exact(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            other => return Err(failed(path, format!("{name} is stored as {other:?}; F32, BF16 and F16 can be read"))),
        };
        if values.iter().any(|value| !value.is_finite()) {
            return Err(failed(path, format!("{name} holds numbers that are not finite")));
        }
        matrices[self.matrix][self.range()].copy_from_slice(&values);
        Ok(())
    }
}

/// PEFT's name and place of every matrix, in the order of [`LoraWeights::matrices_mut`].
fn layout(config: &ModelConfig, weights: &LoraWeights) -> Vec<Part> {
    let rank = weights.spec.rank;
    let (mut parts, mut matrix) = (Vec::new(), 0);
    for layer in 0..config.layers {
        for site in Site::ALL {
            let Some(group) = weights.group(layer, site) else { continue };
            let inputs = site.inputs(config);
            for (index, part) in group.parts.iter().enumerate() {
                let linear = format!("base_model.model.model.layers.{layer}.{}.{}", site.module(), part.name);
                parts.push(Part { name: format!("{linear}.lora_A.weight"), shape: [rank, inputs], matrix, offset: index * rank * inputs });
                parts.push(Part {
                    name: format!("{linear}.lora_B.weight"),
                    shape: [part.width, rank],
                    matrix: matrix + 1 + index,
                    offset: 0,
                });
            }
            matrix += 1 + group.parts.len();
        }
    }
    parts
}

fn read_spec(path: &Path) -> Result<LoraSpec, EngineError> {
    let text = std::fs::read_to_string(path).map_err(|e| failed(path, e))?;
    let value: Value = serde_json::from_str(&text).map_err(|e| failed(path, e))?;
    if value["peft_type"] != "LORA" {
        return Err(failed(path, "not a LoRA adapter (peft_type)"));
    }
    for feature in ["use_rslora", "use_dora", "fan_in_fan_out"] {
        if value[feature] == true {
            return Err(failed(path, format!("{feature} is not supported")));
        }
    }
    for pattern in ["rank_pattern", "alpha_pattern"] {
        if value[pattern].as_object().is_some_and(|pattern| !pattern.is_empty()) {
            return Err(failed(path, format!("a {pattern} is not supported; one rank and alpha for all layers are")));
        }
    }
    let rank = value["r"].as_u64().filter(|r| (1..=4096).contains(r)).ok_or_else(|| failed(path, "rank r is missing or out of range"))?;
    let alpha = value["lora_alpha"].as_f64().ok_or_else(|| failed(path, "lora_alpha is missing"))?;
    let targets: Option<Vec<String>> =
        value["target_modules"].as_array().map(|a| a.iter().filter_map(|t| t.as_str().map(str::to_owned)).collect());
    let targets = targets.ok_or_else(|| failed(path, "target_modules must be a list of linear layers"))?;
    Ok(LoraSpec { rank: rank as usize, alpha: alpha as f32, targets, seed: 0 })
}

fn write_tensors(path: &Path, tensors: Vec<(String, Vec<usize>, Vec<u8>)>, metadata: HashMap<String, String>) -> Result<(), EngineError> {
    let views: Result<Vec<_>, _> =
        tensors.iter().map(|(name, shape, data)| TensorView::new(StoredDtype::F32, shape.clone(), data).map(|view| (name, view))).collect();
    let views = views.map_err(|e| failed(path, e))?;
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(|e| failed(path, e))?;
    write_synced(path, &bytes)
}

/// Writes a file and forces it to the disk.
fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), EngineError> {
    let write = || -> std::io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|e| failed(path, e))
}

/// An adapter's file that cannot be used.
pub(crate) fn failed(path: &Path, cause: impl ToString) -> EngineError {
    EngineError::Checkpoint { path: path.display().to_string(), cause: cause.to_string() }
}
