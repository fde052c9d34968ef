//! Continuous batching: many continuations, one forward pass a step.
//!
//! A step takes every decoding sequence's newest token and a bounded number of prompt tokens of sequences that are still
//! being read, runs them as one batch, and draws a token wherever a sequence's last row was computed. A sequence waits
//! while blocks are short, or while another is computing the very prefix it needs. When a running sequence finds no block,
//! the youngest is put back to waiting and computed again later. None of this shows in results: rows do not depend on their
//! batch, and random numbers on their sequence and index only.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use agent0_compute::{Compute, KV_BLOCK, TokenTerm, log_softmax_stats, rms_norm};
use agent0_engine::{EngineError, SampleRequest, Sampled, SamplingParams, StopReason, StopState, TokenId};
use tokio::sync::oneshot;

use crate::forward::{Activations, Batch, KvStorage, Row};
use crate::head::{CHUNK, Head};
use crate::kv::{BlockPool, Parent};
use crate::lora::LoraWeights;
use crate::model::Model;
use crate::rng::Stream;
use crate::sampler::draw;

pub(crate) type SampleReply = oneshot::Sender<Result<Vec<Sampled>, EngineError>>;

/// Bounds of a step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Most sequences in flight at once.
    pub(crate) sequences: usize,
    /// Most prompt tokens read in one step.
    pub(crate) prompt_tokens: usize,
}

/// A request in flight: its answers so far.
struct Request {
    reply: SampleReply,
    finished: Vec<Option<Sampled>>,
}

/// One continuation.
struct Sequence {
    request: u64,
    /// Which of the request's continuations.
    index: usize,
    params: Arc<SamplingParams>,
    weights: Option<Arc<LoraWeights>>,
    /// Prompt, then sampled ids.
    tokens: Vec<TokenId>,
    prompt: usize,
    /// Most tokens it may come to hold.
    limit: usize,
    logprobs: Vec<f32>,
    stream: Stream,
    stop: Option<Box<dyn StopState>>,
    /// Blocks of keys and values; `computed` tokens are in them.
    blocks: Vec<u32>,
    computed: usize,
    /// What the first block that is not registered yet follows.
    parent: Parent,
}

impl Sequence {
    /// Tokens of the first full block that is not registered yet, if the sequence is that long.
    fn next_block(&self) -> Option<&[TokenId]> {
        let first = self.computed / KV_BLOCK * KV_BLOCK;
        self.tokens.get(first..first + KV_BLOCK)
    }

    fn root(&self) -> Parent {
        Parent::Weights(version(&self.weights))
    }

    /// Whether the newest token ends the continuation, and why.
    fn finished(&mut self) -> Option<StopReason> {
        let sampled = &self.tokens[self.prompt..];
        let newest = *sampled.last()?;
        let by_rule = self.stop.as_mut().is_some_and(|s| s.push(newest));
        if self.params.stop_tokens.contains(&newest) {
            Some(StopReason::StopToken)
        } else if self.params.stop_sequences.iter().any(|s| !s.is_empty() && sampled.ends_with(s)) {
            Some(StopReason::StopSequence)
        } else if by_rule {
            Some(StopReason::StopRule)
        } else if self.tokens.len() >= self.limit {
            Some(StopReason::Length)
        } else {
            None
        }
    }
}

/// Everything sampled from one model.
pub(crate) struct Scheduler {
    limits: Limits,
    pool: BlockPool,
    storage: KvStorage,
    waiting: VecDeque<Sequence>,
    /// In the order they were admitted.
    running: Vec<Sequence>,
    requests: BTreeMap<u64, Request>,
    next_request: u64,
    activations: Activations,
    head: Head,
    hidden: Vec<f32>,
}

impl Scheduler {
    pub(crate) fn new(model: &Model, blocks: usize, limits: Limits) -> Self {
        Self {
            limits,
            pool: BlockPool::new(blocks),
            storage: KvStorage::new(model, blocks),
            waiting: VecDeque::new(),
            running: Vec::new(),
            requests: BTreeMap::new(),
            next_request: 0,
            activations: Activations::default(),
            head: Head::default(),
            hidden: Vec::new(),
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Longest sequence that the blocks can hold.
    pub(crate) fn capacity(&self) -> usize {
        self.pool.len() * KV_BLOCK
    }

    /// Queues a request whose prompt is valid and shorter than `longest` tokens.
    pub(crate) fn submit(&mut self, request: SampleRequest, weights: Option<Arc<LoraWeights>>, longest: usize, reply: SampleReply) {
        let id = self.next_request;
        self.next_request += 1;
        self.requests.insert(id, Request { reply, finished: vec![None; request.n] });
        let params = Arc::new(request.params);
        for index in 0..request.n {
            let mut sequence = Sequence {
                request: id,
                index,
                params: params.clone(),
                weights: weights.clone(),
                prompt: request.prompt.len(),
                limit: longest.min(request.prompt.len() + params.max_tokens),
                tokens: request.prompt.clone(),
                logprobs: Vec::new(),
                stream: Stream::of_sequence(params.seed, index),
                stop: params.stop_rule.as_ref().map(|rule| rule.start()),
                blocks: Vec::new(),
                computed: 0,
                parent: Parent::Weights(0),
            };
            sequence.parent = sequence.root();
            self.waiting.push_back(sequence);
        }
    }

    /// Admits what fits, runs one batch and draws the next tokens.
    pub(crate) fn step(&mut self, cx: &Compute, model: &Model) {
        self.drop_cancelled();
        self.admit();
        let spans = self.plan();
        if spans.is_empty() {
            return;
        }
        let drawn = self.run(cx, model, &spans);
        self.account(&spans, &drawn);
    }

    /// Forgets continuations nobody waits for any more.
    fn drop_cancelled(&mut self) {
        let gone: Vec<u64> = self.requests.iter().filter(|(_, r)| r.reply.is_closed()).map(|(&id, _)| id).collect();
        if gone.is_empty() {
            return;
        }
        self.requests.retain(|id, _| !gone.contains(id));
        self.waiting.retain(|s| !gone.contains(&s.request));
        for sequence in std::mem::take(&mut self.running) {
            if gone.contains(&sequence.request) {
                self.pool.release(&sequence.blocks);
            } else {
                self.running.push(sequence);
            }
        }
    }

    /// Moves waiting sequences to running, in order, passing over those that wait for another's prefix.
    fn admit(&mut self) {
        let mut index = 0;
        while index < self.waiting.len() && self.running.len() < self.limits.sequences {
            if self.waits_for_prefix(index) {
                index += 1;
                continue;
            }
            let wanted = self.waiting[index].tokens.len() / KV_BLOCK + 1;
            let (blocks, parent) = self.cached_prefix(index);
            blocks.iter().for_each(|&block| self.pool.retain(block));
            if self.pool.available() + blocks.len() < wanted {
                self.pool.release(&blocks);
                break;
            }
            if let Some(mut sequence) = self.waiting.remove(index) {
                sequence.computed = blocks.len() * KV_BLOCK;
                sequence.blocks = blocks;
                sequence.parent = parent;
                self.running.push(sequence);
            }
        }
    }

    /// The longest cached prefix of a waiting sequence that leaves at least its last token to compute.
    fn cached_prefix(&self, index: usize) -> (Vec<u32>, Parent) {
        let sequence = &self.waiting[index];
        let (mut blocks, mut parent) = (Vec::new(), sequence.root());
        let usable = sequence.tokens.len() - 1;
        for tokens in sequence.tokens[..usable].chunks_exact(KV_BLOCK) {
            let Some((block, next)) = self.pool.find(parent, tokens) else { break };
            blocks.push(block);
            parent = next;
        }
        (blocks, parent)
    }

    /// Whether a running sequence is computing the next block that this waiting one needs.
    fn waits_for_prefix(&self, index: usize) -> bool {
        let (blocks, parent) = self.cached_prefix(index);
        let sequence = &self.waiting[index];
        let first = blocks.len() * KV_BLOCK;
        let usable = &sequence.tokens[..sequence.tokens.len() - 1];
        let Some(tokens) = usable.get(first..first + KV_BLOCK) else { return false };
        self.running.iter().any(|r| r.computed < r.prompt && r.parent == parent && r.next_block() == Some(tokens))
    }

    /// Chooses each running sequence's tokens for this step and gives it blocks for them: index into `running`, tokens.
    /// Sorted so that rows under the same weights stand together.
    fn plan(&mut self) -> Vec<(usize, Range<usize>)> {
        let mut prompt_budget = self.limits.prompt_tokens;
        let mut spans = Vec::new();
        let mut index = 0;
        while index < self.running.len() {
            let sequence = &self.running[index];
            let pending = sequence.tokens.len() - sequence.computed;
            let take = if pending == 1 { 1 } else { pending.min(prompt_budget) };
            if take == 0 {
                index += 1;
                continue;
            }
            let end = sequence.computed + take;
            if !self.provide_blocks(index, end.div_ceil(KV_BLOCK)) {
                // The sequence itself was put back; whoever is at this index now is next.
                continue;
            }
            if pending > 1 {
                prompt_budget -= take;
            }
            spans.push((index, self.running[index].computed..end));
            index += 1;
        }
        spans.sort_by_key(|&(index, _)| (version(&self.running[index].weights), index));
        spans
    }

    /// Gives the sequence at `index` blocks up to `count`, putting younger sequences back if it must. False when the
    /// sequence itself was put back.
    fn provide_blocks(&mut self, index: usize, count: usize) -> bool {
        while self.running[index].blocks.len() < count {
            if let Some(block) = self.pool.allocate() {
                self.running[index].blocks.push(block);
                continue;
            }
            let youngest = self.running.len() - 1;
            let mut sequence = self.running.remove(youngest);
            self.pool.release(&sequence.blocks);
            sequence.blocks.clear();
            sequence.computed = 0;
            sequence.parent = sequence.root();
            self.waiting.push_front(sequence);
            if youngest == index {
                return false;
            }
        }
        true
    }

    /// Runs the batch. Returns, for each span that reaches its sequence's end, the drawn id and its log-probability.
    fn run(&mut self, cx: &Compute, model: &Model, spans: &[(usize, Range<usize>)]) -> Vec<Option<(TokenId, f32)>> {
        let (running, activations) = (&mut self.running, &mut self.activations);
        let mut uniforms = Vec::new();
        let mut last_rows = Vec::new();
        let mut rows = Vec::new();
        for (at, (index, span)) in spans.iter().enumerate() {
            let sequence = &mut running[*index];
            let row = |p: usize, s: &Sequence| Row { token: s.tokens[p], sequence: at as u32, position: p as u32 };
            rows.extend(span.clone().map(|p| row(p, sequence)));
            if span.end == sequence.tokens.len() {
                last_rows.push((at, rows.len() - 1));
                // Draw number i of a sequence belongs to its i-th token, whatever happened to it on the way.
                uniforms.push(sequence.stream.uniform(sequence.logprobs.len() as u64));
            }
        }
        let batch = Batch {
            rows,
            tables: spans.iter().map(|(index, _)| running[*index].blocks.as_slice()).collect(),
            adapters: adapter_ranges(running, spans),
        };
        activations.begin(model, &batch);
        for (index, storage) in self.storage.layers.iter_mut().enumerate() {
            activations.layer(cx, model, index, &batch, storage);
        }

        let width = model.config.hidden;
        let picked: Vec<f32> = last_rows.iter().flat_map(|&(_, row)| &activations.x[row * width..][..width]).copied().collect();
        self.hidden.resize(picked.len(), 0.0);
        rms_norm(cx, last_rows.len(), &picked, width, &model.final_norm, model.config.rms_eps, &mut self.hidden);
        let mut drawn = vec![None; spans.len()];
        for (chunk, hidden) in self.hidden.chunks(CHUNK * width).enumerate() {
            let count = hidden.len() / width;
            let first = chunk * CHUNK;
            let logits = self.head.logits(cx, model, count, hidden);
            let params: Vec<&SamplingParams> =
                last_rows[first..first + count].iter().map(|&(at, _)| running[spans[at].0].params.as_ref()).collect();
            let ids = draw_rows(cx, model, logits, &params, &uniforms[first..first + count]);
            let mut terms = vec![TokenTerm::default(); count];
            log_softmax_stats(cx, count, logits, model.config.vocab, model.config.vocab, &ids, &mut terms);
            for (i, (id, term)) in ids.iter().zip(&terms).enumerate() {
                drawn[last_rows[first + i].0] = Some((*id, term.logprob));
            }
        }
        drawn
    }

    /// Books the step: registers filled blocks, appends drawn tokens, answers what is finished.
    fn account(&mut self, spans: &[(usize, Range<usize>)], drawn: &[Option<(TokenId, f32)>]) {
        let mut done = Vec::new();
        for ((index, span), drawn) in spans.iter().zip(drawn) {
            let sequence = &mut self.running[*index];
            for block in span.start / KV_BLOCK..span.end / KV_BLOCK {
                let tokens = &sequence.tokens[block * KV_BLOCK..(block + 1) * KV_BLOCK];
                sequence.parent = self.pool.register(sequence.parent, tokens, sequence.blocks[block]);
            }
            sequence.computed = span.end;
            if let Some((id, logprob)) = drawn {
                sequence.tokens.push(*id);
                sequence.logprobs.push(*logprob);
                if let Some(stop) = sequence.finished() {
                    done.push((*index, stop));
                }
            }
        }
        done.sort_unstable_by_key(|&(index, _)| std::cmp::Reverse(index));
        for (index, stop) in done {
            let sequence = self.running.remove(index);
            self.pool.release(&sequence.blocks);
            self.finish(sequence, stop);
        }
    }

    fn finish(&mut self, mut sequence: Sequence, stop: StopReason) {
        let Some(request) = self.requests.get_mut(&sequence.request) else { return };
        let ids = sequence.tokens.split_off(sequence.prompt);
        request.finished[sequence.index] = Some(Sampled { ids, logprobs: sequence.logprobs, stop });
        if request.finished.iter().all(Option::is_some)
            && let Some(request) = self.requests.remove(&sequence.request)
        {
            // A closed receiver means the caller has gone; there is nobody to tell.
            let _ = request.reply.send(Ok(request.finished.into_iter().flatten().collect()));
        }
    }
}

/// Version of a sequence's weights; 0 for the bare base.
fn version(weights: &Option<Arc<LoraWeights>>) -> u64 {
    weights.as_ref().map_or(0, |w| w.version)
}

/// Consecutive rows under the same weights.
fn adapter_ranges(running: &[Sequence], spans: &[(usize, Range<usize>)]) -> Vec<(Range<usize>, Option<Arc<LoraWeights>>)> {
    let mut ranges: Vec<(Range<usize>, Option<Arc<LoraWeights>>)> = Vec::new();
    let mut row = 0;
    for (index, span) in spans {
        let sequence = &running[*index];
        match ranges.last_mut() {
            Some((range, weights)) if version(weights) == version(&sequence.weights) => range.end += span.len(),
            _ => ranges.push((row..row + span.len(), sequence.weights.clone())),
        }
        row += span.len();
    }
    ranges
}

/// Draws one id from each row of logits.
fn draw_rows(cx: &Compute, model: &Model, logits: &[f32], params: &[&SamplingParams], uniforms: &[f64]) -> Vec<TokenId> {
    let ids: Vec<AtomicU32> = params.iter().map(|_| AtomicU32::new(0)).collect();
    let (vocab, real) = (model.config.vocab, model.config.tokens);
    cx.run(params.len(), &|i| {
        let row = &logits[i * vocab..][..real];
        ids[i].store(draw(row, params[i], uniforms[i]), Ordering::Relaxed);
    });
    ids.into_iter().map(AtomicU32::into_inner).collect()
}
