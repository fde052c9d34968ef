//! Agent0 (algorithm.md): two agents grown from one base model. pi_theta invents tasks, pi_phi solves them with a Python
//! tool, and each trains the other. The whole method, top to bottom; the symbols are those of algorithm.md.
//!
//! What a step records stands beside it in `curriculum`, `frontier` and `executor`; how it is resumed, in [`Run`].

mod curriculum;
mod executor;
mod frontier;

use agent0_rl::{Ending, Scored, adpo_group, grpo_group};

use crate::config::ObjectiveChoice;
use crate::error::EvolveError;
use crate::learning::{Learned, Recipe};
use crate::place::Phase;
use crate::reward::rewards;
use crate::run::{Findings, Run};

type Result<T> = std::result::Result<T, EvolveError>;

/// Does whatever is left of the run: T iterations of curriculum phase, frontier and executor phase.
pub async fn evolve(run: &mut Run<'_>) -> Result<()> {
    for t in run.place().iteration..=run.config.iterations {
        curriculum_phase(run, t).await?;
        build_frontier(run, t).await?;
        executor_phase(run, t).await?;
    }
    Ok(())
}

/// Trains pi_theta by GRPO; the reward is how useful its tasks are to the frozen pi_phi (sections 3 and 4).
async fn curriculum_phase(run: &mut Run<'_>, t: usize) -> Result<()> {
    let config = run.config.curriculum.clone();
    if !run.begins(t, Phase::Curriculum, config.steps) {
        return Ok(());
    }
    let pi_phi = run.frozen_executor().await?;
    let recipe = Recipe {
        reference: run.reference().await?,
        beta: config.beta,
        temperature: config.temperature,
        learning_rate: config.learning_rate,
        updates: config.updates_per_step,
        budget: config.max_tokens,
    };
    for step in run.steps_left(config.steps) {
        // pi_theta, as it is now, writes B tasks; the format gate reads them.
        let proposals = run.propose(step, run.curriculum.live(), config.tasks_per_step).await?;
        let tasks = curriculum::gate(run, &proposals);

        // pi_phi answers each k times and votes; p^ and its tool calls make the reward R_C.
        let attempts = run.attempt(step, &curriculum::questions(&tasks), config.samples, pi_phi).await?;
        let parts = curriculum::judged(&tasks, &attempts, |batch| rewards(batch, &config.reward));
        let r: Vec<f64> = parts.iter().map(|parts| parts.composite).collect();

        // One prompt, so the whole batch is the natural group. A group without spread teaches nothing.
        let group = if config.group_size == 0 { proposals.len() } else { config.group_size };
        let groups = proposals.chunks(group).zip(r.chunks(group));
        let scored: Vec<Scored> = groups.filter_map(|(proposals, r)| grpo_group(proposals, r, config.clip)).flatten().collect();

        let learned = match curriculum::reason_to_skip(&parts, &scored) {
            Some(reason) => Learned::skipped(reason),
            None => run.learn(step, &scored, &recipe).await?,
        };
        let fates = curriculum::fates(run, t, &proposals, &attempts)?;
        run.finish(step, learned, curriculum::findings(&proposals, &tasks, &attempts, &parts, &fates)).await?;
    }
    run.end_phase(String::new()).await
}

/// The frozen pi_theta writes a large pool; the tasks that pi_phi is unsure about are kept, labelled by majority (section 5).
async fn build_frontier(run: &mut Run<'_>, t: usize) -> Result<()> {
    let config = run.config.frontier.clone();
    if !run.begins(t, Phase::Frontier, config.max_pool.div_ceil(config.pool)) {
        return Ok(());
    }
    let (pi_theta, pi_phi) = (run.frozen_curriculum().await?, run.frozen_executor().await?);
    // Round by round, until the pool is written and enough survived, or the stated limit is reached.
    while let Some(n) = frontier::next_round(run, t)? {
        let round = run.place();
        let proposals = run.propose(round, pi_theta, n).await?;
        let tasks = frontier::sift(run, t, &proposals)?;
        let attempts = run.attempt(round, &frontier::questions(&tasks), config.samples, pi_phi).await?;
        run.finish(round, Learned::none(), frontier::findings(&tasks, &attempts, &run.config)).await?;
    }
    let note = frontier::report(run, t)?;
    run.end_phase(note).await
}

/// Trains pi_phi by ADPO on the frontier, with tool-integrated multi-turn rollouts (section 6).
async fn executor_phase(run: &mut Run<'_>, t: usize) -> Result<()> {
    let config = run.config.executor.clone();
    if !run.begins(t, Phase::Executor, config.steps) {
        return Ok(());
    }
    let frontier = run.frontier(t)?;
    if frontier.is_empty() {
        let reason = format!("no task of iteration {t} is in the frontier: the executor stays as it is");
        for step in run.steps_left(1) {
            run.finish(step, Learned::skipped(&reason), Findings::default()).await?;
        }
        return run.end_phase(reason).await;
    }
    let recipe = Recipe {
        reference: run.reference().await?,
        beta: config.beta,
        temperature: run.config.rollout.temperature,
        learning_rate: config.learning_rate,
        updates: config.updates_per_step,
        budget: run.config.rollout.max_tokens,
    };
    for step in run.steps_left(config.steps) {
        // pi_phi, as it is now, answers each task of the step G times, with the tool. To begin with it need not: the answers that
        // the frontier was chosen by are its own, and one step can learn from all of them.
        let (tasks, groups) = if config.reuse_answers && step.step == 1 {
            (frontier.clone(), executor::answers_of_frontier(run, &frontier)?)
        } else {
            let tasks = executor::choose(&frontier, step, config.tasks_per_step, run.config.seed);
            let groups = run.answer(step, &executor::questions(&tasks), config.group_size, run.executor.live()).await?;
            (tasks, groups)
        };

        // r = 1 where the answer is the task's label; doubtful labels teach less and may explore more.
        let rewards = executor::rewards(run, &tasks, &groups).await?;
        let mut scored: Vec<Scored> = Vec::new();
        for ((task, group), r) in tasks.iter().zip(&groups).zip(&rewards.r) {
            let group = match config.objective {
                ObjectiveChoice::Adpo => adpo_group(group, r, task.p_hat, &config.adpo),
                ObjectiveChoice::Grpo => grpo_group(group, r, config.adpo.clip),
            };
            // An answer that the budget cut off counts in its group's mean; whether it is also learned from is a choice.
            scored.extend(group.into_iter().flatten().filter(|scored| config.train_overlong || scored.trajectory.ending != Ending::Budget));
        }

        let learned = match executor::reason_to_skip(&rewards, &scored) {
            Some(reason) => Learned::skipped(reason),
            None => run.learn(step, &scored, &recipe).await?,
        };
        run.finish(step, learned, executor::findings(&tasks, &groups, &rewards)).await?;
    }
    run.end_phase(String::new()).await
}

/// `None` for the mean of nothing.
fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0usize), |(sum, n), value| (sum + value, n + 1));
    (n > 0).then(|| sum / n as f64)
}
