//! Continuous batching: many continuations, one forward pass a step.
//!
//! A step takes every decoding sequence's newest token and a bounded number of prompt tokens of sequences that are still
//! being read, runs them as one batch, and draws a token wherever a sequence's last row was computed. A sequence waits
//! while blocks are short, or while another is computing the very prefix it needs. When a running sequence finds no block,
//! the youngest is put back to waiting and computed again later. None of this shows in results: rows do not depend on their
//! batch, and random numbers on their sequence and index only. `docs/scheduling.md` tells the same at more length.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use agent0_compute::{Compute, KV_BLOCK, TokenTerm, log_softmax_stats, rms_norm};
use agent0_engine::{EngineError, SampleRequest, Sampled, SamplingParams, StopReason, StopState, TokenId};
use tokio::sync::oneshot;

use crate::forward::{Activations, Batch, KvStorage, Row};
use crate::head::{CHUNK, Head};
use crate::kv::{BlockPool, Parent};
use crate::lora::LoraWeights;
use crate::micro_batch::common_blocks;
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

/// A continuation's name: its request, and which of the request's continuations it is.
type SequenceId = (u64, usize);

/// One continuation.
struct Sequence {
    id: SequenceId,
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
    /// While waiting: the sequence that is reading a prefix of this one, and how many tokens of it.
    behind: Option<(SequenceId, usize)>,
}

impl Sequence {
    /// The tokens whose keys and values may come from the cache: all but the last, whose row must be computed.
    fn cacheable(&self) -> &[TokenId] {
        &self.tokens[..self.tokens.len() - 1]
    }

    /// Whether more than the newest token is still to be computed.
    fn is_reading(&self) -> bool {
        self.computed + 1 < self.tokens.len()
    }

    /// Blocks for its tokens and the next one.
    fn wanted_blocks(&self) -> usize {
        self.tokens.len() / KV_BLOCK + 1
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
                id: (id, index),
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
                behind: None,
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
        self.waiting.retain(|s| !gone.contains(&s.id.0));
        for sequence in std::mem::take(&mut self.running) {
            if gone.contains(&sequence.id.0) {
                self.pool.release(&sequence.blocks);
            } else {
                self.running.push(sequence);
            }
        }
    }

    /// Moves waiting sequences to running, in order, passing over those whose prefix a running one is reading.
    ///
    /// Beside those that are running a sequence is admitted only when there are blocks for everyone's tokens and one more
    /// for each: who was put back for want of memory does not come back at once to be put back again.
    fn admit(&mut self) {
        let lacking = |s: &Sequence| (s.wanted_blocks() + 1).saturating_sub(s.blocks.len());
        let mut promised: usize = self.running.iter().map(lacking).sum();
        let mut reading: BTreeMap<SequenceId, usize> =
            self.running.iter().enumerate().filter(|(_, s)| s.is_reading()).map(|(at, s)| (s.id, at)).collect();
        let mut index = 0;
        while index < self.waiting.len() && self.running.len() < self.limits.sequences {
            if self.is_behind(index, &reading) {
                index += 1;
                continue;
            }
            let (blocks, parent) = self.cached_prefix(index);
            let sequence = &self.waiting[index];
            let wanted = if self.running.is_empty() { sequence.wanted_blocks() } else { sequence.wanted_blocks() + 1 + promised };
            blocks.iter().for_each(|&block| self.pool.retain(block));
            if self.pool.available() + blocks.len() < wanted {
                self.pool.release(&blocks);
                break;
            }
            let Some(mut sequence) = self.waiting.remove(index) else { break };
            sequence.computed = blocks.len() * KV_BLOCK;
            sequence.blocks = blocks;
            sequence.parent = parent;
            promised += lacking(&sequence);
            if sequence.is_reading() {
                reading.insert(sequence.id, self.running.len());
            }
            self.running.push(sequence);
        }
    }

    /// The longest cached prefix of a waiting sequence that leaves at least its last token to compute.
    fn cached_prefix(&self, index: usize) -> (Vec<u32>, Parent) {
        let sequence = &self.waiting[index];
        let (mut blocks, mut parent) = (Vec::new(), sequence.root());
        for tokens in sequence.cacheable().chunks_exact(KV_BLOCK) {
            let Some((block, next)) = self.pool.find(parent, tokens) else { break };
            blocks.push(block);
            parent = next;
        }
        (blocks, parent)
    }

    /// Whether a running sequence is still reading a prefix of this waiting one. Whom it waits for is looked for once, not
    /// in every step. `reading` says where in `running` the candidates are.
    fn is_behind(&mut self, index: usize, reading: &BTreeMap<SequenceId, usize>) -> bool {
        if let Some((leader, shared)) = self.waiting[index].behind
            && let Some(&at) = reading.get(&leader)
        {
            return self.running[at].computed < shared;
        }
        if reading.is_empty() {
            return false;
        }
        let cached = self.cached_prefix(index).0.len() * KV_BLOCK;
        let sequence = &self.waiting[index];
        let leader = reading.values().map(|&at| &self.running[at]).find_map(|leader| {
            let same_weights = version(&leader.weights) == version(&sequence.weights);
            let shared = if same_weights { KV_BLOCK * common_blocks(&leader.tokens, sequence.cacheable()) } else { 0 };
            (shared > cached.max(leader.computed)).then_some((leader.id, shared))
        });
        self.waiting[index].behind = leader;
        leader.is_some()
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
            sequence.behind = None;
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
        activations.begin(cx, model, &batch);
        let wanted: Vec<usize> = last_rows.iter().map(|&(_, row)| row).collect();
        if let Some((last, layers)) = self.storage.layers.split_last_mut() {
            for (index, storage) in layers.iter_mut().enumerate() {
                activations.layer(cx, model, index, &batch, storage);
            }
            activations.last_layer(cx, model, &batch, last, &wanted);
        }

        let width = model.config.hidden;
        self.hidden.resize(wanted.len() * width, 0.0);
        rms_norm(cx, wanted.len(), &activations.x, width, &model.final_norm, model.config.rms_eps, &mut self.hidden);
        let mut drawn = vec![None; spans.len()];
        let chunks = self.hidden.chunks(CHUNK * width).zip(last_rows.chunks(CHUNK)).zip(uniforms.chunks(CHUNK));
        for ((hidden, last_rows), uniforms) in chunks {
            let logits = self.head.logits(cx, model, last_rows.len(), hidden);
            let params: Vec<&SamplingParams> = last_rows.iter().map(|&(at, _)| running[spans[at].0].params.as_ref()).collect();
            for (&(at, _), token) in last_rows.iter().zip(draw_rows(cx, model, logits, &params, uniforms)) {
                drawn[at] = token;
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
                if let Some(on_token) = &sequence.params.on_token {
                    on_token(sequence.id.1, *id, *logprob);
                }
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
        let (request_id, index) = sequence.id;
        let Some(request) = self.requests.get_mut(&request_id) else { return };
        let ids = sequence.tokens.split_off(sequence.prompt);
        request.finished[index] = Some(Sampled { ids, logprobs: sequence.logprobs, stop });
        if request.finished.iter().all(Option::is_some)
            && let Some(request) = self.requests.remove(&request_id)
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

/// Draws one id from each row of logits and scores it; a row is drawn from and scored while it is in cache.
fn draw_rows(
    cx: &Compute,
    model: &Model,
    logits: &[f32],
    params: &[&SamplingParams],
    uniforms: &[f64],
) -> impl Iterator<Item = Option<(TokenId, f32)>> {
    let drawn: Vec<OnceLock<(TokenId, f32)>> = params.iter().map(|_| OnceLock::new()).collect();
    let (vocab, real) = (model.config.vocab, model.config.tokens);
    cx.run(params.len(), &|i| {
        let row = &logits[i * vocab..][..vocab];
        let id = draw(cx, &row[..real], params[i], uniforms[i]);
        let mut term = [TokenTerm::default()];
        log_softmax_stats(cx, 1, row, vocab, vocab, &[id], 1.0 / params[i].scored_at(), &mut term);
        drawn[i].get_or_init(|| (id, term[0].logprob));
    });
    drawn.into_iter().map(OnceLock::into_inner)
}
