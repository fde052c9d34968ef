//! Handing parts of one output to the tasks of a parallel loop.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ops::Range;

use crate::Compute;

/// Numbers a task should touch at least, so that handing it out costs little beside its work.
const GRAIN: usize = 16 << 10;

/// A mutable slice whose parts are given to different threads.
pub(crate) struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: `part`, the only access, makes its caller answer for parts not overlapping; each is then an ordinary `&mut`.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub(crate) fn new(x: &'a mut [T]) -> Self {
        Self { start: x.as_mut_ptr(), len: x.len(), owner: PhantomData }
    }

    /// The numbers of `range`, cut at the end of the slice.
    ///
    /// # Safety
    /// No two parts that live at the same time may overlap.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        let end = range.end.min(self.len);
        assert!(range.start <= end, "part {range:?} of {} elements", self.len);
        // SAFETY: inside the slice, which `owner` keeps borrowed; the caller keeps the parts apart.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), end - range.start) }
    }
}

/// Calls `task` on the pool with ranges that together make `0..items`; one item touches about `work` numbers. The ranges
/// depend on nothing but the arguments.
pub(crate) fn for_ranges(cx: &Compute, items: usize, work: usize, task: impl Fn(Range<usize>) + Sync) {
    let per_task = (GRAIN / work.max(1)).max(1);
    cx.run(items.div_ceil(per_task), &|i| task(i * per_task..((i + 1) * per_task).min(items)));
}

/// Calls `task(i, row)` on the pool for each of the `m` rows of `x`, which lie `ld` apart; the last may end before `ld`
/// numbers. A row touches about `work` numbers.
pub fn for_rows<T: Send>(cx: &Compute, m: usize, x: &mut [T], ld: usize, work: usize, task: impl Fn(usize, &mut [T]) + Sync) {
    let x = Shared::new(x);
    for_ranges(cx, m, work, |rows| {
        for i in rows {
            // SAFETY: rows do not overlap and each is visited once.
            task(i, unsafe { x.part(i * ld..(i + 1) * ld) });
        }
    });
}
