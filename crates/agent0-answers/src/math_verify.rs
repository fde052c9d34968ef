//! The judge that asks math-verify, Hugging Face's grader, in the sandbox (algorithm.md section 8, step 3).
//!
//! A few workers live on between questions. One that takes too much CPU time over a pair is killed, and a new one forked: the pair has
//! no verdict then. CPU time, not the clock on the wall, so that a busy machine changes no verdict. Verdicts are remembered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use agent0_sandbox::Sandbox;
use async_trait::async_trait;
use tokio::sync::Semaphore;

use crate::worker::{Judged, Worker};
use crate::{AnswerError, Judge};

/// Longest answer that is sent, in bytes. What is longer is prose, which the grader cannot compare.
const LONGEST: usize = 1000;
/// Verdicts that are remembered.
const REMEMBERED: usize = 50_000;

type Pair = (String, String);

/// A [`Judge`] that runs math-verify in a sandbox and remembers its verdicts. To be used within a tokio runtime.
pub struct MathVerify {
    sandbox: Arc<Sandbox>,
    /// One place for each worker that may run.
    places: Semaphore,
    /// Workers that run and have nothing to do; the last one used is on top, and still knows what it has read.
    idle: Mutex<Vec<Worker>>,
    verdicts: Mutex<HashMap<Pair, Option<bool>>>,
}

impl MathVerify {
    /// The modules that a sandbox should preload for this judge: importing them takes seconds.
    pub const PRELOAD: [&str; 1] = ["math_verify"];

    /// A judge in `sandbox`, whose Python must have math-verify; with as many workers as there are CPUs.
    pub fn new(sandbox: Arc<Sandbox>) -> Self {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        Self { sandbox, places: Semaphore::new(workers), idle: Mutex::default(), verdicts: Mutex::default() }
    }

    /// Judges pairs, one after the other, with one worker (and the next, where one is lost).
    async fn judge(&self, pairs: &[Pair]) -> Result<Vec<Option<bool>>, AnswerError> {
        let _place = self.places.acquire().await.map_err(|error| AnswerError::Sandbox(Box::new(error)))?;
        let mut worker = lock(&self.idle).pop();
        let mut verdicts = Vec::with_capacity(pairs.len());
        for (a, b) in pairs {
            verdicts.push(self.judge_pair(&mut worker, a, b).await?);
        }
        lock(&self.idle).extend(worker);
        Ok(verdicts)
    }

    /// Judges a pair with the worker if there is one, else with a new one. A pair under which a worker dies gets a second one: the first
    /// may have died of something else.
    async fn judge_pair(&self, worker: &mut Option<Worker>, a: &str, b: &str) -> Result<Option<bool>, AnswerError> {
        for _ in 0..2 {
            let current = match worker.take() {
                Some(current) => current,
                None => Worker::start(&self.sandbox).await?,
            };
            let (current, judged) = current.judge(a, b).await?;
            match judged {
                Judged::Verdict(same) => {
                    *worker = Some(current).filter(Worker::is_fresh);
                    return Ok(Some(same));
                }
                Judged::OutOfTime => return Ok(None),
                Judged::Died => {}
            }
        }
        Ok(None)
    }

    /// The remembered verdict on a pair. Answers that are too long never get one.
    fn remembered(&self, pair: &Pair) -> Option<Option<bool>> {
        let too_long = pair.0.len() > LONGEST || pair.1.len() > LONGEST;
        if too_long { Some(None) } else { lock(&self.verdicts).get(pair).copied() }
    }

    fn remember(&self, pair: Pair, verdict: Option<bool>) {
        let mut verdicts = lock(&self.verdicts);
        if verdicts.len() >= REMEMBERED {
            verdicts.clear();
        }
        verdicts.insert(pair, verdict);
    }
}

#[async_trait]
impl Judge for MathVerify {
    async fn same(&self, pairs: &[Pair]) -> Result<Vec<Option<bool>>, AnswerError> {
        let pairs: Vec<Pair> = pairs.iter().map(in_order).collect();
        let mut known: HashMap<Pair, Option<bool>> = HashMap::new();
        let mut open: Vec<Pair> = Vec::new();
        for pair in &pairs {
            match self.remembered(pair) {
                Some(verdict) => _ = known.insert(pair.clone(), verdict),
                None if !open.contains(pair) => open.push(pair.clone()),
                None => {}
            }
        }
        if !open.is_empty() {
            let verdicts = self.judge(&open).await?;
            for (pair, verdict) in open.into_iter().zip(verdicts) {
                self.remember(pair.clone(), verdict);
                known.insert(pair, verdict);
            }
        }
        Ok(pairs.iter().map(|pair| known.get(pair).copied().flatten()).collect())
    }
}

/// A pair in a fixed order, so that the verdict does not depend on which answer came first.
fn in_order((a, b): &Pair) -> Pair {
    if a <= b { (a.clone(), b.clone()) } else { (b.clone(), a.clone()) }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
