//! Aligned memory: the storage of packed matrices, and reusable scratch for kernels.
//!
//! Fresh pages are dear (each is faulted in and zeroed), so hot paths borrow scratch from a [`ScratchPool`] instead of
//! allocating.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use crate::pool::Compute;
use crate::share::Shared;

const LINE: usize = 16;
/// Lines that a thread clears at a time: 8 MiB.
const PART: usize = 1 << 17;

/// One cache line: the unit of allocation, which makes every buffer 64-byte aligned.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

/// A 64-byte aligned slice of `f32`, zero at first.
#[derive(Clone)]
pub(crate) struct AlignedBuffer {
    lines: Vec<Line>,
    len: usize,
}

impl AlignedBuffer {
    pub(crate) fn zeroed(len: usize) -> Self {
        let count = len.div_ceil(LINE);
        let mut lines = Vec::with_capacity(count);
        prefer_huge_pages(lines.as_mut_ptr(), count);
        lines.resize(count, Line([0.0; LINE]));
        Self { lines, len }
    }

    /// As [`zeroed`](Self::zeroed), with all threads: clearing fresh pages takes longer than whatever fills them.
    pub(crate) fn zeroed_together(cx: &Compute, len: usize) -> Self {
        let count = len.div_ceil(LINE);
        let mut lines = Vec::with_capacity(count);
        prefer_huge_pages(lines.as_mut_ptr(), count);
        let fresh = Shared::new(&mut lines.spare_capacity_mut()[..count]);
        cx.run(count.div_ceil(PART), &|i| {
            // SAFETY: parts do not overlap and each is filled by one task.
            unsafe { fresh.part(i * PART..(i + 1) * PART) }.fill(MaybeUninit::new(Line([0.0; LINE])));
        });
        // SAFETY: the first `count` lines have just been written.
        unsafe { lines.set_len(count) };
        Self { lines, len }
    }

    fn capacity(&self) -> usize {
        self.lines.len() * LINE
    }

    /// The same memory as 32-bit words: for storage that is not `f32`.
    pub(crate) fn words(&self) -> &[u32] {
        // SAFETY: `f32` and `u32` have the same size and alignment, and any bits are a valid `u32`.
        unsafe { std::slice::from_raw_parts(self.as_ptr().cast(), self.len) }
    }

    pub(crate) fn words_mut(&mut self) -> &mut [u32] {
        // SAFETY: as in `words`; any bits are a valid `f32` too.
        unsafe { std::slice::from_raw_parts_mut(self.as_mut_ptr().cast(), self.len) }
    }
}

impl Deref for AlignedBuffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // SAFETY: `Line` is exactly 16 `f32` without padding and `len <= capacity`.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `deref`, and the borrow is unique.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

/// Asks for huge pages under fresh memory that is worth it: far fewer page faults now and address misses later.
pub(crate) fn prefer_huge_pages<T>(start: *const T, count: usize) {
    const HUGE: usize = 2 << 20;
    let from = start.addr().next_multiple_of(HUGE);
    let to = (start.addr() + count * size_of::<T>()) / HUGE * HUGE;
    #[cfg(target_os = "linux")]
    if from < to {
        // SAFETY: the range lies in memory that the caller owns. It is only advice, which changes no contents: a failure
        // changes nothing.
        unsafe { libc::madvise(start.with_addr(from).cast_mut().cast(), to - from, libc::MADV_HUGEPAGE) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (from, to);
}

/// Buffers that were used before and may be used again.
#[derive(Default)]
pub(crate) struct ScratchPool {
    idle: Mutex<Vec<AlignedBuffer>>,
}

impl ScratchPool {
    /// A buffer of `len` elements with unspecified contents, handed back when dropped.
    pub(crate) fn take(&self, len: usize) -> Scratch<'_> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting = (0..idle.len()).filter(|&i| idle[i].capacity() >= len).min_by_key(|&i| idle[i].capacity());
        let reused = fitting.map(|i| idle.swap_remove(i));
        if reused.is_none() {
            // Nothing fits: the new buffer replaces the largest idle one, so that sizes settle and do not pile up.
            if let Some(largest) = (0..idle.len()).max_by_key(|&i| idle[i].capacity()) {
                idle.swap_remove(largest);
            }
        }
        drop(idle);
        let mut buffer = reused.unwrap_or_else(|| AlignedBuffer::zeroed(len));
        buffer.len = len;
        Scratch { pool: self, buffer }
    }
}

/// A borrowed scratch buffer.
pub(crate) struct Scratch<'a> {
    pool: &'a ScratchPool,
    buffer: AlignedBuffer,
}

impl Deref for Scratch<'_> {
    type Target = AlignedBuffer;
    fn deref(&self) -> &AlignedBuffer {
        &self.buffer
    }
}

impl DerefMut for Scratch<'_> {
    fn deref_mut(&mut self) -> &mut AlignedBuffer {
        &mut self.buffer
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        let buffer = std::mem::replace(&mut self.buffer, AlignedBuffer { lines: Vec::new(), len: 0 });
        self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_clear_every_line() {
        let cx = Compute::new(3, crate::Isa::Portable);
        for len in [0, 1, 17, 2 * PART * LINE + 33] {
            let buffer = AlignedBuffer::zeroed_together(&cx, len);
            assert_eq!((buffer.len(), buffer.as_ptr() as usize % 64), (len, 0));
            assert!(buffer.iter().all(|&x| x == 0.0));
        }
    }

    #[test]
    fn scratch_is_aligned_and_reused() {
        let pool = ScratchPool::default();
        let first = pool.take(1000).as_ptr();
        assert_eq!(first as usize % 64, 0);
        assert_eq!(pool.take(500).as_ptr(), first);
        let (a, b) = (pool.take(10), pool.take(10));
        assert_ne!(a.as_ptr(), b.as_ptr());
        assert_eq!((a.len(), b.len()), (10, 10));
    }
}
