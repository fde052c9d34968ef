//! Aligned memory: the storage of packed matrices and activations, and reusable scratch for kernels.
//!
//! Fresh pages are dear (each is faulted in and cleared), so hot paths keep their buffers, or borrow scratch from a
//! [`ScratchPool`], and new memory is touched by the threads that first write to it.
#![allow(unsafe_code)]

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// A 64-byte aligned slice that keeps its memory when it is made longer or shorter: room for what kernels write.
#[derive(Debug)]
pub struct AlignedBuffer<T = f32> {
    memory: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Copy + Default> AlignedBuffer<T> {
    /// `len` zeros, whose pages are touched when first used.
    pub(crate) fn zeroed(len: usize) -> Self {
        if len == 0 {
            return Self::default();
        }
        const LINE: usize = 64;
        // Of zeros, this is memory as the system hands it out.
        let memory = vec![T::default(); len + LINE / size_of::<T>()];
        let start = memory.as_ptr().align_offset(LINE);
        prefer_huge_pages(memory.as_ptr(), memory.len());
        Self { memory, start, len }
    }

    /// Makes it `len` elements long. What they are afterwards is not specified.
    pub fn resize(&mut self, len: usize) {
        let room = self.capacity();
        if len > room {
            // What is outgrown goes first, and some more is asked for, so that sizes settle.
            *self = Self::default();
            *self = Self::zeroed(len.max(room + room / 4));
        }
        self.len = len;
    }

    fn capacity(&self) -> usize {
        self.memory.len() - self.start
    }
}

impl AlignedBuffer {
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

/// Of no length.
impl<T> Default for AlignedBuffer<T> {
    fn default() -> Self {
        Self { memory: Vec::new(), start: 0, len: 0 }
    }
}

impl<T: Copy + Default> Clone for AlignedBuffer<T> {
    fn clone(&self) -> Self {
        let mut copy = Self::zeroed(self.len);
        copy.copy_from_slice(self);
        copy
    }
}

impl<T> Deref for AlignedBuffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.memory[self.start..self.start + self.len]
    }
}

impl<T> DerefMut for AlignedBuffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

/// Asks for huge pages under fresh memory that is worth it: far fewer page faults now and address misses later.
fn prefer_huge_pages<T>(start: *const T, count: usize) {
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
        if len == 0 {
            return Scratch { pool: self, buffer: AlignedBuffer::default() };
        }
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
        let buffer = std::mem::take(&mut self.buffer);
        if buffer.capacity() == 0 {
            return;
        }
        self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_start_with_zeros_at_a_line_and_keep_their_room() {
        for len in [0, 1, 17, 3 << 20] {
            let buffer = AlignedBuffer::<f32>::zeroed(len);
            assert_eq!(buffer.len(), len);
            assert!(buffer.iter().all(|&x| x == 0.0) && (len == 0 || (buffer.as_ptr() as usize).is_multiple_of(64)));
            assert_eq!(*buffer.clone(), *buffer);
        }
        let mut buffer = AlignedBuffer::<u32>::default();
        buffer.resize(1000);
        let at = buffer.as_ptr();
        for len in [10, 1000, 0, 999] {
            buffer.resize(len);
            assert_eq!((buffer.len(), buffer.as_ptr()), (len, at));
        }
        buffer.resize(1100);
        assert!(buffer.len() == 1100 && buffer.capacity() >= 1250 && (buffer.as_ptr() as usize).is_multiple_of(64));
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
        drop((a, b, pool.take(0)));
        assert_eq!(pool.idle.lock().unwrap().len(), 2);
    }
}
