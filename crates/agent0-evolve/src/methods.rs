//! Ways to co-evolve, one file each.

pub mod agent0;
