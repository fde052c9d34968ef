//! Trajectories, votes, advantages, objectives, and the rollout loop with tools.
