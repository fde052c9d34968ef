//! Co-evolution methods, their phases and rewards, the run store and resume.
