//! How much of a run is left, in trajectories to be sampled or learned from, which take about as long. For estimates of time only.

use crate::config::Config;
use crate::place::{Phase, Place};

/// What is being done in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// The curriculum agent writes.
    Proposing,
    /// The executor answers.
    Answering,
    /// The agent in training learns.
    Learning,
}

/// Trajectories that are to be sampled or learned from after what is being done in `place`, if all texts are tasks and one
/// round makes a frontier of the least size wanted.
pub fn left_after(config: &Config, place: Place, doing: Doing) -> usize {
    let step = of_step(config, place);
    let of_this_step = match doing {
        Doing::Proposing => step.answers + step.learned,
        Doing::Answering => step.learned,
        Doing::Learning => 0,
    };
    let phases = (place.iteration..=config.iterations).flat_map(|iteration| Phase::ALL.map(|phase| (iteration, phase)));
    let steps = phases.flat_map(|(iteration, phase)| (1..=steps(config, phase)).map(move |step| Place { iteration, phase, step }));
    let later: usize = steps.filter(|&later| later > place).map(|later| of_step(config, later).total()).sum();
    of_this_step + later
}

fn steps(config: &Config, phase: Phase) -> usize {
    match phase {
        Phase::Curriculum => config.curriculum.steps,
        Phase::Frontier => 1,
        Phase::Executor => config.executor.steps,
    }
}

#[derive(Default)]
struct Work {
    proposals: usize,
    answers: usize,
    learned: usize,
}

impl Work {
    fn total(&self) -> usize {
        self.proposals + self.answers + self.learned
    }
}

fn of_step(config: &Config, place: Place) -> Work {
    match place.phase {
        Phase::Curriculum => {
            let tasks = config.curriculum.tasks_per_step;
            Work { proposals: tasks, answers: tasks * config.curriculum.samples, learned: tasks }
        }
        Phase::Frontier => Work { proposals: config.frontier.pool, answers: config.frontier.pool * config.frontier.samples, learned: 0 },
        Phase::Executor => {
            if config.executor.reuse_answers && place.step == 1 {
                return Work { learned: config.frontier.min_kept * config.frontier.samples, ..Work::default() };
            }
            let answers = config.executor.tasks_per_step * config.executor.group_size;
            Work { answers, learned: answers, ..Work::default() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_left_is_counted_once() {
        let mut config = Config { iterations: 2, ..Config::default() };
        (config.curriculum.steps, config.curriculum.tasks_per_step, config.curriculum.samples) = (2, 10, 3);
        (config.frontier.pool, config.frontier.max_pool, config.frontier.samples, config.frontier.min_kept) = (20, 40, 4, 4);
        (config.executor.steps, config.executor.tasks_per_step, config.executor.group_size) = (3, 2, 5);
        let at = |iteration, phase, step| Place { iteration, phase, step };
        let (curriculum, frontier) = (2 * 10 * (1 + 3 + 1), 20 * (1 + 4));

        let executor = 3 * 2 * 5 * 2;
        assert_eq!(left_after(&config, Place::START, Doing::Proposing), 2 * (curriculum + frontier + executor) - 10);
        assert_eq!(left_after(&config, at(2, Phase::Frontier, 1), Doing::Answering), executor);
        assert_eq!(left_after(&config, at(2, Phase::Frontier, 2), Doing::Answering), executor, "another round was not expected");
        assert_eq!(left_after(&config, at(2, Phase::Executor, 3), Doing::Learning), 0);

        config.executor.reuse_answers = true;
        assert_eq!(
            left_after(&config, at(2, Phase::Frontier, 1), Doing::Answering),
            executor - 2 * 2 * 5 + 4 * 4,
            "a step learns from 4 tasks answered 4 times"
        );
    }
}
