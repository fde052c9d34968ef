//! LoRA weights: the trainable update on the frozen linear layers, its packed operands and its gradient.
//!
//! A fused linear (q, k and v side by side, or gate and up) carries one [`LoraGroup`] whose parts are its targets. All
//! LoRA products run in f32: an optimiser step is far smaller than bf16 can resolve.
//! Knows nothing of how gradients come about, nor of files.

use std::sync::atomic::{AtomicU64, Ordering};

use agent0_compute::{AlignedBuffer, Compute, Dtype, PackedMatrix, Write, gemm, gemm_tn};
use agent0_engine::LoraSpec;

use crate::config::ModelConfig;
use crate::rng::Stream;

/// The four fused linears of a layer, in forward order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Site {
    Qkv,
    Output,
    GateUp,
    Down,
}

impl Site {
    pub(crate) const ALL: [Site; 4] = [Site::Qkv, Site::Output, Site::GateUp, Site::Down];

    /// Width of the input.
    pub(crate) fn inputs(self, c: &ModelConfig) -> usize {
        match self {
            Site::Qkv | Site::GateUp => c.hidden,
            Site::Output => c.heads * c.head_dim,
            Site::Down => c.ffn,
        }
    }

    /// The linears side by side in the fused output: Hugging Face name and width.
    pub(crate) fn linears(self, c: &ModelConfig) -> Vec<(&'static str, usize)> {
        match self {
            Site::Qkv => {
                vec![("q_proj", c.heads * c.head_dim), ("k_proj", c.kv_heads * c.head_dim), ("v_proj", c.kv_heads * c.head_dim)]
            }
            Site::Output => vec![("o_proj", c.hidden)],
            Site::GateUp => vec![("gate_proj", c.ffn), ("up_proj", c.ffn)],
            Site::Down => vec![("down_proj", c.hidden)],
        }
    }

    /// Width of the fused output.
    pub(crate) fn outputs(self, c: &ModelConfig) -> usize {
        self.linears(c).iter().map(|(_, width)| width).sum()
    }

    /// The module of the layer that owns `linear`, as in Hugging Face checkpoints.
    pub(crate) fn module(self) -> &'static str {
        match self {
            Site::Qkv | Site::Output => "self_attn",
            Site::GateUp | Site::Down => "mlp",
        }
    }
}

/// One target inside a fused linear.
#[derive(Clone)]
pub(crate) struct LoraPart {
    /// Hugging Face name of the linear.
    pub(crate) name: &'static str,
    /// First column of the fused output it adds to.
    pub(crate) column: usize,
    /// Number of columns.
    pub(crate) width: usize,
    /// `B`, `[width, rank]`.
    pub(crate) b: Vec<f32>,
    /// `scale * B`, packed for the forward pass.
    up: PackedMatrix,
}

/// The LoRA of one fused linear.
#[derive(Clone)]
pub(crate) struct LoraGroup {
    pub(crate) parts: Vec<LoraPart>,
    /// The parts' `A` above one another, `[parts * rank, inputs]`.
    pub(crate) a: Vec<f32>,
    inputs: usize,
    down: PackedMatrix,
}

/// All LoRA weights of an adapter; cheap to share, copied when an optimiser step changes them.
#[derive(Clone)]
pub(crate) struct LoraWeights {
    pub(crate) spec: LoraSpec,
    /// `layers * 4` groups, layer by layer in the order of [`Site::ALL`]; `None` where the site has no target.
    pub(crate) groups: Vec<Option<LoraGroup>>,
    /// Differs for every state of every adapter in this process: names what a key/value block was computed with.
    pub(crate) version: u64,
}

static NEXT_VERSION: AtomicU64 = AtomicU64::new(1);

impl LoraWeights {
    /// A fresh adapter: `A` uniform in `+-1/sqrt(inputs)` (Kaiming with a = sqrt(5), as PEFT does), `B` zero.
    pub(crate) fn new(cx: &Compute, config: &ModelConfig, spec: &LoraSpec) -> Self {
        let (stream, mut drawn) = (Stream::new(spec.seed), 0u64);
        Self::build(cx, config, spec, |_, _, _, inputs| {
            let bound = 1.0 / (inputs as f32).sqrt();
            let first = drawn;
            drawn += (spec.rank * inputs) as u64;
            (first..drawn).map(|i| (stream.uniform(i) as f32 * 2.0 - 1.0) * bound).collect()
        })
    }

    /// An adapter with `B` zero and `A` as `initial_a(layer, site, name, inputs)` gives it, `[rank, inputs]`.
    pub(crate) fn build(
        cx: &Compute,
        config: &ModelConfig,
        spec: &LoraSpec,
        mut initial_a: impl FnMut(usize, Site, &'static str, usize) -> Vec<f32>,
    ) -> Self {
        let mut groups = Vec::with_capacity(config.layers * 4);
        for layer in 0..config.layers {
            for site in Site::ALL {
                let inputs = site.inputs(config);
                let (mut parts, mut a, mut column) = (Vec::new(), Vec::new(), 0);
                for (name, width) in site.linears(config) {
                    if spec.targets.iter().any(|target| target == name) {
                        a.extend(initial_a(layer, site, name, inputs));
                        let b = vec![0.0; width * spec.rank];
                        let up = PackedMatrix::pack(cx, &b, width, spec.rank, spec.rank, 1, 1.0, Dtype::F32);
                        parts.push(LoraPart { name, column, width, b, up });
                    }
                    column += width;
                }
                groups.push((!parts.is_empty()).then(|| {
                    let down = PackedMatrix::pack(cx, &a, parts.len() * spec.rank, inputs, inputs, 1, 1.0, Dtype::F32);
                    LoraGroup { parts, a, inputs, down }
                }));
            }
        }
        Self { spec: spec.clone(), groups, version: NEXT_VERSION.fetch_add(1, Ordering::Relaxed) }
    }

    /// `alpha / rank`.
    pub(crate) fn scale(&self) -> f32 {
        self.spec.alpha / self.spec.rank as f32
    }

    pub(crate) fn group(&self, layer: usize, site: Site) -> Option<&LoraGroup> {
        self.groups[layer * 4 + site as usize].as_ref()
    }

    /// Packs the operands anew after `A` or `B` changed.
    pub(crate) fn changed(&mut self, cx: &Compute) {
        self.version = NEXT_VERSION.fetch_add(1, Ordering::Relaxed);
        let (rank, scale) = (self.spec.rank, self.scale());
        for group in self.groups.iter_mut().flatten() {
            group.down.repack(cx, &group.a, group.inputs, 1, 1.0);
            for part in &mut group.parts {
                part.up.repack(cx, &part.b, rank, 1, scale);
            }
        }
    }

    /// The trainable matrices in a fixed order: each group's stacked `A`, then each part's `B`.
    pub(crate) fn matrices_mut(&mut self) -> impl Iterator<Item = &mut Vec<f32>> {
        self.groups.iter_mut().flatten().flat_map(|g| std::iter::once(&mut g.a).chain(g.parts.iter_mut().map(|p| &mut p.b)))
    }

    /// The same matrices, to read.
    pub(crate) fn matrices(&self) -> impl Iterator<Item = &Vec<f32>> {
        self.groups.iter().flatten().flat_map(|g| std::iter::once(&g.a).chain(g.parts.iter().map(|p| &p.b)))
    }

    /// Adds the update of a site to its output: `y += scale * B A x`, for `rows` rows.
    ///
    /// `x [rows, ..]` with stride `ldx`, `y [rows, ..]` with stride `ldy`; `z` becomes `A x`, `[rows, parts * rank]`.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn apply(
        &self,
        cx: &Compute,
        layer: usize,
        site: Site,
        rows: usize,
        x: &[f32],
        ldx: usize,
        y: &mut [f32],
        ldy: usize,
        z: &mut AlignedBuffer,
    ) {
        let Some(group) = self.group(layer, site) else { return };
        let ldz = group.parts.len() * self.spec.rank;
        z.resize(rows * ldz);
        gemm(cx, rows, x, ldx, &group.down, z, ldz, Write::Set);
        for (index, part) in group.parts.iter().enumerate() {
            gemm(cx, rows, &z[index * self.spec.rank..], ldz, &part.up, &mut y[part.column..], ldy, Write::Add);
        }
    }
}

/// The transposed operands of the backward pass, packed when the weights have changed.
#[derive(Default)]
pub(crate) struct LoraBackward {
    groups: Vec<Option<GroupBackward>>,
    /// [`LoraWeights::version`] of what is packed; 0 at first, which no weights have.
    version: u64,
}

struct GroupBackward {
    /// `A^T`, `[inputs, parts * rank]`.
    down: PackedMatrix,
    /// `(scale * B)^T` of each part, `[rank, width]`.
    up: Vec<PackedMatrix>,
}

impl LoraBackward {
    /// Packs the operands of `weights`, unless it holds them already.
    pub(crate) fn update(&mut self, cx: &Compute, weights: &LoraWeights) {
        if self.version == weights.version {
            return;
        }
        let (rank, scale) = (weights.spec.rank, weights.scale());
        let transpose = |group: &LoraGroup| GroupBackward {
            down: PackedMatrix::pack(cx, &group.a, group.inputs, group.parts.len() * rank, 1, group.inputs, 1.0, Dtype::F32),
            up: group.parts.iter().map(|p| PackedMatrix::pack(cx, &p.b, rank, p.width, 1, rank, scale, Dtype::F32)).collect(),
        };
        self.groups = weights.groups.iter().map(|g| g.as_ref().map(transpose)).collect();
        self.version = weights.version;
    }
}

/// Gradient of every LoRA matrix, summed over calls until the optimiser takes it.
#[derive(Clone)]
pub(crate) struct LoraGradient {
    /// In the order of [`LoraWeights::matrices_mut`].
    pub(crate) matrices: Vec<Vec<f32>>,
    /// Index of each group's `A` in `matrices`; its parts' `B` follow.
    first: Vec<usize>,
}

impl LoraGradient {
    pub(crate) fn zeros(weights: &LoraWeights) -> Self {
        let mut next = 0;
        let mut first = Vec::with_capacity(weights.groups.len());
        for group in &weights.groups {
            first.push(next);
            next += group.as_ref().map_or(0, |g| 1 + g.parts.len());
        }
        Self { matrices: weights.matrices().map(|m| vec![0.0; m.len()]).collect(), first }
    }

    pub(crate) fn clear(&mut self) {
        self.matrices.iter_mut().for_each(|m| m.fill(0.0));
    }
}

/// One site's update in a backward pass: `y += scale * B z`, `z = A x`.
pub(crate) struct SiteBackward<'a> {
    pub(crate) cx: &'a Compute,
    pub(crate) weights: &'a LoraWeights,
    pub(crate) operands: &'a LoraBackward,
    pub(crate) layer: usize,
    pub(crate) site: Site,
    pub(crate) rows: usize,
    /// `A x` from the forward pass, `[rows, parts * rank]`.
    pub(crate) z: &'a [f32],
    /// Gradient of `z`, between the two calls below.
    pub(crate) dz: &'a mut AlignedBuffer,
}

impl SiteBackward<'_> {
    /// `dz = scale * dy B` and `dx += dz A`, for `dy [rows, outputs]` and `dx [rows, inputs]`.
    pub(crate) fn input(&mut self, dy: &[f32], dx: &mut [f32]) {
        let index = self.layer * 4 + self.site as usize;
        let (Some(group), Some(transposed)) = (&self.weights.groups[index], &self.operands.groups[index]) else { return };
        let (rank, ldz) = (self.weights.spec.rank, group.parts.len() * self.weights.spec.rank);
        let ldy = dy.len() / self.rows;
        self.dz.resize(self.rows * ldz);
        for (p, (part, up)) in group.parts.iter().zip(&transposed.up).enumerate() {
            gemm(self.cx, self.rows, &dy[part.column..], ldy, up, &mut self.dz[p * rank..], ldz, Write::Set);
        }
        gemm(self.cx, self.rows, self.dz, ldz, &transposed.down, dx, group.inputs, Write::Add);
    }

    /// After [`SiteBackward::input`]: `dB += scale * dy^T z` and `dA += dz^T x`, for the site's input `x [rows, inputs]`.
    pub(crate) fn weights(&self, x: &[f32], dy: &[f32], gradient: &mut LoraGradient) {
        let index = self.layer * 4 + self.site as usize;
        let Some(group) = &self.weights.groups[index] else { return };
        let (rank, scale, ldz) = (self.weights.spec.rank, self.weights.scale(), group.parts.len() * self.weights.spec.rank);
        let (cx, rows, ldy) = (self.cx, self.rows, dy.len() / self.rows);
        let first = gradient.first[index];
        for (p, part) in group.parts.iter().enumerate() {
            let db = &mut gradient.matrices[first + 1 + p];
            gemm_tn(cx, rows, &dy[part.column..], ldy, part.width, &self.z[p * rank..], ldz, rank, scale, db, rank);
        }
        gemm_tn(cx, rows, self.dz, ldz, ldz, x, group.inputs, group.inputs, 1.0, &mut gradient.matrices[first], group.inputs);
    }
}
