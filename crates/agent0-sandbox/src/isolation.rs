//! The levels of isolation, and findings about them, in plain types.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A level of isolation. System-call filters belong to the first two, limits and a clean environment to all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Namespaces: other files, processes and networks do not exist there. Landlock too, where the kernel has it.
    Full,
    /// No namespaces (as in many containers): Landlock keeps files and networks away, but whether a path exists, its size and its times
    /// can be seen, which Landlock does not cover.
    Landlock,
    /// Nothing but limits and a clean environment: code can read, write and reach what the user can. Only when asked for by name
    /// (`SandboxConfig::unsafe_no_isolation`), and only where no other level is to be had.
    None,
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full (namespaces, Landlock, seccomp)",
            Self::Landlock => "without namespaces (Landlock, seccomp)",
            Self::None => "NONE (limits only)",
        })
    }
}

/// What a machine allows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// The best level, if there is any.
    pub isolation: Option<Isolation>,
    /// What was tried.
    pub steps: Vec<Step>,
}

/// One thing that isolation is built from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What it is.
    pub name: String,
    /// Whether it works here.
    pub available: bool,
    /// In which form it works, or why it does not and what helps.
    pub detail: String,
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.steps.iter().enumerate() {
            let separator = if i == 0 { "" } else { "\n" };
            let mark = if step.available { "yes" } else { "no" };
            write!(f, "{separator}  {}: {mark}, {}", step.name, step.detail)?;
        }
        Ok(())
    }
}

impl Probe {
    /// The findings when the launcher itself did not come up.
    pub(crate) fn without_launcher(detail: String) -> Self {
        Self { isolation: None, steps: vec![Step { name: "launcher".into(), available: false, detail }] }
    }
}
