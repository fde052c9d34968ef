//! A run at work: the machinery it uses, both agents, and the cursor that says what comes next. A method decides what
//! is done; here is how it is begun, recorded and resumed.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use agent0_answers::Grader;
use agent0_engine::{AdapterId, Codec, Engine, LoraSpec, SnapshotId, Weights};
use agent0_rl::{Seed, Tool};

use crate::checkpoint::Checkpoints;
use crate::config::Config;
use crate::error::EvolveError;
use crate::folder::RunFolder;
use crate::learning::{Learned, Outcome};
use crate::metered::{Busy, Metered};
use crate::observer::{Event, Observer};
use crate::place::{Phase, Place, Slot};
use crate::store::{Cursor, StepRecord, Store, TaskRecord, unix_time};
use crate::tensorboard::EventWriter;

/// What a run works with; it owns none of it.
#[derive(Clone)]
pub struct Machinery<'a> {
    /// The model.
    pub engine: &'a dyn Engine,
    /// A digest of the model's files.
    pub weights: String,
    /// Its tokenizer and chat template.
    pub codec: Arc<dyn Codec>,
    /// The executor's Python.
    pub tool: &'a dyn Tool,
    /// When two answers are the same.
    pub grader: &'a Grader,
    /// Who watches.
    pub observer: &'a dyn Observer,
}

/// One of the two agents: an adapter on the shared base model.
pub struct Agent {
    adapter: AdapterId,
    /// Its newest checkpoint; `None` while it is still the base model.
    checkpoint: Option<String>,
}

impl Agent {
    /// Its weights as they are now.
    pub fn live(&self) -> Weights {
        match self.checkpoint {
            Some(_) => Weights::Live(self.adapter),
            None => Weights::Base, // an untrained adapter changes nothing
        }
    }
}

/// What a step found out, before it is stored.
#[derive(Debug, Default)]
pub struct Findings {
    /// Named numbers.
    pub metrics: Vec<(String, f64)>,
    /// What became of the tasks proposed in it.
    pub tasks: Vec<TaskRecord>,
    /// Rewards of trajectories.
    pub rewards: Vec<(Slot, f64)>,
    /// Self-consistency of its labelled tasks.
    pub p_hats: Vec<f64>,
}

/// A run at work.
pub struct Run<'a> {
    /// Its settings.
    pub config: Config,
    /// The agent that writes tasks, pi_theta.
    pub curriculum: Agent,
    /// The agent that solves them, pi_phi.
    pub executor: Agent,
    pub(crate) machinery: Machinery<'a>,
    pub(crate) store: Store,
    pub(crate) engine: Metered<'a>,
    /// Tokens sampled since the step began.
    pub(crate) sampled: AtomicUsize,
    checkpoints: Checkpoints,
    cursor: Cursor,
    frozen: Vec<SnapshotId>,
    /// `None` where they cannot be written.
    curves: Option<EventWriter>,
    step_began: Instant,
}

type Result<T> = std::result::Result<T, EvolveError>;

impl<'a> Run<'a> {
    /// Brings both agents to where the run's cursor says they are.
    pub async fn start(folder: RunFolder, machinery: Machinery<'a>) -> Result<Run<'a>> {
        let RunFolder { path, config, store, .. } = folder;
        check_model(&store, &machinery)?;
        let engine = Metered::new(machinery.engine);
        let checkpoints = Checkpoints::open(&path, config.keep_checkpoints)?;
        let cursor = store.cursor()?;
        let bring = async |phase, checkpoint: &Option<String>| {
            let adapter = match checkpoint {
                Some(name) => checkpoints.load(machinery.engine, name).await?,
                None => machinery.engine.create_adapter(lora(&config, phase)).await?,
            };
            Ok::<_, EvolveError>(Agent { adapter, checkpoint: checkpoint.clone() })
        };
        let curriculum = bring(Phase::Curriculum, &cursor.curriculum).await?;
        let executor = bring(Phase::Executor, &cursor.executor).await?;
        let curves = curves(&path, &store, &config)?;
        let run = Run {
            config,
            curriculum,
            executor,
            machinery,
            store,
            engine,
            sampled: AtomicUsize::new(0),
            checkpoints,
            cursor,
            frozen: Vec::new(),
            curves,
            step_began: Instant::now(),
        };
        run.tell(&Event::Started { place: run.cursor.place, iterations: run.config.iterations });
        Ok(run)
    }

    /// What comes next.
    pub fn place(&self) -> Place {
        self.cursor.place
    }

    /// Whether `phase` of iteration `t` is what comes next; false when the run is past it.
    pub fn begins(&mut self, t: usize, phase: Phase, steps: usize) -> bool {
        let place = self.cursor.place;
        let next = (place.iteration, place.phase) == (t, phase);
        if next {
            self.step_began = Instant::now();
            self.tell(&Event::Phase { place, steps });
        }
        next
    }

    /// The steps of the present phase that are not done yet.
    pub fn steps_left(&self, steps: usize) -> impl Iterator<Item = Place> + use<> {
        let place = self.cursor.place;
        (place.step..=steps).map(move |step| Place { step, ..place })
    }

    /// The curriculum agent's weights of this moment, to sample from while they do not change.
    pub async fn frozen_curriculum(&mut self) -> Result<Weights> {
        self.freeze(Phase::Curriculum).await
    }

    /// The executor's weights of this moment, to sample from while they do not change.
    pub async fn frozen_executor(&mut self) -> Result<Weights> {
        self.freeze(Phase::Executor).await
    }

    /// The agent in training as it was when its phase began: the reference of the KL term.
    pub async fn reference(&mut self) -> Result<Weights> {
        let phase = self.cursor.place.phase;
        let Some(name) = self.cursor.reference.clone() else { return Ok(Weights::Base) };
        if self.agent(phase).checkpoint.as_ref() == Some(&name) {
            return self.freeze(phase).await;
        }
        let adapter = self.checkpoints.load(&self.engine, &name).await?;
        let reference = self.publish(adapter).await?;
        self.engine.drop_adapter(adapter).await?;
        Ok(reference)
    }

    /// Stores a finished step. When the agent in training learned something, its checkpoint is written first.
    pub async fn finish(&mut self, place: Place, learned: Learned, findings: Findings) -> Result<()> {
        let mut next = Cursor { place: place.next_step(), ..self.cursor.clone() };
        if learned.outcome == Outcome::Trained {
            let adapter = self.agent(place.phase).adapter;
            let name = self.checkpoints.save(&self.engine, adapter, place).await?;
            match place.phase {
                Phase::Curriculum => next.curriculum = Some(name),
                _ => next.executor = Some(name),
            }
        }
        let seconds = self.step_began.elapsed().as_secs_f64();
        let mut metrics = findings.metrics;
        metrics.extend(learned.metrics);
        metrics.extend(pace(seconds, self.engine.take_busy(), self.sampled.swap(0, Ordering::Relaxed), learned.tokens));
        let record = StepRecord {
            place,
            skipped: match learned.outcome {
                Outcome::Skipped(reason) => Some(reason),
                Outcome::Trained | Outcome::NotTraining => None,
            },
            tokens_trained: learned.tokens,
            seconds,
            metrics,
            tasks: findings.tasks,
            rewards: findings.rewards,
        };
        self.store.finish_step(&record, &next)?;
        self.adopt(next)?;
        self.draw(&record);
        self.tell(&Event::Step { record: &record, p_hats: &findings.p_hats });
        self.step_began = Instant::now();
        Ok(())
    }

    /// Ends the present phase; frozen weights are let go. `note` is told to whoever watches.
    pub async fn end_phase(&mut self, note: String) -> Result<()> {
        let Place { iteration, phase, .. } = self.cursor.place;
        let place = self.cursor.place.next_phase();
        let reference = match place.phase {
            Phase::Curriculum => self.cursor.curriculum.clone(),
            Phase::Frontier => None,
            Phase::Executor => self.cursor.executor.clone(),
        };
        let next = Cursor { place, reference, ..self.cursor.clone() };
        self.store.set_cursor(&next)?;
        self.adopt(next)?;
        for snapshot in std::mem::take(&mut self.frozen) {
            self.engine.release(snapshot).await?;
        }
        self.tell(&Event::PhaseDone { iteration, phase, note });
        Ok(())
    }

    /// The adapter that the present phase trains.
    pub(crate) fn in_training(&self, phase: Phase) -> AdapterId {
        self.agent(phase).adapter
    }

    /// Whether the agent that the present phase trains is still as it was when the phase began.
    pub(crate) fn is_its_reference(&self, phase: Phase) -> bool {
        self.agent(phase).checkpoint == self.cursor.reference
    }

    pub(crate) fn tell(&self, event: &Event) {
        self.machinery.observer.event(event);
    }

    fn agent(&self, phase: Phase) -> &Agent {
        match phase {
            Phase::Curriculum => &self.curriculum,
            Phase::Frontier | Phase::Executor => &self.executor,
        }
    }

    async fn freeze(&mut self, phase: Phase) -> Result<Weights> {
        match self.agent(phase).live() {
            Weights::Live(adapter) => self.publish(adapter).await,
            fixed => Ok(fixed),
        }
    }

    async fn publish(&mut self, adapter: AdapterId) -> Result<Weights> {
        let snapshot = self.engine.publish(adapter).await?;
        self.frozen.push(snapshot);
        Ok(Weights::Snapshot(snapshot))
    }

    /// Takes over a cursor that the store has.
    fn adopt(&mut self, next: Cursor) -> Result<()> {
        self.curriculum.checkpoint.clone_from(&next.curriculum);
        self.executor.checkpoint.clone_from(&next.executor);
        self.cursor = next;
        let needed = [&self.cursor.curriculum, &self.cursor.executor, &self.cursor.reference];
        let needed: Vec<&str> = needed.into_iter().flatten().map(String::as_str).collect();
        Ok(self.checkpoints.prune(&needed)?)
    }

    /// The curves are a view of the store: if they cannot be written, the run goes on.
    fn draw(&mut self, record: &StepRecord) {
        let (Some(curves), time) = (&mut self.curves, unix_time()) else { return };
        for (name, value) in &record.metrics {
            let step = curve_step(&self.config, record.place);
            let _ = curves.scalar(&format!("{}/{name}", record.place.phase), step, *value as f32, time);
        }
    }
}

fn lora(config: &Config, agent: Phase) -> LoraSpec {
    LoraSpec {
        rank: config.lora.rank,
        alpha: config.lora.alpha,
        targets: config.lora.targets.clone(),
        seed: Seed::root(config.seed).child("lora").child(agent.name()).value(),
    }
}

/// What decides a run's numbers besides its settings stays what it was.
fn check_model(store: &Store, machinery: &Machinery) -> Result<()> {
    let info = machinery.engine.info();
    let facts = [
        ("model", "model", &info.model),
        ("weights", "file of weights", &machinery.weights),
        ("numerics", "number format", &info.numerics),
    ];
    for (key, what, found) in facts {
        match store.meta(key)? {
            None => store.set_meta(key, found)?,
            Some(stored) if stored == *found => {}
            Some(stored) => return Err(EvolveError::OtherModel { what, stored, found: found.clone() }),
        }
    }
    Ok(())
}

/// The event file, with everything the store has; `None` where it cannot be written.
fn curves(run: &Path, store: &Store, config: &Config) -> Result<Option<EventWriter>> {
    let folder = run.join("tensorboard");
    let write = |metrics: Vec<crate::store::Metric>| -> io::Result<EventWriter> {
        let mut curves = EventWriter::create(&folder, unix_time())?;
        for metric in metrics {
            let tag = format!("{}/{}", metric.place.phase, metric.name);
            curves.scalar(&tag, curve_step(config, metric.place), metric.value as f32, metric.time)?;
        }
        Ok(curves)
    };
    Ok(write(store.metrics()?).ok())
}

/// Steps of a phase counted through all iterations.
fn curve_step(config: &Config, place: Place) -> u64 {
    ((place.iteration - 1) * phase_steps(config, place.phase) + place.step) as u64
}

/// Steps, or most rounds, of a phase in one iteration.
fn phase_steps(config: &Config, phase: Phase) -> usize {
    match phase {
        Phase::Curriculum => config.curriculum.steps,
        Phase::Frontier => config.frontier.max_pool.div_ceil(config.frontier.pool),
        Phase::Executor => config.executor.steps,
    }
}

/// Where a step's `seconds` went, and its rates. What is neither of the engine's kinds of work is `other_seconds`: programs and votes
/// that it waited for, rewards, the store, checkpoints.
fn pace(seconds: f64, busy: Busy, sampled_tokens: usize, trained_tokens: usize) -> Vec<(String, f64)> {
    let Busy { sampling, scoring, training } = busy;
    let rate = |tokens: usize, seconds: f64| (seconds > 0.0 && tokens > 0).then(|| tokens as f64 / seconds);
    let metrics = [
        ("sampled_tokens_per_second", rate(sampled_tokens, sampling)),
        ("trained_tokens_per_second", rate(trained_tokens, scoring + training)),
        ("sampling_seconds", Some(sampling)),
        ("scoring_seconds", Some(scoring)),
        ("training_seconds", Some(training)),
        ("other_seconds", Some(seconds - sampling - scoring - training)),
    ];
    metrics.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}
