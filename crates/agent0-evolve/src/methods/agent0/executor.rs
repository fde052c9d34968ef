//! The executor phase's book-keeping: which tasks a step takes, what answers are worth, and what is recorded.

use agent0_answers::{By, Decision};
use agent0_rl::{Scored, Seed, Trajectory};
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::mean;
use crate::error::EvolveError;
use crate::place::{Place, Role, Slot};
use crate::run::{Findings, Run};
use crate::sampling::GRADED_AT_ONCE;
use crate::store::{FrontierTask, TaskRecord};

/// A step's tasks: the frontier is shuffled for each pass over it, and a step takes the next `n`. What is left at the end of a pass
/// and would not fill a step waits for another pass.
pub fn choose(frontier: &[FrontierTask], step: Place, n: usize, run_seed: u64) -> Vec<FrontierTask> {
    let n = n.min(frontier.len()).max(1);
    let steps_in_pass = (frontier.len() / n).max(1);
    let (pass, within) = ((step.step - 1) / steps_in_pass, (step.step - 1) % steps_in_pass);
    let order = Seed::root(run_seed).child(step.iteration).child("order").child(pass).shuffled(frontier.len());
    order.iter().skip(within * n).take(n).map(|&task| frontier[task].clone()).collect()
}

/// The answers that tasks of the frontier were chosen by.
pub fn answers_of_frontier(run: &Run, tasks: &[FrontierTask]) -> Result<Vec<Vec<Trajectory>>, EvolveError> {
    let answers = |task: &FrontierTask| run.store.trajectories_of(task.place, Role::Executor, task.index);
    Ok(tasks.iter().map(answers).collect::<Result<_, _>>()?)
}

/// The questions of a step.
pub fn questions(tasks: &[FrontierTask]) -> Vec<Option<&str>> {
    tasks.iter().map(|task| Some(task.question.as_str())).collect()
}

/// What the answers of a step earned.
pub struct Rewards {
    /// 1 for each answer that is its task's label, else 0; group by group.
    pub r: Vec<Vec<f64>>,
    /// Answers on which the judge gave no verdict; they count as different from the label.
    pub undecided: usize,
}

/// Holds each answer against its task's label.
pub async fn rewards(run: &Run<'_>, tasks: &[FrontierTask], groups: &[Vec<Trajectory>]) -> Result<Rewards, EvolveError> {
    let of_group = async |(task, group): (&FrontierTask, &Vec<Trajectory>)| {
        let (mut rewards, mut undecided) = (Vec::with_capacity(group.len()), 0);
        for trajectory in group {
            let right = match &trajectory.answer {
                Some(answer) => {
                    let Decision { same, by } = run.machinery.grader.same(answer, &task.label).await?;
                    undecided += usize::from(by == By::Nobody);
                    same
                }
                None => false,
            };
            rewards.push(f64::from(u8::from(right)));
        }
        Ok::<_, EvolveError>((rewards, undecided))
    };
    let groups: Vec<_> = stream::iter(tasks.iter().zip(groups)).map(of_group).buffered(GRADED_AT_ONCE).try_collect().await?;
    let (r, undecided): (Vec<_>, Vec<usize>) = groups.into_iter().unzip();
    Ok(Rewards { r, undecided: undecided.iter().sum() })
}

/// Why a step cannot teach anything, if so.
pub fn reason_to_skip(rewards: &Rewards, scored: &[Scored]) -> Option<String> {
    if !scored.is_empty() {
        None
    } else if rewards.r.iter().any(|rewards| has_spread(rewards)) {
        Some("every answer to be learned from was cut off by the token budget, and executor.train_overlong is off".into())
    } else if rewards.r.iter().flatten().all(|&reward| reward == 0.0) {
        Some("no answer agrees with its task's label: nothing to prefer".into())
    } else {
        Some("the answers to each task are all right or all wrong: nothing to prefer".into())
    }
}

/// Whether some answers to a task earned more than others.
fn has_spread(rewards: &[f64]) -> bool {
    rewards.iter().any(|reward| *reward != rewards[0])
}

/// What is recorded of a step.
pub fn findings(tasks: &[FrontierTask], groups: &[Vec<Trajectory>], Rewards { r: rewards, undecided }: &Rewards) -> Findings {
    let answers = || groups.iter().flatten();
    let metrics = [
        ("reward_mean", mean(rewards.iter().flatten().copied())),
        ("p_hat_mean", mean(tasks.iter().map(|task| task.p_hat))),
        ("answered_share", mean(answers().map(|answer| f64::from(u8::from(answer.answer.is_some()))))),
        ("tool_calls_mean", mean(answers().map(|answer| answer.tool_calls.len() as f64))),
        ("tool_ok_share", mean(answers().flat_map(|answer| &answer.tool_calls).map(|call| f64::from(u8::from(call.ok))))),
        ("tokens_mean", mean(answers().map(|answer| answer.sampled_tokens() as f64))),
        ("groups_with_spread", Some(rewards.iter().filter(|rewards| has_spread(rewards)).count() as f64)),
        ("undecided", Some(*undecided as f64)),
    ];
    let record = |(task, of): (usize, &FrontierTask)| TaskRecord {
        task,
        question: Some(of.question.clone()),
        own_answer: None,
        fate: if has_spread(&rewards[task]) { "trained" } else { "no_spread" }.into(),
        reward: None,
    };
    let reward = |task: usize, sample: usize| (Slot { role: Role::Executor, task, sample }, rewards[task][sample]);
    Findings {
        metrics: metrics.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect(),
        tasks: tasks.iter().enumerate().map(record).collect(),
        rewards: (0..rewards.len()).flat_map(|task| (0..rewards[task].len()).map(move |sample| reward(task, sample))).collect(),
        p_hats: tasks.iter().map(|task| task.p_hat).collect(),
    }
}

impl Run<'_> {
    /// The kept tasks of an iteration.
    pub(super) fn frontier(&self, t: usize) -> Result<Vec<FrontierTask>, EvolveError> {
        Ok(self.store.frontier(t)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Phase;

    fn frontier(n: usize) -> Vec<FrontierTask> {
        let place = Place { iteration: 1, phase: Phase::Frontier, step: 1 };
        (0..n).map(|index| FrontierTask { place, index, question: index.to_string(), label: String::new(), p_hat: 0.5 }).collect()
    }

    fn chosen(frontier: &[FrontierTask], step: usize, n: usize) -> Vec<String> {
        let step = Place { iteration: 1, phase: Phase::Executor, step };
        choose(frontier, step, n, 7).into_iter().map(|task| task.question).collect()
    }

    #[test]
    fn a_pass_takes_no_task_twice_and_passes_differ() {
        let frontier = frontier(10);
        let pass = |first: usize| (first..first + 3).flat_map(|step| chosen(&frontier, step, 3)).collect::<Vec<_>>();
        for first in [1, 4, 7] {
            let mut tasks = pass(first);
            tasks.sort();
            tasks.dedup();
            assert_eq!(tasks.len(), 9);
        }
        assert_ne!(pass(1), pass(4));
        assert_eq!(pass(1), pass(1));
    }

    #[test]
    fn a_small_frontier_is_taken_whole() {
        assert_eq!(chosen(&frontier(2), 5, 8).len(), 2);
        assert_eq!(chosen(&frontier(1), 1, 1), ["0"]);
    }
}
