//! What a run tells whoever watches it. Drawing is the watcher's business.

use agent0_rl::Trajectory;

use crate::place::{Phase, Place, Role};
use crate::store::StepRecord;

/// Something that happened in a run.
#[derive(Debug)]
pub enum Event<'a> {
    /// The run begins, or goes on where it was.
    Started {
        /// What comes first.
        place: Place,
        /// Iterations of the run.
        iterations: usize,
    },
    /// A phase begins, or goes on.
    Phase {
        /// Its iteration, phase and first step.
        place: Place,
        /// Its last step; for the frontier, the most rounds there can be.
        steps: usize,
    },
    /// A part of a step that samples trajectories begins.
    Sampling {
        /// The step.
        place: Place,
        /// Who speaks.
        role: Role,
        /// Trajectories already stored by an earlier process.
        stored: usize,
        /// Trajectories in all.
        total: usize,
        /// Trajectories that the rest of the run is expected to sample or to learn from after these.
        later: usize,
    },
    /// A trajectory was finished and stored.
    Trajectory {
        /// The step.
        place: Place,
        /// Who spoke.
        role: Role,
        /// What came out.
        trajectory: &'a Trajectory,
    },
    /// The data of a step are being learned from.
    Training {
        /// The step.
        place: Place,
        /// Trajectories done.
        done: usize,
        /// Trajectories in all.
        total: usize,
        /// Trajectories that the rest of the run is expected to sample or to learn from after these.
        later: usize,
    },
    /// A step is done and stored.
    Step {
        /// All that is known of it.
        record: &'a StepRecord,
        /// Self-consistency of the step's labelled tasks.
        p_hats: &'a [f64],
    },
    /// A phase is done, or cannot be done for the reason given.
    PhaseDone {
        /// Its iteration.
        iteration: usize,
        /// Which phase.
        phase: Phase,
        /// What to tell, such as the yield of the frontier.
        note: String,
    },
}

/// Someone who watches a run.
pub trait Observer: Send + Sync {
    /// Is told of an event. Must return soon: the run waits.
    fn event(&self, event: &Event);
}

/// Watches nothing.
pub struct Unobserved;

impl Observer for Unobserved {
    fn event(&self, _: &Event) {}
}
