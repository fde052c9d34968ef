//! Co-evolution methods, their phases and rewards, the run store and resume.

pub mod bleu;
pub mod cluster;
pub mod reward;
