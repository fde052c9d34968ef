//! Brings trajectories and votes: many in flight at once, each stored as it finishes, placed by index so that nothing
//! depends on timing. What an earlier process stored is not done again.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::atomic::Ordering;

use agent0_engine::{TokenId, Weights};
use agent0_rl::{RolloutError, RolloutParams, Trajectory, Vote, generate, rollout, vote};
use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::error::EvolveError;
use crate::forecast::{Doing, left_after};
use crate::observer::Event;
use crate::place::{Place, Role, Slot};
use crate::run::Run;

/// Tasks whose answers are compared at once: that waits for the grader, not for the engine.
pub(crate) const GRADED_AT_ONCE: usize = 8;

/// What the executor made of one task.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// Its k answers, by sample.
    pub answers: Vec<Trajectory>,
    /// Their vote.
    pub vote: Vote,
}

impl Attempt {
    /// Tool calls of each answer.
    pub fn tool_calls(&self) -> Vec<usize> {
        self.answers.iter().map(|answer| answer.tool_calls.len()).collect()
    }
}

type Result<T> = std::result::Result<T, EvolveError>;

impl Run<'_> {
    /// `n` texts by the curriculum agent, which are to hold a task each, on the topics in turn.
    pub async fn propose(&self, place: Place, weights: Weights, n: usize) -> Result<Vec<Trajectory>> {
        let chats = self.config.prompts.curriculum();
        let order = place.seed(self.config.seed).child("topics").shuffled(chats.len());
        let prompts = order.iter().map(|&topic| Ok(self.machinery.codec.chat(&chats[topic])?)).collect::<Result<Vec<_>>>()?;
        let config = &self.config.curriculum;
        let params = RolloutParams {
            max_tokens: config.max_tokens,
            temperature: config.temperature,
            top_p: config.top_p,
            ..RolloutParams::default()
        };
        let slots = (0..n).map(|task| Slot { role: Role::Proposer, task, sample: 0 }).collect();
        self.gather(place, Role::Proposer, slots, async |slot| {
            let (prompt, seed) = (&prompts[slot.task % prompts.len()], self.seed(place, slot));
            generate(&self.engine, &*self.machinery.codec, prompt, weights, &params, seed).await
        })
        .await
    }

    /// `n` answers by the executor, with its tool, to each task that is one, and nothing for the others.
    pub async fn answer(&self, place: Place, questions: &[Option<&str>], n: usize, weights: Weights) -> Result<Vec<Vec<Trajectory>>> {
        let prompts = questions.iter().map(|question| question.map(|q| self.executor_prompt(q)).transpose()).collect::<Result<Vec<_>>>()?;
        let asked = (0..questions.len()).filter(|&task| questions[task].is_some());
        let slots = asked.flat_map(|task| (0..n).map(move |sample| Slot { role: Role::Executor, task, sample })).collect();
        let machinery = &self.machinery;
        let answers = self
            .gather(place, Role::Executor, slots, async |slot| {
                let prompt = prompts[slot.task].as_deref().unwrap_or_default();
                let params = &self.config.rollout;
                rollout(&self.engine, &machinery.codec, Some(machinery.tool), prompt, weights, params, self.seed(place, slot)).await
            })
            .await?;
        let mut answers = answers.into_iter();
        Ok(questions.iter().map(|question| answers.by_ref().take(if question.is_some() { n } else { 0 }).collect()).collect())
    }

    /// `k` answers to each task, and their vote (algorithm.md section 2). `None` where there is no task.
    pub async fn attempt(&self, place: Place, questions: &[Option<&str>], k: usize, weights: Weights) -> Result<Vec<Option<Attempt>>> {
        let answers = self.answer(place, questions, k, weights).await?;
        let stored = self.store.votes(place)?;
        let count = |(task, answers): (usize, Vec<Trajectory>)| {
            let stored = stored.get(&task).cloned();
            async move {
                if questions[task].is_none() {
                    return Ok(None);
                }
                let vote = match stored {
                    Some(vote) => vote,
                    None => self.count_votes(place, task, &answers).await?,
                };
                Ok(Some(Attempt { answers, vote }))
            }
        };
        stream::iter(answers.into_iter().enumerate()).map(count).buffered(GRADED_AT_ONCE).try_collect().await
    }

    /// What follows a trajectory's prompt, as text.
    pub fn text(&self, trajectory: &Trajectory) -> String {
        trajectory.text(&*self.machinery.codec)
    }

    async fn count_votes(&self, place: Place, task: usize, answers: &[Trajectory]) -> Result<Vote> {
        let answers: Vec<Option<String>> = answers.iter().map(|trajectory| trajectory.answer.clone()).collect();
        let vote = vote(self.machinery.grader, &answers, self.config.vote).await?;
        self.store.put_vote(place, task, &vote)?;
        Ok(vote)
    }

    fn executor_prompt(&self, question: &str) -> Result<Vec<TokenId>> {
        Ok(self.machinery.codec.chat(&self.config.prompts.executor(question))?)
    }

    fn seed(&self, place: Place, slot: Slot) -> agent0_rl::Seed {
        place.seed(self.config.seed).child(slot.role.name()).child(slot.task).child(slot.sample)
    }

    /// The trajectories of `slots`, in their order: from the store, or by `sample`, which are then stored.
    async fn gather<F>(&self, place: Place, role: Role, slots: Vec<Slot>, sample: impl Fn(Slot) -> F) -> Result<Vec<Trajectory>>
    where
        F: Future<Output = std::result::Result<Trajectory, RolloutError>>,
    {
        let mut done = self.store.trajectories(place, role)?;
        let wanted: BTreeSet<Slot> = slots.iter().copied().collect();
        done.retain(|slot, _| wanted.contains(slot));
        let doing = match role {
            Role::Proposer => Doing::Proposing,
            Role::Executor => Doing::Answering,
        };
        let later = left_after(&self.config, place, doing);
        self.tell(&Event::Sampling { place, role, stored: done.len(), total: slots.len(), later });
        let missing: Vec<Slot> = slots.iter().copied().filter(|slot| !done.contains_key(slot)).collect();
        let sample = &sample;
        let mut finished = stream::iter(missing)
            .map(async |slot| Ok::<_, EvolveError>((slot, sample(slot).await?)))
            .buffer_unordered(self.config.engine.in_flight);
        while let Some((slot, trajectory)) = finished.try_next().await? {
            self.store.put_trajectory(place, slot, &trajectory, &self.text(&trajectory))?;
            self.tell(&Event::Trajectory { place, role, trajectory: &trajectory });
            self.sampled.fetch_add(trajectory.sampled_tokens() + trajectory.dropped, Ordering::Relaxed);
            done.insert(slot, trajectory);
        }
        Ok(slots.iter().filter_map(|slot| done.remove(slot)).collect())
    }
}
