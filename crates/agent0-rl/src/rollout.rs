//! One trajectory from its prompt to its end (algorithm.md section 1): sample, run the tool, append, repeat.
//!
//! Many trajectories are in flight at once and the engine batches them; nothing here knows of the others.

use std::sync::Arc;

use agent0_engine::{
    Codec, CodecError, Engine, EngineError, OnToken, SampleRequest, Sampled, SamplingParams, StopReason, StopRule, TokenId, Weights,
};
use serde::{Deserialize, Serialize};

use crate::observe::{Event, Observer, Telling};
use crate::scan::{Found, Scanner, StretchRule, Watch};
use crate::tool::shorten;
use crate::{Ending, Seed, Tool, ToolCall, ToolError, Trajectory};

/// How trajectories are sampled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RolloutParams {
    /// Most tool calls; after the last one the model goes on without the tool. With 0 there is none.
    pub max_turns: usize,
    /// Most tokens sampled, those that are cut away included. Environment tokens do not count.
    pub max_tokens: usize,
    /// Most tokens of one tool result.
    pub tool_output_tokens: usize,
    /// Divides the logits; 0 takes the most probable token always.
    pub temperature: f32,
    /// Keep the smallest set of most probable tokens that reaches this mass; 1 keeps all.
    pub top_p: f32,
    /// Keep this many most probable tokens; 0 keeps all.
    pub top_k: usize,
}

impl Default for RolloutParams {
    fn default() -> Self {
        Self { max_turns: 4, max_tokens: 1024, tool_output_tokens: 512, temperature: 1.0, top_p: 1.0, top_k: 0 }
    }
}

/// Why a trajectory could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum RolloutError {
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Text could not be turned into ids.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The tool failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
}

/// One attempt that nobody watches: [`Rollout::run`].
pub async fn rollout(
    engine: &dyn Engine,
    codec: &Arc<dyn Codec>,
    tool: Option<&dyn Tool>,
    prompt: &[TokenId],
    weights: Weights,
    params: &RolloutParams,
    seed: Seed,
) -> Result<Trajectory, RolloutError> {
    Rollout { engine, codec, tool, weights, params, observer: None }.run(prompt, seed).await
}

/// What the attempts of one policy share.
#[derive(Clone, Copy)]
pub struct Rollout<'a> {
    /// Who samples.
    pub engine: &'a dyn Engine,
    /// Text to ids and back.
    pub codec: &'a Arc<dyn Codec>,
    /// What python blocks are run with.
    pub tool: Option<&'a dyn Tool>,
    /// The policy.
    pub weights: Weights,
    /// How it is sampled.
    pub params: &'a RolloutParams,
    /// Who is told of an attempt while it grows; changes nothing.
    pub observer: Option<&'a Observer>,
}

impl Rollout<'_> {
    /// One attempt with a tool, until a boxed answer, the end of the model's turn, or a limit.
    ///
    /// At a closed python block the tool is run and its result appended as environment tokens. When the model begins an
    /// output block itself, the tokens from its fence on are dropped, and the environment says there instead why nothing
    /// was run. Sampled tokens are kept or dropped whole: the token that completes a block or a box stays even when it
    /// says more, and a token that holds the first backtick of an invented output goes even when it begins before it.
    ///
    /// Without a tool only an answer, the end of the turn or a limit ends it, and code blocks are just text.
    ///
    /// Each stretch is sampled, and each program run, with a seed derived from (`seed`, its number): the trajectory does
    /// not depend on what else is in flight. Dropping the future cancels it.
    ///
    /// # Errors
    /// When the engine, the tokenizer or the tool fails; never because of what the model wrote.
    pub async fn run(&self, prompt: &[TokenId], seed: Seed) -> Result<Trajectory, RolloutError> {
        let Self { engine, codec, tool, weights, params, observer } = *self;
        let tool = tool.filter(|_| params.max_turns > 0);
        let sampler = Sampler { engine, stop_tokens: codec.stop_tokens(), weights, params };
        let mut trajectory = Trajectory::new(prompt);
        let mut turn = 0u64;
        loop {
            let ready = tool.filter(|_| trajectory.tool_calls.len() < params.max_turns);
            let watch = match (tool, ready) {
                (None, _) => Watch::Answers,
                (Some(_), None) => Watch::AnswersAndOutputs,
                (Some(_), Some(_)) => Watch::All,
            };
            let rule = StretchRule { codec: codec.clone(), watch };
            let telling = observer.map(|observer| Telling::new(observer, codec, Some(watch)));
            let room = match sampler.room(&trajectory) {
                Ok(room) => room,
                Err(ending) => return Ok(trajectory.ended(ending)),
            };
            let on_token = telling.as_ref().map(Telling::on_token);
            let stretch = sampler.sample(&trajectory, room, Some(Arc::new(rule)), on_token, seed.child("stretch").child(turn)).await?;
            let found = scan(codec.as_ref(), watch, &stretch.ids);
            let kept = match &found {
                None => stretch.ids.len(),
                Some((_, Found::Output { at, .. })) => whole_tokens(codec.as_ref(), &stretch.ids, *at),
                Some((taken, _)) => *taken,
            };
            trajectory.push_sampled(&stretch.ids[..kept], &stretch.logprobs[..kept]);
            if let Some(telling) = telling {
                telling.finish(&stretch.ids[..kept], &stretch.logprobs[..kept]);
            }
            let Some((taken, found)) = found else {
                let ending = sampler.ending(&trajectory, stretch.stop);
                return Ok(trajectory.ended(ending));
            };
            trajectory.dropped += taken - kept;

            let in_block = matches!(found, Found::Output { in_block: true, .. });
            let result = match (found, ready) {
                (Found::Boxed(answer), _) => {
                    trajectory.answer = Some(answer);
                    return Ok(trajectory.ended(Ending::Boxed));
                }
                (Found::Code(code), Some(tool)) => {
                    if let Err(ending) = sampler.room(&trajectory) {
                        return Ok(trajectory.ended(ending));
                    }
                    let result = tool.call(&code, seed.child("tool").child(turn).value()).await?;
                    let output = shorten(codec.as_ref(), &result.text, params.tool_output_tokens)?;
                    trajectory.tool_calls.push(ToolCall { code, output: output.clone(), ok: result.ok });
                    output
                }
                (_, None) => format!("[not run: all {} tool calls are used]", params.max_turns),
                (_, Some(_)) => "[not run: no python block was closed before this]".to_owned(),
            };
            let environment = output_block(codec.as_ref(), &trajectory, in_block, &result)?;
            if trajectory.ids.len() + environment.len() >= engine.info().context {
                return Ok(trajectory.ended(Ending::Context));
            }
            trajectory.push_environment(&environment);
            if let Some(observer) = observer {
                observer(Event::Environment(environment));
            }
            turn += 1;
        }
    }

    /// One plain continuation, as [`generate`] samples it.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn plain(&self, prompt: &[TokenId], seed: Seed) -> Result<Trajectory, RolloutError> {
        let Self { engine, codec, weights, params, .. } = *self;
        let telling = self.observer.map(|observer| Telling::new(observer, codec, None));
        Sampler { engine, stop_tokens: codec.stop_tokens(), weights, params }.plain(prompt, telling, seed).await
    }
}

/// One plain continuation until the model ends its turn or a limit is reached; boxes and code blocks are just text.
pub async fn generate(
    engine: &dyn Engine,
    codec: &dyn Codec,
    prompt: &[TokenId],
    weights: Weights,
    params: &RolloutParams,
    seed: Seed,
) -> Result<Trajectory, RolloutError> {
    Sampler { engine, stop_tokens: codec.stop_tokens(), weights, params }.plain(prompt, None, seed).await
}

/// What all stretches of a trajectory share.
struct Sampler<'a> {
    engine: &'a dyn Engine,
    stop_tokens: &'a [TokenId],
    weights: Weights,
    params: &'a RolloutParams,
}

impl Sampler<'_> {
    /// One stretch and no more.
    async fn plain(&self, prompt: &[TokenId], telling: Option<Telling>, seed: Seed) -> Result<Trajectory, RolloutError> {
        let mut trajectory = Trajectory::new(prompt);
        let ending = match self.room(&trajectory) {
            Ok(room) => {
                let stretch = self.sample(&trajectory, room, None, telling.as_ref().map(Telling::on_token), seed).await?;
                trajectory.push_sampled(&stretch.ids, &stretch.logprobs);
                if let Some(telling) = telling {
                    telling.finish(&stretch.ids, &stretch.logprobs);
                }
                self.ending(&trajectory, stretch.stop)
            }
            Err(ending) => ending,
        };
        Ok(trajectory.ended(ending))
    }

    /// How many tokens may still be sampled, at least one; or the limit that is reached.
    fn room(&self, trajectory: &Trajectory) -> Result<usize, Ending> {
        let budget = self.params.max_tokens.saturating_sub(trajectory.sampled_tokens() + trajectory.dropped);
        let context = self.engine.info().context.saturating_sub(trajectory.ids.len());
        match (budget, context) {
            (0, _) => Err(Ending::Budget),
            (_, 0) => Err(Ending::Context),
            _ => Ok(budget.min(context)),
        }
    }

    async fn sample(
        &self,
        trajectory: &Trajectory,
        room: usize,
        stop_rule: Option<Arc<dyn StopRule>>,
        on_token: Option<OnToken>,
        seed: Seed,
    ) -> Result<Sampled, EngineError> {
        let params = SamplingParams {
            max_tokens: room,
            temperature: self.params.temperature,
            top_p: self.params.top_p,
            top_k: self.params.top_k,
            stop_tokens: self.stop_tokens.to_vec(),
            stop_sequences: Vec::new(),
            stop_rule,
            on_token,
            seed: seed.value(),
        };
        let request = SampleRequest { prompt: trajectory.ids.clone(), n: 1, params, weights: self.weights };
        let stretch = self.engine.sample(request).await?.into_iter().next();
        match stretch {
            Some(stretch) if stretch.ids.len() == stretch.logprobs.len() => Ok(stretch),
            _ => Err(EngineError::Stopped("it did not return one log-probability per token of one continuation".to_owned())),
        }
    }

    /// Why a trajectory is over whose last stretch ended without a find.
    fn ending(&self, trajectory: &Trajectory, stop: StopReason) -> Ending {
        match (stop, self.room(trajectory)) {
            (StopReason::StopToken, _) => Ending::Stop,
            (_, Err(ending)) => ending,
            // The engine's own limit is tighter than the context it stated.
            (_, Ok(_)) => Ending::Context,
        }
    }
}

/// The first find in a stretch, and how many of its tokens were read by then.
fn scan(codec: &dyn Codec, watch: Watch, ids: &[TokenId]) -> Option<(usize, Found)> {
    let mut scanner = Scanner::new(watch);
    ids.iter().enumerate().find_map(|(i, &id)| Some((i + 1, scanner.push(codec.bytes(id))?)))
}

/// How many tokens lie wholly before byte `at` of their text.
fn whole_tokens(codec: &dyn Codec, ids: &[TokenId], at: usize) -> usize {
    let mut end = 0;
    ids.iter()
        .take_while(|&&id| {
            end += codec.bytes(id).len();
            end <= at
        })
        .count()
}

/// Tokens of an output block that stands on its own lines after `trajectory`, closing the python block it is in.
fn output_block(codec: &dyn Codec, trajectory: &Trajectory, in_block: bool, result: &str) -> Result<Vec<TokenId>, CodecError> {
    let last_byte = trajectory.ids.iter().rev().find_map(|&id| codec.bytes(id).last());
    let newline = if last_byte.is_none_or(|&byte| byte == b'\n') { "" } else { "\n" };
    let close = if in_block { "```\n" } else { "" };
    codec.encode(&format!("{newline}{close}```output\n{result}\n```\n"))
}
