//! Co-evolution methods, their phases and rewards, the run store and resume.
//!
//! Three nouns are enough to read it. A *run* is a folder: settings, store, checkpoints ([`RunFolder`]). A *place* is
//! one step of one phase of one iteration, the unit of progress ([`Place`]). The *cursor* in the store says which place
//! comes next and which checkpoints it starts from, so that a run killed at any instant goes on to the same weights.
//!
//! [`methods`] holds the algorithms, one page each. Tensors, processes and HTTP are unknown here: models are reached
//! through [`Engine`](agent0_engine::Engine), Python through [`Tool`](agent0_rl::Tool).

pub mod bleu;
pub mod checkpoint;
pub mod cluster;
pub mod config;
mod error;
mod folder;
mod forecast;
mod learning;
mod metered;
pub mod methods;
mod observer;
mod place;
pub mod prompts;
pub mod reward;
mod run;
mod sampling;
pub mod settings;
pub mod store;
mod summary;
pub mod tensorboard;
mod trained;

pub use error::EvolveError;
pub use folder::{RunFolder, default_name};
pub use learning::{Learned, Outcome, Recipe};
pub use observer::{Event, Observer, Unobserved};
pub use place::{Phase, Place, Role, Slot};
pub use run::{Agent, Findings, Machinery, Run};
pub use sampling::Attempt;
pub use settings::{ConfigError, Request};
pub use summary::{Example, IterationSummary, Summary, TimeSummary, summarise};
pub use trained::{Trained, find_run};
