//! An attempt as text that grows: the pieces of a rollout or of a plain continuation as they are certain, then its end. One path for
//! those who show it piece by piece and those who want it whole, so both see the same.

mod assemble;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use agent0_engine::{Codec, Engine, TokenId, Weights};
use agent0_rl::{Event, Observer, Rollout, RolloutError, RolloutParams, Seed, Tool, Trajectory};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use assemble::Assembler;
pub use assemble::{Piece, Token};

/// What is said next.
#[derive(Debug)]
pub enum Said {
    /// Words of the model.
    Words(Piece),
    /// What the environment put in: a result in its output block.
    Result(String),
    /// Nothing more follows.
    End {
        /// Tokens of the model's that were read, those of a stop string and control tokens included.
        tokens: usize,
        /// The attempt; `None` when a stop string cut it off.
        trajectory: Option<Trajectory>,
    },
}

/// A model with its tool: who speaks.
pub struct Speaker {
    pub engine: Arc<dyn Engine>,
    pub codec: Arc<dyn Codec>,
    pub tool: Option<Arc<dyn Tool>>,
    pub weights: Weights,
}

/// An attempt to be made.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub prompt: Vec<TokenId>,
    pub manner: Manner,
    pub params: RolloutParams,
    /// Strings that end it; none of them empty.
    pub stops: Vec<String>,
    pub seed: Seed,
}

/// What ends an attempt besides limits and stop strings, and whether programs are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// A rollout with the tool, as in training: until an answer or the end of the turn.
    WithTool,
    /// The same without the tool.
    WithoutTool,
    /// Until the end of the turn; nothing that is written means anything.
    Plain,
}

impl Speaker {
    /// Begins an attempt.
    pub fn speak(self: &Arc<Self>, attempt: Attempt) -> Speech {
        let (speaker, stops) = (self.clone(), attempt.stops.clone());
        Speech::new(self.codec.clone(), &stops, |observer| Box::pin(async move { speaker.attempt(&attempt, &observer).await }))
    }

    async fn attempt(&self, attempt: &Attempt, observer: &Observer) -> Result<Trajectory, RolloutError> {
        let Attempt { prompt, manner, params, seed, .. } = attempt;
        let tool = self.tool.as_deref().filter(|_| *manner == Manner::WithTool);
        let rollout = Rollout { engine: &*self.engine, codec: &self.codec, tool, weights: self.weights, params, observer: Some(observer) };
        match manner {
            Manner::Plain => rollout.plain(prompt, *seed).await,
            Manner::WithTool | Manner::WithoutTool => rollout.run(prompt, *seed).await,
        }
    }
}

type Work = Pin<Box<dyn Future<Output = Result<Trajectory, RolloutError>> + Send>>;

/// An attempt under way. Dropping it cancels the attempt.
pub struct Speech {
    codec: Arc<dyn Codec>,
    work: Option<Work>,
    events: UnboundedReceiver<Event>,
    assembler: Assembler,
    tokens: usize,
    /// What the work came to.
    done: Option<Trajectory>,
    /// To be said next.
    ready: VecDeque<Said>,
    over: bool,
}

impl Speech {
    /// The attempt that `begin` makes with the observer it is given, cut at the first of `stops`.
    fn new(codec: Arc<dyn Codec>, stops: &[String], begin: impl FnOnce(Observer) -> Work) -> Self {
        let (sender, events) = unbounded_channel();
        // When nobody reads any more, nobody needs to be told.
        let observer: Observer = Arc::new(move |event| drop(sender.send(event)));
        let work = Some(begin(observer));
        let assembler = Assembler::new(stops);
        Self { codec, work, events, assembler, tokens: 0, done: None, ready: VecDeque::new(), over: false }
    }

    /// The next thing said; `None` after the end or an error.
    ///
    /// # Errors
    /// Those of the attempt.
    pub async fn next(&mut self) -> Option<Result<Said, RolloutError>> {
        while self.ready.is_empty() && !self.over {
            match self.event().await {
                Ok(Some(Event::Sampled { id, logprob })) => self.sampled(id, logprob),
                Ok(Some(Event::Environment(ids))) => {
                    let block = self.codec.decode(&ids);
                    let before = self.assembler.insert(&block);
                    self.say(before);
                    self.ready.push_back(Said::Result(block));
                }
                Ok(None) => {
                    let rest = self.assembler.finish();
                    self.say(rest);
                    self.end();
                }
                Err(error) => {
                    self.over = true;
                    return Some(Err(error));
                }
            }
        }
        self.ready.pop_front().map(Ok)
    }

    /// The next event; `None` when the work is done and all its events are read.
    async fn event(&mut self) -> Result<Option<Event>, RolloutError> {
        if let Some(work) = &mut self.work {
            tokio::select! {
                biased;
                Some(event) = self.events.recv() => return Ok(Some(event)),
                done = work => self.done = Some(done?),
            }
            self.work = None;
        }
        Ok(self.events.try_recv().ok())
    }

    fn sampled(&mut self, id: TokenId, logprob: f32) {
        self.tokens += 1;
        let piece = self.assembler.push(self.codec.bytes(id), logprob);
        self.say(piece);
        if self.assembler.stopped() {
            // Nobody waits for the rest of the work.
            self.work = None;
            self.done = None;
            self.end();
        }
    }

    fn say(&mut self, piece: Piece) {
        if !piece.is_empty() {
            self.ready.push_back(Said::Words(piece));
        }
    }

    fn end(&mut self) {
        self.over = true;
        self.ready.push_back(Said::End { tokens: self.tokens, trajectory: self.done.take() });
    }
}
