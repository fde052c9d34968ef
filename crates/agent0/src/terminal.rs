//! Where progress is shown: bars that redraw themselves on a terminal, plain lines elsewhere, nothing when quiet. All of it goes
//! to standard error; standard output is for results.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use agent0_provision::Event as SetupEvent;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Between two plain status lines.
const PLAIN_INTERVAL: Duration = Duration::from_secs(30);

/// A place for lines and one status line.
pub struct Terminal {
    bar: Option<ProgressBar>,
    quiet: bool,
    last_status: Mutex<Instant>,
}

impl Terminal {
    /// Standard error.
    pub fn new(quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self { bar, quiet, last_status: Mutex::new(Instant::now()) }
    }

    /// A line that stays.
    pub fn line(&self, text: &str) {
        match &self.bar {
            _ if self.quiet => {}
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    /// A line that stays, and that is shown to those who want to hear nothing too.
    pub fn warn(&self, text: &str) {
        let text = format!("agent0: WARNING: {text}");
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    /// What is being done now: replaces the status before it on a terminal, is a line now and then elsewhere.
    pub fn status(&self, text: &str) {
        match &self.bar {
            _ if self.quiet => {}
            Some(bar) => bar.set_message(text.to_owned()),
            None => {
                let mut last = self.last_status.lock().unwrap_or_else(PoisonError::into_inner);
                if last.elapsed() >= PLAIN_INTERVAL {
                    *last = Instant::now();
                    eprintln!("{text}");
                }
            }
        }
    }

    /// Takes the status away.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Shows set-up work, which has one piece at a time.
pub struct SetupProgress<'a> {
    terminal: &'a Terminal,
    piece: Mutex<Option<Piece>>,
}

struct Piece {
    what: String,
    total: Option<u64>,
    began: Instant,
    /// Bytes that an earlier try had brought: they say nothing about the speed.
    kept: Option<u64>,
}

impl<'a> SetupProgress<'a> {
    /// Shows on `terminal`.
    pub fn new(terminal: &'a Terminal) -> Self {
        Self { terminal, piece: Mutex::new(None) }
    }

    /// Takes an event of `agent0-provision`.
    pub fn event(&self, event: SetupEvent) {
        let mut piece = self.piece.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            SetupEvent::Started { what, total } => {
                self.terminal.line(&format!("{what} ..."));
                *piece = Some(Piece { what, total, began: Instant::now(), kept: None });
            }
            SetupEvent::Advanced { done } => {
                if let Some(piece) = piece.as_mut() {
                    self.terminal.status(&piece.status(done));
                }
            }
            SetupEvent::Finished => {
                *piece = None;
                self.terminal.status("");
            }
            SetupEvent::Note(text) => self.terminal.line(&text),
        }
    }
}

impl Piece {
    fn status(&mut self, done: u64) -> String {
        let kept = *self.kept.get_or_insert(done);
        let bytes = agent0_provision::human_bytes;
        let mut text = format!("{}: {}", self.what, bytes(done));
        let rate = (done - kept.min(done)) as f64 / self.began.elapsed().as_secs_f64().max(1e-3);
        if let Some(total) = self.total.filter(|&total| total > 0) {
            text = format!("{}: {}  {} of {}", self.what, bar(done as f64 / total as f64), bytes(done), bytes(total));
            if rate > 0.0 {
                text += &format!(", {} left", duration((total.saturating_sub(done)) as f64 / rate));
            }
        }
        if rate > 0.0 {
            text += &format!(", {}/s", bytes(rate as u64));
        }
        text
    }
}

/// A bar of twenty characters.
pub fn bar(share: f64) -> String {
    let full = (share.clamp(0.0, 1.0) * 20.0) as usize;
    format!("[{}{}] {:3.0}%", "#".repeat(full), ".".repeat(20 - full), share.clamp(0.0, 1.0) * 100.0)
}

/// Seconds for people: `42 s`, `12 min`, `1 h 05 min`.
pub fn duration(seconds: f64) -> String {
    let seconds = seconds.round().max(0.0) as u64;
    match seconds {
        0..=99 => format!("{seconds} s"),
        100..=5999 => format!("{} min", (seconds + 30) / 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        let cases = [(0.4, "0 s"), (99.0, "99 s"), (100.0, "2 min"), (5400.0, "90 min"), (7260.0, "2 h 01 min"), (f64::NAN, "0 s")];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn bars_fill() {
        assert_eq!(bar(0.0), "[....................]   0%");
        assert_eq!(bar(0.5), "[##########..........]  50%");
        assert_eq!(bar(7.0), "[####################] 100%");
    }
}
