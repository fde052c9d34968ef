//! How the engine divides memory: what is free, what the model must have, what is left for keys and values, for a batch and
//! for training. Allocates nothing.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

use agent0_compute::{Dtype, KV_BLOCK};

use crate::checkpoint::{Tensor, all_tensors};
use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::forward::KvStorage;
use crate::head;
use crate::lora::Site;

/// Prompt tokens read in one step.
pub(crate) const PROMPT_TOKENS: usize = 512;
/// Tokens of keys and values that a sequence gets at most, and those it should have at least, on average.
const AMPLE_TOKENS: usize = 2048;
const FAIR_TOKENS: usize = 1024;
/// Least tokens of keys and values, and least rows of a micro-batch.
const LEAST_TOKENS: usize = 256;
/// Adapters that are allowed for: two, of whose weights there are six copies each (as trained, packed twice, gradient, two moments), and
/// one that is only looked at, which has the first three.
const ADAPTER_COPIES: usize = 2 * 6 + 3;

/// What is asked of the engine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wishes {
    pub(crate) dtype: Dtype,
    /// Longest sequence, in tokens.
    pub(crate) context: usize,
    /// Most sequences sampled at once.
    pub(crate) sequences: usize,
    /// Most memory for keys and values, in bytes; enough for the sequences if `None`.
    pub(crate) kv_bytes: Option<u64>,
    /// Most rows of a training micro-batch.
    pub(crate) micro_tokens: usize,
    /// Rank of the adapters.
    pub(crate) adapter_rank: usize,
}

/// What the engine can have.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    /// Key/value blocks.
    pub(crate) blocks: usize,
    pub(crate) sequences: usize,
    pub(crate) micro_tokens: usize,
    /// Says what was made smaller than wished, and why.
    pub(crate) note: Option<String>,
}

/// Fits the wishes into `free` bytes; all of them where nobody says what is free. A tenth stays for others.
///
/// # Errors
/// Not even the least that the model can work with fits.
pub(crate) fn plan(path: &Path, config: &ModelConfig, wishes: &Wishes, free: Option<u64>) -> Result<Plan, ModelError> {
    let usable = free.map_or(u64::MAX, |free| free - free / 10);
    let rank = wishes.adapter_rank;
    let (block, row) = (KvStorage::block_bytes(config, wishes.dtype), training_row_bytes(config, rank));
    let blocks_of = |tokens: usize| tokens.div_ceil(KV_BLOCK) as u64;
    let fixed = weight_bytes(config, wishes.dtype) + adapter_bytes(config, rank) + sampling_bytes(config, wishes.sequences, rank);
    let (least_blocks, least_rows) = (blocks_of(LEAST_TOKENS.min(wishes.context)), LEAST_TOKENS.min(wishes.micro_tokens));
    let needed = fixed + least_blocks * block + least_rows as u64 * row;
    if needed > usable {
        return Err(ModelError::Memory { path: path.to_owned(), needed: gib(needed + needed / 9), free: gib(free.unwrap_or(0)) });
    }
    let spare = usable - fixed;
    let micro_tokens = ((spare / 2 / row) as usize).clamp(least_rows, wishes.micro_tokens.max(1));
    let left = (spare - micro_tokens as u64 * row) / block;
    let wished = match wishes.kv_bytes {
        Some(bytes) => bytes / block,
        None => blocks_of(wishes.sequences * AMPLE_TOKENS.min(wishes.context)),
    };
    let blocks = wished.min(left).max(least_blocks) as usize;
    let fair = blocks * KV_BLOCK / FAIR_TOKENS.min(wishes.context).max(1);
    let sequences = if wishes.kv_bytes.is_some() { wishes.sequences } else { wishes.sequences.min(fair.max(1)) };

    let mut smaller = Vec::new();
    if sequences < wishes.sequences {
        smaller.push(format!("{sequences} sequences at once instead of {}", wishes.sequences));
    }
    if wishes.kv_bytes.is_some() && wished > left {
        smaller.push(format!("{} GiB of keys and values instead of {}", gib(blocks as u64 * block), gib(wished * block)));
    }
    if blocks * KV_BLOCK < wishes.context {
        smaller.push(format!(
            "sequences of {} tokens at most instead of {}, which can end answers early",
            blocks * KV_BLOCK,
            wishes.context
        ));
    }
    if micro_tokens < wishes.micro_tokens {
        smaller.push(format!("micro-batches of {micro_tokens} rows instead of {}", wishes.micro_tokens));
    }
    let note = (!smaller.is_empty()).then(|| {
        let (free, fixed) = (gib(free.unwrap_or(0)), gib(fixed));
        format!("{free} GiB of memory are free and the model takes {fixed}, hence {}", smaller.join(", "))
    });
    Ok(Plan { blocks, sequences, micro_tokens, note })
}

fn gib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / (1u64 << 30) as f64)
}

/// The frozen weights, and their transposes for the backward pass.
fn weight_bytes(config: &ModelConfig, dtype: Dtype) -> u64 {
    let stored = all_tensors(config).filter(|&tensor| !(config.tied_embedding && tensor == Tensor::Embedding));
    let weights: u64 = stored.map(|tensor| tensor.shape(config).iter().product::<usize>() as u64).sum();
    match dtype {
        Dtype::F32 => weights * (4 + 4),
        Dtype::Bf16 => weights * (2 + 2),
        Dtype::Q8 => weights * (1 + 1) + weights / 8,
    }
}

fn adapter_bytes(config: &ModelConfig, rank: usize) -> u64 {
    let site = |site: &Site| site.linears(config).iter().map(|(_, width)| site.inputs(config) + width).sum::<usize>();
    let layer: usize = Site::ALL.iter().map(site).sum();
    (ADAPTER_COPIES * config.layers * layer * rank * size_of::<f32>()) as u64
}

/// Logits, and the activations of a step's rows.
fn sampling_bytes(config: &ModelConfig, sequences: usize, rank: usize) -> u64 {
    ((PROMPT_TOKENS + sequences) * one_layer(config, rank) * size_of::<f32>() + 2 * head::CHUNK * config.vocab * size_of::<f32>()) as u64
}

/// What a row of a training micro-batch takes: kept of each layer (see `train.rs`), and the gradients of one layer.
fn training_row_bytes(config: &ModelConfig, rank: usize) -> u64 {
    ((config.layers + 2) * one_layer(config, rank) * size_of::<f32>()) as u64
}

/// Numbers of a row's activations in one layer.
fn one_layer(config: &ModelConfig, rank: usize) -> usize {
    2 * config.hidden + Site::Qkv.outputs(config) + 2 * config.ffn + config.heads * (config.head_dim + 1) + 7 * rank
}

/// Memory that this process can still take, in bytes, where the system tells: what the machine has left, and what the control
/// groups that the process is in allow.
pub(crate) fn free_memory() -> Option<u64> {
    let machine = read_to_string("/proc/meminfo").ok().and_then(|text| Some(field(&text, "MemAvailable:")? * 1024));
    let groups = read_to_string("/proc/self/cgroup").ok().and_then(|text| groups_free(Path::new("/sys/fs/cgroup"), &text));
    machine.into_iter().chain(groups).min()
}

/// The number after `name` at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

/// The least that a group of `membership` (the text of /proc/self/cgroup) or one above it leaves. Groups that are not
/// visible from here, as in a container, are passed over; the root of the container's view is looked at in any case.
fn groups_free(root: &Path, membership: &str) -> Option<u64> {
    let group = |line: &str| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let path = Path::new(path.trim_start_matches('/')).to_owned();
        if controllers.is_empty() {
            Some((root.to_owned(), path, ["memory.max", "memory.current", "inactive_file "]))
        } else if controllers.split(',').any(|controller| controller == "memory") {
            Some((root.join("memory"), path, ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "]))
        } else {
            None
        }
    };
    let free =
        |(root, path, names): (PathBuf, PathBuf, [&str; 3])| path.ancestors().filter_map(|path| group_free(&root.join(path), names)).min();
    membership.lines().filter_map(group).filter_map(free).min()
}

/// What one group leaves: its limit less its use. File contents that nobody maps and used lately can be dropped.
fn group_free(folder: &Path, [limit, usage, droppable]: [&str; 3]) -> Option<u64> {
    let number = |name: &str| read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
    let droppable = read_to_string(folder.join("memory.stat")).ok().and_then(|text| field(&text, droppable));
    Some(number(limit)?.saturating_sub(number(usage)?.saturating_sub(droppable.unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Architecture, RopeScaling};

    /// Qwen2.5-0.5B.
    fn config() -> ModelConfig {
        ModelConfig {
            name: "half a billion".into(),
            architecture: Architecture::Qwen2,
            vocab: 151_936,
            tokens: 151_936,
            hidden: 896,
            layers: 24,
            heads: 14,
            kv_heads: 2,
            head_dim: 64,
            ffn: 4864,
            rms_eps: 1e-6,
            rope_theta: 1e6,
            rope_scaling: RopeScaling::None,
            inv_freq: Vec::new(),
            rope_attention_scale: 1.0,
            qkv_bias: true,
            qk_norm: false,
            tied_embedding: true,
            context: 32_768,
            hf_base: None,
        }
    }

    const WISHES: Wishes =
        Wishes { dtype: Dtype::Bf16, context: 8192, sequences: 64, kv_bytes: None, micro_tokens: 2048, adapter_rank: 16 };

    fn planned(free: u64, wishes: Wishes) -> Result<Plan, ModelError> {
        plan(Path::new("m.gguf"), &config(), &wishes, Some(free))
    }

    /// What the plan lets the engine take.
    fn taken(plan: &Plan, dtype: Dtype) -> u64 {
        let c = config();
        let fixed = weight_bytes(&c, dtype) + adapter_bytes(&c, 16) + sampling_bytes(&c, plan.sequences, 16);
        fixed + plan.blocks as u64 * KvStorage::block_bytes(&c, dtype) + plan.micro_tokens as u64 * training_row_bytes(&c, 16)
    }

    #[test]
    fn a_roomy_machine_grants_every_wish_without_a_word() {
        let all = planned(64 << 30, WISHES).unwrap();
        assert_eq!((all.sequences, all.micro_tokens, all.note.clone()), (64, 2048, None));
        assert_eq!(all.blocks, 64 * 2048 / KV_BLOCK);
        assert_eq!(plan(Path::new("m"), &config(), &WISHES, None).unwrap(), all, "where nobody tells what is free");
    }

    #[test]
    fn less_memory_means_less_of_everything_and_a_message() {
        let mut last = u64::MAX;
        for quarters in (13..40).rev() {
            let free = quarters << 28;
            for dtype in [Dtype::F32, Dtype::Bf16, Dtype::Q8] {
                let Ok(plan) = planned(free, Wishes { dtype, ..WISHES }) else {
                    assert!(dtype == Dtype::F32, "{dtype:?} in {quarters} quarters of a GiB");
                    continue;
                };
                assert!(taken(&plan, dtype) <= free, "{dtype:?} in {quarters} quarters of a GiB: {plan:?}");
                let smaller = plan.sequences < 64 || plan.micro_tokens < 2048 || plan.blocks * KV_BLOCK < WISHES.context;
                assert_eq!(plan.note.is_some(), smaller);
                if dtype == Dtype::Bf16 {
                    assert!(taken(&plan, dtype) <= last);
                    last = taken(&plan, dtype);
                }
            }
        }
        let small = planned(13 << 28, WISHES).unwrap();
        assert!(small.sequences < 64 && small.micro_tokens < 2048, "{small:?}");
        let note = small.note.unwrap();
        assert!(
            note.contains("3.2 GiB of memory are free") && note.contains("instead of 64") && note.contains("instead of 2048"),
            "{note}"
        );
        let given = planned(5 << 30, Wishes { kv_bytes: Some(1 << 40), ..WISHES }).unwrap();
        assert!(given.note.unwrap().contains("keys and values instead of 1024.0"));
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_figures() {
        let error = planned(1 << 30, WISHES).unwrap_err().to_string();
        assert!(error.contains("m.gguf") && error.contains("1.0 GiB"), "{error}");
    }

    #[test]
    fn control_groups_of_both_versions_limit_what_is_free() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let free = |membership: &str| groups_free(root.path(), membership);
        assert_eq!(free("0::/a/b\n"), None, "nothing to see");
        write("a/memory.max", "5000\n");
        write("a/memory.current", "3000\n");
        write("a/memory.stat", "anon 2000\ninactive_file 700\n");
        write("a/b/memory.max", "max\n");
        write("a/b/memory.current", "3000\n");
        assert_eq!(free("0::/a/b\n"), Some(2700), "the group above has the limit");
        write("a/b/memory.max", "3100\n");
        assert_eq!(free("0::/a/b\n"), Some(100));
        write("a/b/memory.current", "4000\n");
        assert_eq!(free("0::/a/b\n"), Some(0), "over its limit");

        write("memory/c/memory.limit_in_bytes", "9000");
        write("memory/c/memory.usage_in_bytes", "8000");
        write("memory/c/memory.stat", "total_inactive_file 50");
        assert_eq!(free("9:name=systemd:/x\n4:cpu,memory:/c/hidden\n0::/\n"), Some(1050));
    }
}
