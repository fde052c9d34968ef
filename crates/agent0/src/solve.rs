//! `agent0 solve`: a question, answered by the executor with its tool, as in training. One attempt is shown while it grows; of several
//! the majority answers, and how many agree says how sure that is.

mod show;

use std::io::{IsTerminal, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;

use agent0_engine::{Codec, TokenId};
use agent0_rl::{Candidate, Ending, RolloutParams, Seed, ToolCall, Trajectory, Vote, vote};
use anyhow::{Context, bail};
use futures_util::stream::{self, StreamExt};
use serde::Serialize;

use crate::cli::SolveArgs;
use crate::setup::equip;
use crate::speech::{Attempt, Manner, Said, Speaker};
use crate::streams::{Remarks, Results};
use crate::subject::Subject;
use crate::terminal::Terminal;
use show::Show;

/// Runs the command. The exit code is 1 when there is no answer.
pub fn run(args: &SolveArgs) -> anyhow::Result<ExitCode> {
    let question = question(args.question.as_deref())?;
    if question.is_empty() {
        eprintln!("agent0: the question is empty; give it as an argument or on standard input");
        return Ok(ExitCode::from(2));
    }
    let terminal = Terminal::new(false);
    let subject = Subject::executor(args.run.as_deref(), &args.used)?;
    let equipment = equip(&subject.config, args.used.isolation.unsafe_no_isolation, &terminal)?;
    let codec: Arc<dyn Codec> = equipment.tokenizer;
    let prompt = codec.chat(&subject.config.prompts.executor(&question))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the event loop")?;
    runtime.block_on(async {
        let weights = subject.weights(&equipment.engine).await?;
        let speaker = Speaker { engine: Arc::new(equipment.engine), codec, tool: Some(equipment.sandbox), weights };
        let solver = Solver { speaker: Arc::new(speaker), prompt, params: params(args, &subject.config.rollout), args, terminal };
        let seed = Seed::root(args.seed.unwrap_or(subject.config.seed)).child("solve");
        let trajectories = match args.k.get() {
            1 => vec![solver.watch(seed.child(0usize)).await?],
            k => solver.gather(k, seed, subject.config.engine.in_flight).await?,
        };
        let answers: Vec<Option<String>> = trajectories.iter().map(|trajectory| trajectory.answer.clone()).collect();
        let vote = vote(&equipment.grader, &answers, subject.config.vote).await?;
        solver.conclude(&question, &trajectories, &vote, winner(&vote, &answers))
    })
}

/// The question, from standard input if need be.
fn question(argument: Option<&str>) -> anyhow::Result<String> {
    let mut text = String::new();
    match argument {
        Some(question) if question != "-" => text.push_str(question),
        _ => {
            if std::io::stdin().is_terminal() {
                eprintln!("Type the question and end it with Ctrl-D.");
            }
            std::io::stdin().read_to_string(&mut text).context("reading the question from standard input")?;
        }
    }
    Ok(text.trim().to_owned())
}

/// The run's way of sampling, as far as the command line does not say otherwise. A single attempt is the most probable one.
fn params(args: &SolveArgs, rollout: &RolloutParams) -> RolloutParams {
    let by_itself = if args.k.get() == 1 { 0.0 } else { rollout.temperature };
    RolloutParams {
        temperature: args.temperature.unwrap_or(by_itself),
        max_tokens: args.max_tokens.map_or(rollout.max_tokens, usize::from),
        ..rollout.clone()
    }
}

struct Solver<'a> {
    speaker: Arc<Speaker>,
    prompt: Vec<TokenId>,
    params: RolloutParams,
    args: &'a SolveArgs,
    terminal: Terminal,
}

impl Solver<'_> {
    /// One attempt, shown while it grows.
    async fn watch(&self, seed: Seed) -> anyhow::Result<Trajectory> {
        self.terminal.clear();
        let mut show = self.show();
        let trajectory = self.attempt(seed, |said| show.said(said)).await?;
        show.end()?;
        Ok(trajectory)
    }

    /// `k` attempts at once.
    async fn gather(&self, k: usize, seed: Seed, in_flight: usize) -> anyhow::Result<Vec<Trajectory>> {
        let attempts = (0..k).map(async |sample| anyhow::Ok((sample, self.attempt(seed.child(sample), |_| Ok(())).await?)));
        let mut finished = stream::iter(attempts).buffer_unordered(in_flight);
        let mut trajectories: Vec<Option<Trajectory>> = vec![None; k];
        for done in 1..=k {
            self.terminal.status(&format!("attempts: {} of {k}", done - 1));
            let Some(attempt) = finished.next().await else { break };
            let (sample, trajectory) = attempt?;
            let answer = trajectory.answer.as_deref().unwrap_or("no answer");
            self.terminal.line(&format!(
                "[{done}/{k}] {answer} ({} tool calls, {} tokens)",
                trajectory.tool_calls.len(),
                sampled(&trajectory)
            ));
            trajectories[sample] = Some(trajectory);
        }
        self.terminal.clear();
        Ok(trajectories.into_iter().flatten().collect())
    }

    async fn attempt(&self, seed: Seed, mut hear: impl FnMut(&Said) -> std::io::Result<()>) -> anyhow::Result<Trajectory> {
        let manner = if self.args.no_tool { Manner::WithoutTool } else { Manner::WithTool };
        let attempt = Attempt { prompt: self.prompt.clone(), manner, params: self.params.clone(), stops: Vec::new(), seed };
        let mut speech = self.speaker.speak(attempt);
        while let Some(said) = speech.next().await {
            let said = said?;
            hear(&said).context("writing the attempt")?;
            if let Said::End { trajectory: Some(trajectory), .. } = said {
                return Ok(trajectory);
            }
        }
        bail!("the attempt ended without a result")
    }

    /// Where an attempt is shown: standard output, or standard error when that is kept for JSON.
    fn show(&self) -> Show<Box<dyn Write>> {
        match self.args.json {
            true => Show::new(Box::new(Remarks), std::io::stderr().is_terminal()),
            false => Show::new(Box::new(Results), std::io::stdout().is_terminal()),
        }
    }

    /// The vote, with one attempt that won it where none was watched.
    fn conclude(&self, question: &str, trajectories: &[Trajectory], vote: &Vote, winner: Option<&Candidate>) -> anyhow::Result<ExitCode> {
        let answer = winner.map(|winner| winner.answer.as_str());
        if let (true, Some(winner)) = (vote.k > 1, winner) {
            let mut show = self.show();
            show.trajectory(&trajectories[winner.samples[0]], &*self.speaker.codec).context("writing the attempt")?;
        }
        if self.args.json {
            println!("{}", serde_json::to_string(&Solved::new(question, answer, trajectories, vote, &*self.speaker.codec))?);
        } else if let Some(answer) = answer {
            println!("Answer: {answer}");
            if vote.k > 1 {
                println!("{}", certainty(vote));
            }
        }
        if answer.is_none() {
            eprintln!("agent0: no answer: {}", self.reason(trajectories));
        }
        Ok(ExitCode::from(u8::from(answer.is_none())))
    }

    fn reason(&self, trajectories: &[Trajectory]) -> String {
        match trajectories {
            [one] => match one.ending {
                Ending::Budget => format!("{} tokens were not enough; --max-tokens allows more", self.params.max_tokens),
                Ending::Context => "the model's context is full".to_owned(),
                Ending::Stop | Ending::Boxed => "the model ended its turn without \\boxed{...}".to_owned(),
            },
            many => match many.iter().filter(|attempt| attempt.answer.is_none()).count() {
                silent if silent < many.len() => {
                    format!("{silent} of {} attempts did not come to \\boxed{{...}}, and won the vote", many.len())
                }
                _ => format!("none of {} attempts came to \\boxed{{...}}", many.len()),
            },
        }
    }
}

/// The candidate whose answer won. Attempts without an answer may win too, by the rule `vote = "code"`; then there is none.
fn winner<'a>(vote: &'a Vote, answers: &[Option<String>]) -> Option<&'a Candidate> {
    let winner = vote.candidates.iter().find(|candidate| Some(&candidate.answer) == vote.answer.as_ref());
    winner.filter(|winner| winner.samples.iter().any(|&sample| answers[sample].is_some()))
}

/// Tokens that the model chose.
fn sampled(trajectory: &Trajectory) -> usize {
    trajectory.sampled_tokens() + trajectory.dropped
}

/// How sure a vote is, and what else was said: `p^ 0.75 (6 of 8 attempts); others: 41 (1), no answer (1)`.
fn certainty(vote: &Vote) -> String {
    let mut others: Vec<(usize, &str)> = vote
        .candidates
        .iter()
        .filter(|candidate| Some(&candidate.answer) != vote.answer.as_ref())
        .map(|candidate| (candidate.samples.len(), candidate.answer.as_str()))
        .collect();
    others.sort_by_key(|&(votes, _)| std::cmp::Reverse(votes));
    let silent = vote.k - vote.candidates.iter().map(|candidate| candidate.samples.len()).sum::<usize>();
    if silent > 0 {
        others.push((silent, "no answer"));
    }
    let others: Vec<String> = others.iter().map(|(votes, answer)| format!("{answer} ({votes})")).collect();
    let others = if others.is_empty() { String::new() } else { format!("; others: {}", others.join(", ")) };
    format!("p^ {:.2} ({} of {} attempts){others}", vote.p_hat, vote.votes, vote.k)
}

/// What `--json` says.
#[derive(Serialize)]
struct Solved<'a> {
    question: &'a str,
    answer: Option<&'a str>,
    p_hat: f64,
    votes: usize,
    k: usize,
    candidates: &'a [Candidate],
    trajectories: Vec<Attempted<'a>>,
}

#[derive(Serialize)]
struct Attempted<'a> {
    text: String,
    answer: Option<&'a str>,
    tool_calls: &'a [ToolCall],
    /// Those that the model chose.
    tokens: usize,
    ending: Ending,
}

impl<'a> Solved<'a> {
    fn new(question: &'a str, answer: Option<&'a str>, trajectories: &'a [Trajectory], vote: &'a Vote, codec: &dyn Codec) -> Self {
        let attempted = |trajectory: &'a Trajectory| Attempted {
            text: trajectory.text(codec),
            answer: trajectory.answer.as_deref(),
            tool_calls: &trajectory.tool_calls,
            tokens: sampled(trajectory),
            ending: trajectory.ending,
        };
        Self {
            question,
            answer,
            p_hat: vote.p_hat,
            votes: vote.votes,
            k: vote.k,
            candidates: &vote.candidates,
            trajectories: trajectories.iter().map(attempted).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent0_answers::Grader;
    use agent0_rl::VoteRule;

    #[test]
    fn a_vote_says_how_sure_it_is() {
        let candidate = |answer: &str, samples: &[usize]| Candidate { answer: answer.into(), samples: samples.to_vec() };
        let candidates = vec![candidate("41", &[0]), candidate("42", &[1, 2, 5]), candidate("40", &[3, 4])];
        let mut vote = Vote { answer: Some("42".into()), votes: 3, k: 8, p_hat: 0.375, candidates, undecided: 0 };
        assert_eq!(certainty(&vote), "p^ 0.38 (3 of 8 attempts); others: 40 (2), 41 (1), no answer (2)");
        vote.candidates = vec![candidate("42", &[0, 1])];
        (vote.k, vote.votes, vote.p_hat) = (2, 2, 1.0);
        assert_eq!(certainty(&vote), "p^ 1.00 (2 of 2 attempts)");
    }

    #[tokio::test]
    async fn attempts_without_an_answer_count_as_the_run_says() {
        let answers = |given: &[Option<&str>]| given.iter().map(|answer| answer.map(str::to_owned)).collect::<Vec<_>>();
        let silent = answers(&[None, Some("5"), None]);
        for (rule, wins, p_hat) in [(VoteRule::Paper, Some("5"), 1.0 / 3.0), (VoteRule::Code, None, 2.0 / 3.0)] {
            let vote = vote(&Grader::new(None), &silent, rule).await.unwrap();
            assert_eq!((winner(&vote, &silent).map(|winner| winner.answer.as_str()), vote.p_hat), (wins, p_hat), "{rule:?}");
        }
        let said = answers(&[Some("5"), None, Some("5")]);
        let vote = vote(&Grader::new(None), &said, VoteRule::Code).await.unwrap();
        assert_eq!(winner(&vote, &said).map(|winner| winner.samples.as_slice()), Some(&[0, 2][..]));
    }
}
