//! Attention at the shape of a decoder of half a billion parameters: 14 query heads, 2 key/value heads, 64 wide. Throughput
//! is in operations of scores and values; masked ones are not counted.

use std::hint::black_box;
use std::time::Duration;

use agent0_compute::{AttendRow, Compute, KV_BLOCK, KvBlocks, KvFormat, KvShape, Segment, attention, attention_backward};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const HEADS: usize = 14;
const SHAPE: KvShape = KvShape { kv_heads: 2, head_dim: 64 };
const WIDTH: usize = HEADS * SHAPE.head_dim;
const KV_WIDTH: usize = SHAPE.kv_heads * SHAPE.head_dim;

/// Operations of so many pairs of a query row and a key.
fn operations(pairs: usize) -> Throughput {
    Throughput::Elements((4 * WIDTH * pairs) as u64)
}

/// Keys and values of `sequences` sequences of `context` tokens, and the block table of each.
fn filled(cx: &Compute, sequences: usize, context: usize) -> (KvBlocks, Vec<Vec<u32>>) {
    let blocks = context.div_ceil(KV_BLOCK);
    let tables: Vec<Vec<u32>> = (0..sequences).map(|s| (s * blocks..(s + 1) * blocks).map(|b| b as u32).collect()).collect();
    let slices: Vec<&[u32]> = tables.iter().map(Vec::as_slice).collect();
    let row = |i: usize| AttendRow { sequence: (i / context) as u32, position: (i % context) as u32 };
    let rows: Vec<AttendRow> = (0..sequences * context).map(row).collect();
    let mut kv = KvBlocks::new(SHAPE, KvFormat::Bf16, sequences * blocks);
    let numbers = vec![0.1; rows.len() * KV_WIDTH];
    kv.write(cx, &rows, &slices, &numbers, &numbers, KV_WIDTH);
    (kv, tables)
}

fn decode(c: &mut Criterion) {
    let cx = Compute::auto();
    let mut group = c.benchmark_group("attention, decode");
    for (sequences, context) in [(1, 512), (16, 512), (64, 512), (64, 2048)] {
        let (kv, tables) = filled(&cx, sequences, context);
        let tables: Vec<&[u32]> = tables.iter().map(Vec::as_slice).collect();
        let rows: Vec<AttendRow> = (0..sequences as u32).map(|sequence| AttendRow { sequence, position: context as u32 - 1 }).collect();
        let (q, mut out) = (vec![0.1; sequences * WIDTH], vec![0.0; sequences * WIDTH]);
        group.throughput(operations(sequences * context));
        group.bench_function(BenchmarkId::from_parameter(format!("{sequences} x {context}")), |b| {
            b.iter(|| attention(&cx, HEADS, black_box(&q), WIDTH, &rows, &kv, &tables, &mut out, WIDTH, None));
        });
    }
}

fn prefill(c: &mut Criterion) {
    let cx = Compute::auto();
    let mut group = c.benchmark_group("attention, prefill");
    for context in [256, 1024] {
        let (kv, tables) = filled(&cx, 1, context);
        let rows: Vec<AttendRow> = (0..context as u32).map(|position| AttendRow { sequence: 0, position }).collect();
        let (q, mut out) = (vec![0.1; context * WIDTH], vec![0.0; context * WIDTH]);
        group.throughput(operations(context * (context + 1) / 2));
        group.bench_function(BenchmarkId::from_parameter(context), |b| {
            b.iter(|| attention(&cx, HEADS, black_box(&q), WIDTH, &rows, &kv, &[&tables[0]], &mut out, WIDTH, None));
        });
    }
}

fn backward(c: &mut Criterion) {
    let cx = Compute::auto();
    let mut group = c.benchmark_group("attention, backward");
    let ld = WIDTH + 2 * KV_WIDTH;
    for (sequences, context) in [(4, 256), (1, 1024)] {
        let m = sequences * context;
        let segment = |s: usize| Segment { rows: s * context..(s + 1) * context, until: (s + 1) * context };
        let segments: Vec<Segment> = (0..sequences).map(segment).collect();
        let (qkv, out, lse) = (vec![0.1; m * ld], vec![0.1; m * WIDTH], vec![(context as f32).ln(); m * HEADS]);
        let mut dqkv = vec![0.0; m * ld];
        // Scores again, and the gradients of weights, queries, keys and values: five products to the forward pass's two.
        group.throughput(operations(sequences * context * (context + 1) / 2 * 5 / 2));
        group.bench_function(BenchmarkId::from_parameter(format!("{sequences} x {context}")), |b| {
            b.iter(|| {
                attention_backward(&cx, SHAPE, HEADS, &segments, black_box(&qkv), ld, &out, WIDTH, &out, WIDTH, &lse, &mut dqkv, ld);
            });
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(400));
    targets = decode, prefill, backward
}
criterion_main!(benches);
