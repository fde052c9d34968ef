//! Shows a run at work: a line per finished step, and a status that says what is being done and how long it may take.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use agent0_evolve::store::StepRecord;
use agent0_evolve::{Event, Observer, Phase, Place, Role};

use crate::terminal::{Terminal, bar, duration};

/// Draws the events of a run.
pub struct Progress<'a> {
    terminal: &'a Terminal,
    verbose: bool,
    state: Mutex<State>,
}

struct State {
    began: Instant,
    iterations: usize,
    steps: usize,
    /// Trajectories that this process sampled or learned from.
    done: usize,
    /// Trajectories that are still to be sampled or learned from.
    left: usize,
    part: Part,
}

/// The sampling that is going on, or was last.
struct Part {
    began: Instant,
    role: Role,
    total: usize,
    stored: usize,
    done: usize,
    tokens: usize,
    tool_calls: usize,
    answered: usize,
}

impl<'a> Progress<'a> {
    /// Draws on `terminal`, all numbers of each step when `verbose`.
    pub fn new(terminal: &'a Terminal, verbose: bool) -> Self {
        let part = Part::new(Role::Proposer, 0, 0);
        let state = State { began: Instant::now(), iterations: 0, steps: 0, done: 0, left: 0, part };
        Self { terminal, verbose, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step_done(&self, state: &State, record: &StepRecord, p_hats: &[f64]) {
        let mut line = format!("{}  {}", state.place(record.place), headline(record));
        if !p_hats.is_empty() {
            line += &format!("  p^ {}", histogram(p_hats));
        }
        line += &format!("  {}", duration(record.seconds));
        if let Some(reason) = &record.skipped {
            line += &format!("  SKIPPED: {reason}");
        }
        self.terminal.line(&line);
        if self.verbose {
            let numbers: Vec<String> = record.metrics.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
            self.terminal.line(&format!("    {}", numbers.join(", ")));
        }
    }
}

impl Observer for Progress<'_> {
    fn event(&self, event: &Event) {
        let mut state = self.state();
        match event {
            Event::Started { place, iterations } => {
                state.iterations = *iterations;
                if *place != Place::START {
                    self.terminal.line(&format!("going on at {place}"));
                }
            }
            Event::Phase { place, steps } => {
                state.steps = *steps;
                let purpose = match place.phase {
                    Phase::Curriculum => "training the agent that writes tasks",
                    Phase::Frontier => "writing tasks and keeping those the executor is unsure about",
                    Phase::Executor => "training the agent that solves tasks",
                };
                self.terminal.line(&format!("iteration {} of {}, {} phase: {purpose}", place.iteration, state.iterations, place.phase));
            }
            Event::Sampling { place, role, stored, total, later } => {
                state.part = Part::new(*role, *stored, *total);
                state.left = later + total - stored;
                self.terminal.status(&state.sampling(*place));
            }
            Event::Trajectory { place, trajectory, .. } => {
                state.done += 1;
                state.left = state.left.saturating_sub(1);
                let part = &mut state.part;
                part.done += 1;
                part.tokens += trajectory.sampled_tokens() + trajectory.dropped;
                part.tool_calls += trajectory.tool_calls.len();
                part.answered += usize::from(trajectory.answer.is_some());
                self.terminal.status(&state.sampling(*place));
            }
            Event::Training { place, done, total, later } => {
                let share = *done as f64 / (*total).max(1) as f64;
                let left = later + total - done;
                // At its beginning nothing was learned: what was left before may have been another number, as after a resume.
                if *done > 0 {
                    state.done += state.left.saturating_sub(left);
                }
                state.left = left;
                self.terminal.status(&format!("{}  learning {}{}", state.place(*place), bar(share), state.time_left()));
            }
            Event::Step { record, p_hats } => self.step_done(&state, record, p_hats),
            Event::PhaseDone { iteration, phase, note } if !note.is_empty() => {
                self.terminal.line(&format!("iteration {iteration}, {phase}: {note}"));
            }
            Event::PhaseDone { .. } => {}
        }
    }
}

impl State {
    fn place(&self, place: Place) -> String {
        format!("[{}/{}] {} {}/{}", place.iteration, self.iterations, place.phase, place.step, self.steps.max(place.step))
    }

    fn sampling(&self, place: Place) -> String {
        let part = &self.part;
        let what = match part.role {
            Role::Proposer => "writing tasks",
            Role::Executor => "answering",
        };
        let share = (part.stored + part.done) as f64 / part.total.max(1) as f64;
        let mut text = format!("{}  {what} {} {}/{}", self.place(place), bar(share), part.stored + part.done, part.total);
        if part.done > 0 {
            text += &format!("  {:.0} tokens/s", part.tokens as f64 / part.began.elapsed().as_secs_f64().max(1e-3));
            if part.role == Role::Executor {
                let n = part.done as f64;
                text += &format!("  {:.1} tool calls, {:.0}% answered", part.tool_calls as f64 / n, 100.0 * part.answered as f64 / n);
            }
        }
        text + &self.time_left()
    }

    /// From the pace so far; nothing while there is too little to go by.
    fn time_left(&self) -> String {
        const ENOUGH: usize = 8;
        if self.done < ENOUGH || self.left == 0 {
            return String::new();
        }
        let pace = self.began.elapsed().as_secs_f64() / self.done as f64;
        format!("  about {} left", duration(pace * self.left as f64))
    }
}

impl Part {
    fn new(role: Role, stored: usize, total: usize) -> Self {
        Self { began: Instant::now(), role, total, stored, done: 0, tokens: 0, tool_calls: 0, answered: 0 }
    }
}

/// The numbers of a step that everyone wants to see.
fn headline(record: &StepRecord) -> String {
    let metric = |name: &str| record.metrics.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
    let shown: &[(&str, &str)] = match record.place.phase {
        Phase::Curriculum => &[
            ("reward", "reward_mean"),
            ("uncertainty", "uncertainty_mean"),
            ("tool", "tool_mean"),
            ("repetition", "repetition_mean"),
            ("format", "format_share"),
            ("tool calls", "tool_calls_mean"),
            ("kl", "kl"),
        ],
        Phase::Frontier => &[("kept", "kept"), ("of", "generated"), ("answered", "answered_share"), ("tool calls", "tool_calls_mean")],
        Phase::Executor => &[
            ("reward", "reward_mean"),
            ("answered", "answered_share"),
            ("tool calls", "tool_calls_mean"),
            ("clipped up", "clip_high_fraction"),
            ("kl", "kl"),
        ],
    };
    let number = |name: &str, value: f64| match name {
        "kept" | "generated" => format!("{value:.0}"),
        "kl" => format!("{value:.4}"),
        _ => format!("{value:.2}"),
    };
    let parts: Vec<String> =
        shown.iter().filter_map(|(label, name)| metric(name).map(|value| format!("{label} {}", number(name, value)))).collect();
    let rates = ["sampled_tokens_per_second", "trained_tokens_per_second"].into_iter().filter_map(metric);
    let rates: Vec<String> = rates.map(|rate| format!("{rate:.0}")).collect();
    if rates.is_empty() {
        parts.join(", ")
    } else {
        format!("{}, {} tokens/s", parts.join(", "), rates.join(" sampled and ") + if rates.len() > 1 { " trained" } else { "" })
    }
}

/// How many tasks have a self-consistency of 0 to 0.2, 0.2 to 0.4, and so on: `0.48 [1 3 5 2 1]` after their mean.
fn histogram(p_hats: &[f64]) -> String {
    let mut bins = [0usize; 5];
    for p in p_hats {
        bins[((p * 5.0) as usize).min(4)] += 1;
    }
    let mean = p_hats.iter().sum::<f64>() / p_hats.len() as f64;
    let counts: Vec<String> = bins.iter().map(usize::to_string).collect();
    format!("{mean:.2} [{}]", counts.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_count_fifths() {
        assert_eq!(histogram(&[0.0, 0.1, 0.5, 1.0, 0.9]), "0.50 [2 0 1 0 2]");
    }

    #[test]
    fn a_headline_leaves_out_what_is_not_known() {
        let metrics = vec![("reward_mean".into(), 0.5), ("kl".into(), 0.00123), ("sampled_tokens_per_second".into(), 321.4)];
        let place = Place { phase: Phase::Executor, ..Place::START };
        let record = StepRecord { place, skipped: None, tokens_trained: 0, seconds: 1.0, metrics, tasks: Vec::new(), rewards: Vec::new() };
        assert_eq!(headline(&record), "reward 0.50, kl 0.0012, 321 tokens/s");
    }
}
