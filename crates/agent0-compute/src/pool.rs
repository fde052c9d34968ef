//! The thread pool: fork-join over numbered tasks, made for kernels that last microseconds.
//!
//! Workers spin for a short while after each job and then park. The calling thread works too, and never waits for a
//! worker that has not started: on a busy machine it simply does the tasks itself.
#![allow(unsafe_code)]

use crate::buffer::{Scratch, ScratchPool};
use crate::cpu::Isa;
use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an idle worker spins before it parks.
const SPIN: Duration = Duration::from_micros(80);

thread_local! {
    /// Set while this thread runs tasks of some pool: a nested job then runs inline.
    static IN_TASK: Cell<bool> = const { Cell::new(false) };
}

/// An instruction-set level and a thread pool. A clone shares the pool.
#[derive(Clone)]
pub struct Compute {
    isa: Isa,
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    workers: usize,
    scratch: ScratchPool,
}

impl Compute {
    /// A pool of `threads` threads, the caller of [`run`](Self::run) included (so `threads - 1` are started; fewer if the
    /// system refuses). `isa` is lowered to what the processor has.
    pub fn new(threads: usize, isa: Isa) -> Self {
        let shared = Arc::new(Shared::new());
        let workers = (1..threads).filter(|&i| spawn_worker(i, &shared)).count();
        Self { isa: isa.lowered(), inner: Arc::new(Inner { shared, workers, scratch: ScratchPool::default() }) }
    }

    /// All processors and the highest instruction-set level of this machine.
    pub fn auto() -> Self {
        Self::new(std::thread::available_parallelism().map_or(1, usize::from), Isa::detect())
    }

    /// Number of threads that share the work, the calling one included.
    pub fn threads(&self) -> usize {
        self.inner.workers + 1
    }

    /// The instruction-set level kernels use; never above [`Isa::detect`].
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Calls `task(i)` exactly once for every `i` in `0..tasks`, on all threads, and returns when all are done.
    ///
    /// A call from inside a task runs inline. A panic in a task is raised again here, after the others have stopped.
    pub fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        if tasks <= 1 || self.inner.workers == 0 || IN_TASK.get() {
            (0..tasks).for_each(task);
        } else {
            self.inner.shared.run(tasks, task);
        }
    }

    /// A 64-byte aligned buffer of `len` elements with unspecified contents, reused from call to call.
    pub(crate) fn scratch(&self, len: usize) -> Scratch<'_> {
        self.inner.scratch.take(len)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        self.shared.wake();
    }
}

/// What the threads of a pool share.
///
/// A job is published by setting `open` to a fresh number. A worker enters by counting itself in `active` *before* it
/// looks at `open`; the caller leaves by clearing `open` *before* it waits for `active` to fall to zero. So whoever saw
/// the job open is waited for, and nobody else touches it.
struct Shared {
    /// Held by the thread whose job is running.
    turn: Mutex<u64>,
    /// Number of the current job; 0 when there is none.
    open: AtomicU64,
    job: UnsafeCell<Option<Job>>,
    /// The next task to hand out.
    next: AtomicUsize,
    /// Workers that may be looking at `job`.
    active: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    parked: AtomicUsize,
    park: Mutex<()>,
    unpark: Condvar,
    stop: AtomicBool,
}

#[derive(Clone, Copy)]
struct Job {
    tasks: usize,
    task: *const (dyn Fn(usize) + Sync),
}

// SAFETY: `job` is written only by the holder of `turn` while `open` is 0 and `active` has been seen 0, and read only
// between entering with `open` set and leaving `active` (see `Shared`); the closure it points to is `Sync`.
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer is dereferenced only while the caller that owns the closure waits.
unsafe impl Send for Shared {}

impl Shared {
    fn new() -> Self {
        Self {
            turn: Mutex::new(0),
            open: AtomicU64::new(0),
            job: UnsafeCell::new(None),
            next: AtomicUsize::new(0),
            active: AtomicUsize::new(0),
            panic: Mutex::new(None),
            parked: AtomicUsize::new(0),
            park: Mutex::new(()),
            unpark: Condvar::new(),
            stop: AtomicBool::new(false),
        }
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        let mut turn = lock(&self.turn);
        *turn += 1;
        // SAFETY: only the lifetime is erased; this function does not return before all threads have left the job.
        let task = unsafe { std::mem::transmute::<*const (dyn Fn(usize) + Sync), *const (dyn Fn(usize) + Sync)>(task) };
        let job = Job { tasks, task };
        // SAFETY: we hold `turn` and the last job was closed with nobody active, so no thread reads `job` now.
        unsafe { *self.job.get() = Some(job) };
        self.next.store(0, Relaxed);
        self.open.store(*turn, SeqCst);
        if self.parked.load(SeqCst) > 0 {
            self.wake();
        }
        self.work(job);
        self.open.store(0, SeqCst);
        let mut spins = 0u32;
        while self.active.load(SeqCst) != 0 {
            spins += 1;
            // A worker that lost its processor in the middle of a task needs ours.
            if spins.is_multiple_of(4096) { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
        let panic = lock(&self.panic).take();
        drop(turn);
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }

    /// Takes tasks until none is left. A panic ends the job early and is kept for the caller.
    fn work(&self, job: Job) {
        IN_TASK.set(true);
        // SAFETY: the closure outlives the job, and we are inside it (the caller, or a worker that counted itself in).
        let task = unsafe { &*job.task };
        let result = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let i = self.next.fetch_add(1, Relaxed);
                if i >= job.tasks {
                    break;
                }
                task(i);
            }
        }));
        IN_TASK.set(false);
        if let Err(payload) = result {
            self.next.store(job.tasks, Relaxed);
            lock(&self.panic).get_or_insert(payload);
        }
    }

    /// The life of a worker: wait for a job not seen yet, help, repeat.
    fn serve(&self) {
        let mut seen = 0;
        while let Some(open) = self.wait_for_job(seen) {
            self.active.fetch_add(1, SeqCst);
            // The job may have closed, or another opened, since we looked.
            if self.open.load(SeqCst) == open {
                // SAFETY: counted in and then seen open, so the caller waits for us before `job` changes.
                if let Some(job) = unsafe { *self.job.get() } {
                    self.work(job);
                }
                seen = open;
            }
            self.active.fetch_sub(1, SeqCst);
        }
    }

    /// The number of an open job other than `seen`; `None` when the pool is gone.
    fn wait_for_job(&self, seen: u64) -> Option<u64> {
        let fresh = || Some(self.open.load(SeqCst)).filter(|&open| open != 0 && open != seen);
        let start = Instant::now();
        while start.elapsed() < SPIN {
            for _ in 0..64 {
                if let Some(open) = fresh() {
                    return Some(open);
                }
                std::hint::spin_loop();
            }
        }
        let mut guard = lock(&self.park);
        // Announced before the last look at `open`, which the caller sets before it looks at `parked`: no lost wake-up.
        self.parked.fetch_add(1, SeqCst);
        let open = loop {
            if self.stop.load(SeqCst) {
                break None;
            }
            if let Some(open) = fresh() {
                break Some(open);
            }
            guard = self.unpark.wait(guard).unwrap_or_else(PoisonError::into_inner);
        };
        self.parked.fetch_sub(1, SeqCst);
        open
    }

    fn wake(&self) {
        let _guard = lock(&self.park);
        self.unpark.notify_all();
    }
}

fn spawn_worker(index: usize, shared: &Arc<Shared>) -> bool {
    let shared = Arc::clone(shared);
    std::thread::Builder::new().name(format!("compute-{index}")).spawn(move || shared.serve()).is_ok()
}

/// The data under these locks is valid at every step, so a poisoned lock is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(tasks: usize) -> Vec<AtomicUsize> {
        (0..tasks).map(|_| AtomicUsize::new(0)).collect()
    }

    #[test]
    fn every_task_runs_once() {
        for threads in [1, 2, 3, 5] {
            let cx = Compute::new(threads, Isa::Portable);
            assert_eq!(cx.threads(), threads);
            for tasks in (0..200).chain([5000]) {
                let seen = counts(tasks);
                cx.run(tasks, &|i| {
                    seen[i].fetch_add(1, Relaxed);
                });
                assert!(seen.iter().all(|c| c.load(Relaxed) == 1), "{threads} threads, {tasks} tasks");
            }
        }
    }

    #[test]
    fn parked_workers_wake_and_results_are_visible() {
        let cx = Compute::new(2, Isa::Portable);
        for _ in 0..20 {
            std::thread::sleep(SPIN * 3);
            let met = std::sync::Barrier::new(2);
            // Two tasks that wait for each other need two threads.
            cx.run(2, &|_| {
                met.wait();
            });
        }
    }

    #[test]
    fn nested_and_concurrent_jobs_do_not_deadlock() {
        let cx = Compute::new(3, Isa::Portable);
        let total = AtomicUsize::new(0);
        std::thread::scope(|s| {
            for _ in 0..3 {
                s.spawn(|| {
                    for _ in 0..50 {
                        cx.run(7, &|_| {
                            cx.run(5, &|_| {
                                total.fetch_add(1, Relaxed);
                            })
                        });
                    }
                });
            }
        });
        assert_eq!(total.load(Relaxed), 3 * 50 * 35);
    }

    #[test]
    fn a_panicking_task_reaches_the_caller_and_the_pool_survives() {
        let cx = Compute::new(2, Isa::Portable);
        let result = catch_unwind(AssertUnwindSafe(|| cx.run(64, &|i| assert!(i != 13, "task thirteen"))));
        assert!(result.is_err());
        let done = AtomicUsize::new(0);
        cx.run(64, &|_| {
            done.fetch_add(1, Relaxed);
        });
        assert_eq!(done.load(Relaxed), 64);
    }

    #[test]
    fn the_isa_is_lowered_to_what_the_processor_has() {
        assert_eq!(Compute::new(1, Isa::Avx512Bf16).isa(), Isa::detect());
        assert_eq!(Compute::new(1, Isa::Portable).isa(), Isa::Portable);
    }
}
