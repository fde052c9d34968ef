//! Where in a run something happens. Plain values; decides nothing.

use std::fmt;

use agent0_rl::Seed;

/// The three parts of an iteration, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Trains the agent that writes tasks.
    Curriculum,
    /// Writes a pool of tasks and keeps those at the executor's limit. Its steps are rounds of writing.
    Frontier,
    /// Trains the agent that solves tasks.
    Executor,
}

impl Phase {
    /// All phases in order.
    pub const ALL: [Phase; 3] = [Phase::Curriculum, Phase::Frontier, Phase::Executor];

    /// Its name in the store and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Curriculum => "curriculum",
            Phase::Frontier => "frontier",
            Phase::Executor => "executor",
        }
    }

    /// The phase of this name.
    pub fn named(name: &str) -> Option<Phase> {
        Phase::ALL.into_iter().find(|phase| phase.name() == name)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A unit of work: one step of one phase of one iteration. Iterations and steps count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Iteration t.
    pub iteration: usize,
    /// Phase of the iteration.
    pub phase: Phase,
    /// Step of the phase.
    pub step: usize,
}

impl Place {
    /// Where every run begins.
    pub const START: Place = Place { iteration: 1, phase: Phase::Curriculum, step: 1 };

    /// The next step of the same phase.
    pub fn next_step(self) -> Place {
        Place { step: self.step + 1, ..self }
    }

    /// The first step of the next phase, in the next iteration after the last phase.
    pub fn next_phase(self) -> Place {
        let (iteration, phase) = match self.phase {
            Phase::Curriculum => (self.iteration, Phase::Frontier),
            Phase::Frontier => (self.iteration, Phase::Executor),
            Phase::Executor => (self.iteration + 1, Phase::Curriculum),
        };
        Place { iteration, phase, step: 1 }
    }

    /// Seed of everything random that happens here (algorithm.md section 7).
    pub fn seed(self, run: u64) -> Seed {
        Seed::root(run).child(self.iteration).child(self.phase.name()).child(self.step)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "iteration {}, {} step {}", self.iteration, self.phase, self.step)
    }
}

/// Who speaks in a trajectory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The curriculum agent, writing a task.
    Proposer,
    /// The executor, answering one.
    Executor,
}

impl Role {
    /// Its name in the store.
    pub fn name(self) -> &'static str {
        match self {
            Role::Proposer => "proposer",
            Role::Executor => "executor",
        }
    }
}

/// One trajectory's place within a step: who speaks, on which task, for which time. Tasks and samples count from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// Who speaks.
    pub role: Role,
    /// Which task of the step.
    pub task: usize,
    /// Which attempt at it.
    pub sample: usize,
}
