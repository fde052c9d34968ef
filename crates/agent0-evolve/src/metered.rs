//! An engine that is told the time: how long it was at work, by kind of work. It changes no result and no order.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use agent0_engine::{
    AdamParams, AdapterId, Datum, Engine, EngineError, EngineInfo, ForwardBackward, LoraSpec, OptimStep, PolicyLoss, SampleRequest,
    Sampled, ScoreRequest, SnapshotId, Weights,
};
use async_trait::async_trait;

type Result<T> = std::result::Result<T, EngineError>;

/// An engine with a clock for each kind of work. Adapters, snapshots and checkpoints are not counted.
pub(crate) struct Metered<'a> {
    engine: &'a dyn Engine,
    sampling: Clock,
    scoring: Clock,
    training: Clock,
}

/// Seconds during which at least one call of a kind was under way.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Busy {
    pub sampling: f64,
    pub scoring: f64,
    pub training: f64,
}

impl<'a> Metered<'a> {
    pub fn new(engine: &'a dyn Engine) -> Self {
        Self { engine, sampling: Clock::default(), scoring: Clock::default(), training: Clock::default() }
    }

    /// Work since it was last asked.
    pub fn take_busy(&self) -> Busy {
        Busy { sampling: self.sampling.take(), scoring: self.scoring.take(), training: self.training.take() }
    }
}

#[async_trait]
impl Engine for Metered<'_> {
    fn info(&self) -> &EngineInfo {
        self.engine.info()
    }

    async fn sample(&self, request: SampleRequest) -> Result<Vec<Sampled>> {
        let _call = self.sampling.call();
        self.engine.sample(request).await
    }

    async fn logprobs(&self, sequences: Vec<ScoreRequest>, weights: Weights, temperature: f32) -> Result<Vec<Vec<f32>>> {
        let _call = self.scoring.call();
        self.engine.logprobs(sequences, weights, temperature).await
    }

    async fn create_adapter(&self, spec: LoraSpec) -> Result<AdapterId> {
        self.engine.create_adapter(spec).await
    }

    async fn drop_adapter(&self, adapter: AdapterId) -> Result<()> {
        self.engine.drop_adapter(adapter).await
    }

    async fn publish(&self, adapter: AdapterId) -> Result<SnapshotId> {
        self.engine.publish(adapter).await
    }

    async fn release(&self, snapshot: SnapshotId) -> Result<()> {
        self.engine.release(snapshot).await
    }

    async fn forward_backward(&self, adapter: AdapterId, data: Vec<Datum>, loss: PolicyLoss) -> Result<ForwardBackward> {
        let _call = self.training.call();
        self.engine.forward_backward(adapter, data, loss).await
    }

    async fn optim_step(&self, adapter: AdapterId, params: AdamParams) -> Result<OptimStep> {
        let _call = self.training.call();
        self.engine.optim_step(adapter, params).await
    }

    async fn save(&self, adapter: AdapterId, folder: &Path) -> Result<()> {
        self.engine.save(adapter, folder).await
    }

    async fn load(&self, folder: &Path) -> Result<AdapterId> {
        self.engine.load(folder).await
    }
}

/// Adds up the time during which at least one call is under way.
#[derive(Default)]
struct Clock(Mutex<Reading>);

#[derive(Default)]
struct Reading {
    calls: usize,
    /// Since when there is a call; `None` while there is none.
    since: Option<Instant>,
    total: Duration,
}

impl Reading {
    fn begin(&mut self, now: Instant) {
        self.calls += 1;
        self.since.get_or_insert(now);
    }

    fn end(&mut self, now: Instant) {
        self.calls -= 1;
        if self.calls == 0 {
            self.total += self.since.take().map_or(Duration::ZERO, |since| now - since);
        }
    }
}

impl Clock {
    fn call(&self) -> Call<'_> {
        self.reading().begin(Instant::now());
        Call(self)
    }

    fn take(&self) -> f64 {
        std::mem::take(&mut self.reading().total).as_secs_f64()
    }

    fn reading(&self) -> MutexGuard<'_, Reading> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call under way. Ends when dropped, so that one that is cancelled ends too.
struct Call<'a>(&'a Clock);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.reading().end(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_at_the_same_time_count_once() {
        let start = Instant::now();
        let second = |n| start + Duration::from_secs(n);
        let mut reading = Reading::default();
        reading.begin(second(0));
        reading.begin(second(2));
        reading.end(second(3));
        assert_eq!(reading.total, Duration::ZERO, "the other is still under way");
        reading.end(second(5));
        reading.begin(second(7));
        reading.end(second(8));
        assert_eq!(reading.total, Duration::from_secs(6));
    }

    #[test]
    fn a_call_that_is_dropped_is_over() {
        let clock = Clock::default();
        drop(clock.call());
        assert_eq!(clock.reading().calls, 0);
    }
}
