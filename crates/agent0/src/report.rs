//! `agent0 report`, and the summary at the end of a run.

mod plot;

use std::fmt::Write as _;
use std::process::ExitCode;

use agent0_evolve::store::Store;
use agent0_evolve::{IterationSummary, Summary, TimeSummary, find_run, settings, summarise};

use crate::cli::ReportArgs;
use crate::terminal::duration;

/// Runs the command.
pub fn run(args: &ReportArgs) -> anyhow::Result<ExitCode> {
    let folder = find_run(&args.runs, &args.run);
    let store = Store::open_to_read(&folder)?;
    let config = settings::read_stored(&folder.join("config.toml"))?;
    let name = folder.file_name().map_or_else(|| args.run.clone(), |name| name.to_string_lossy().into_owned());
    let summary = summarise(&name, &config, &store)?;
    if args.json {
        println!("{}", serde_json::to_string(&summary)?);
    } else {
        println!("{}", text(&summary));
    }
    if let Some(file) = &args.plot {
        plot::draw(&name, &store.metrics()?, file)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A summary for people.
pub fn text(summary: &Summary) -> String {
    let mut text = format!(
        "Run {} ({}): model {}, {} tokens sampled, {} trained, {}\n",
        summary.run,
        summary.status,
        summary.model,
        summary.tokens_sampled,
        summary.tokens_trained,
        duration(summary.seconds)
    );
    text += &time(&summary.time);
    for iteration in &summary.iterations {
        add_iteration(&mut text, iteration);
    }
    text
}

fn add_iteration(text: &mut String, iteration: &IterationSummary) {
    let IterationSummary { iteration: t, curriculum, frontier, executor, skipped, examples } = iteration;
    // Writing to a String cannot fail.
    let _ = writeln!(text, "\nIteration {t}");
    let _ = writeln!(
        text,
        "  curriculum  {} steps: reward {}, well-formed {}, mean p^ {}, tool calls {}",
        curriculum.steps,
        number(curriculum.reward_mean),
        percent(curriculum.format_share),
        number(curriculum.p_hat_mean),
        number(curriculum.tool_calls_mean)
    );
    let dropped: Vec<String> =
        frontier.fates.iter().filter(|(fate, _)| fate != "kept").map(|(fate, n)| format!("{n} {}", fate.replace('_', " "))).collect();
    let _ = writeln!(
        text,
        "  frontier    kept {} of {} tasks ({}){}, mean p^ {}{}",
        frontier.kept,
        frontier.generated,
        percent(frontier.share_kept),
        if frontier.kept_of_curriculum > 0 {
            format!(" and {} of the curriculum phase", frontier.kept_of_curriculum)
        } else {
            String::new()
        },
        number(frontier.p_hat_mean),
        if dropped.is_empty() { String::new() } else { format!("; dropped: {}", dropped.join(", ")) }
    );
    let _ = writeln!(
        text,
        "  executor    {} steps: agrees with the label {}, answered {}, tool calls {}",
        executor.steps,
        percent(executor.reward_mean),
        percent(executor.answered_share),
        number(executor.tool_calls_mean)
    );
    for reason in skipped {
        let _ = writeln!(text, "  skipped     {reason}");
    }
    for example in examples {
        let question: String = example.question.split_whitespace().collect::<Vec<_>>().join(" ");
        let question = if question.chars().count() > 300 { question.chars().take(297).chain("...".chars()).collect() } else { question };
        let _ = writeln!(text, "  example     p^ {:.2}: {question}\n              majority answer: {}", example.p_hat, example.label);
    }
}

/// Where the time of finished steps went, in shares.
fn time(time: &TimeSummary) -> String {
    let TimeSummary { sampling, scoring, training, other } = *time;
    let total = sampling + scoring + training + other;
    let share = |seconds: f64| format!("{:.1}%", 100.0 * seconds / total);
    if total == 0.0 {
        return String::new();
    }
    format!(
        "Time of its steps: sampling {}, reference {}, training {}, other {}\n",
        share(sampling),
        share(scoring),
        share(training),
        share(other)
    )
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.2}"))
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{:.0}%", 100.0 * value))
}
