//! `agent0 serve`: a model behind OpenAI's API. Chats are answered by the executor's rollout: python blocks are run on this side, and
//! their results stand in the text. What a request may say is in `request`, what is said back in `reply`, refusals in `refusal`.
//!
//! Each request's choices are attempts of their own; whoever goes away cancels them. Requests beyond the queue are refused at once.

mod refusal;
mod reply;
mod request;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use agent0_engine::{Codec, Message, Role};
use agent0_rl::{Ending, RolloutError, RolloutParams, Seed};
use anyhow::Context;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header;
use axum::middleware::{self, Next};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use futures_util::stream::{self, Stream, StreamExt};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::cli::ServeArgs;
use crate::setup::{equip, equip_without_tool};
use crate::speech::{Attempt, Manner, Said, Speaker};
use crate::stop::stop_signal;
use crate::subject::Subject;
use crate::terminal::Terminal;
use refusal::Refusal;
use reply::{Answer, Finish, Reply};
use request::{Asked, ChatRequest, CompletionRequest, Prompt, check_prompt};

/// The largest request.
const BODY_MAX: usize = 16 << 20;
/// How long requests in flight may go on after the signal to stop; a second signal ends them at once.
const GRACE: Duration = Duration::from_secs(30);

/// Serves until Ctrl-C.
pub fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let terminal = Terminal::new(false);
    let subject = Subject::executor(args.run.as_deref(), &args.used)?;
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    let service = runtime.block_on(Service::start(args, subject, &terminal))?;
    terminal.clear();
    runtime.block_on(async {
        let address = SocketAddr::new(args.host, args.port);
        let listener = TcpListener::bind(address).await.with_context(|| format!("listening on {address}"))?;
        let address = listener.local_addr().unwrap_or(address);
        eprintln!("{} at http://{address}/v1; Ctrl-C ends it", service.model);
        if !address.ip().is_loopback() && service.token.is_none() {
            eprintln!("agent0: WARNING: whoever reaches {address} can use this model; --token demands a key");
        }
        let stop = Arc::new(Semaphore::new(0));
        let stopping = stop.clone();
        let graceful = async move { drop(stopping.acquire().await) };
        // A chunk is sent when it is there, not when a packet is full. Where that cannot be had, streams are a little slower.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        let serving = axum::serve(listener, router(service)).with_graceful_shutdown(graceful);
        tokio::select! {
            served = serving.into_future() => served.context("serving"),
            ended = end(&stop) => ended.context("waiting for Ctrl-C"),
        }
    })?;
    // The engine may be in the middle of a computation that nobody waits for any more: do not wait either.
    runtime.shutdown_timeout(Duration::from_secs(1));
    std::process::exit(0);
}

/// Comes back when requests in flight are to be cut off: some time after the first signal, which `stop` then knows of, or at the second.
async fn end(stop: &Semaphore) -> std::io::Result<()> {
    stop_signal().await?;
    eprintln!("stopping: requests in flight have {} s; Ctrl-C again ends them", GRACE.as_secs());
    stop.add_permits(1);
    tokio::select! {
        stopped = stop_signal() => stopped,
        () = tokio::time::sleep(GRACE) => Ok(()),
    }
}

/// What all requests share.
struct Service {
    speaker: Arc<Speaker>,
    /// What the model is called.
    model: String,
    /// How it is sampled where a request does not say.
    params: RolloutParams,
    /// What the executor is told of its tool.
    system: String,
    /// What clients must show.
    token: Option<String>,
    /// Places for requests.
    room: Arc<Semaphore>,
    queue: usize,
}

impl Service {
    async fn start(args: &ServeArgs, subject: Subject, terminal: &Terminal) -> anyhow::Result<Self> {
        let (engine, codec, sandbox) = match args.no_tool {
            true => {
                let (engine, codec) = equip_without_tool(&subject.config, terminal)?;
                (engine, codec, None)
            }
            false => {
                let equipment = equip(&subject.config, args.used.isolation.unsafe_no_isolation, terminal)?;
                (equipment.engine, equipment.tokenizer, Some(equipment.sandbox))
            }
        };
        let weights = subject.weights(&engine).await?;
        let tool = sandbox.map(|sandbox| sandbox as _);
        Ok(Self {
            speaker: Arc::new(Speaker { engine: Arc::new(engine), codec, tool, weights }),
            model: subject.served_as,
            params: subject.config.rollout,
            system: subject.config.prompts.executor_system,
            token: args.token.clone(),
            room: Arc::new(Semaphore::new(args.queue.get())),
            queue: args.queue.get(),
        })
    }

    fn codec(&self) -> &dyn Codec {
        &*self.speaker.codec
    }

    /// A place for a request, if there is one.
    fn place(&self) -> Result<Arc<OwnedSemaphorePermit>, Refusal> {
        self.room.clone().try_acquire_owned().map(Arc::new).map_err(|_| Refusal::full(self.queue))
    }
}

fn router(service: Service) -> Router {
    let service = Arc::new(service);
    Router::new()
        .route("/v1/models", get(models))
        .route("/v1/models/{*model}", get(model))
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(completions))
        .layer(middleware::from_fn_with_state(service.clone(), authorise))
        .route("/health", get(|| async { Json(json!({ "status": "ok" })) }))
        .fallback(async || Refusal::no_such_path())
        .method_not_allowed_fallback(async || Refusal::wrong_method())
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(service)
}

/// Lets through who shows the token, if there is one.
async fn authorise(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    match &service.token {
        Some(token) if !shown.is_some_and(|shown| same(shown, token.as_bytes())) => Refusal::wrong_token().into_response(),
        _ => next.run(request).await,
    }
}

/// Comparison in a time that tells nothing of where the two differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |difference, (a, b)| std::hint::black_box(difference | (a ^ b)));
    a.len() == b.len() && difference == 0
}

async fn models(State(service): State<Arc<Service>>) -> Json<Value> {
    Json(json!({ "object": "list", "data": [reply::model(&service.model)] }))
}

async fn model(State(service): State<Arc<Service>>, axum::extract::Path(name): axum::extract::Path<String>) -> Response {
    if name == service.model {
        Json(reply::model(&name)).into_response()
    } else {
        Refusal::no_such_model(&name, &service.model).into_response()
    }
}

type Body = Result<Json<Map<String, Value>>, JsonRejection>;

async fn chat(State(service): State<Arc<Service>>, body: Body) -> Result<Response, Refusal> {
    let Json(body) = body?;
    let ChatRequest { mut messages, tool, asked } = ChatRequest::parse(body, &service.model, &service.params)?;
    if tool == Some(true) && service.speaker.tool.is_none() {
        return Err(Refusal::of("tool", "this server runs no programs (--no-tool)"));
    }
    let manner = if tool.unwrap_or(true) && service.speaker.tool.is_some() { Manner::WithTool } else { Manner::Plain };
    if manner == Manner::WithTool && !service.system.is_empty() && messages.iter().all(|message| message.role != Role::System) {
        messages.insert(0, Message::new(Role::System, service.system.clone()));
    }
    let prompt = service.codec().chat(&messages).map_err(|error| Refusal::of("messages", &error.to_string()))?;
    check_prompt(&prompt, service.speaker.engine.info())?;
    let reply = Reply::chat(&service.model, &service.speaker.engine.info().numerics, &asked);
    answer(&service, reply, &asked, manner, vec![(prompt, String::new())]).await
}

async fn completions(State(service): State<Arc<Service>>, body: Body) -> Result<Response, Refusal> {
    let Json(body) = body?;
    let CompletionRequest { prompts, echo, asked } = CompletionRequest::parse(body, &service.model, &service.params)?;
    let codec = service.codec();
    let read = |prompt: Prompt| {
        let ids = match &prompt {
            Prompt::Text(text) => codec.encode(text).map_err(|error| Refusal::of("prompt", &error.to_string()))?,
            Prompt::Ids(ids) => ids.clone(),
        };
        check_prompt(&ids, service.speaker.engine.info())?;
        let begun = match prompt {
            _ if !echo => String::new(),
            Prompt::Text(text) => text,
            Prompt::Ids(ids) => codec.decode(&ids),
        };
        Ok((ids, begun))
    };
    let prompts = prompts.into_iter().map(read).collect::<Result<Vec<_>, Refusal>>()?;
    let reply = Reply::completion(&service.model, &service.speaker.engine.info().numerics, &asked);
    answer(&service, reply, &asked, Manner::Plain, prompts).await
}

/// Answers `asked.n` times to each prompt, given as ids with the text to begin the answer with: as it comes, or when it is whole.
async fn answer(
    service: &Arc<Service>,
    reply: Reply,
    asked: &Asked,
    manner: Manner,
    prompts: Vec<(Vec<u32>, String)>,
) -> Result<Response, Refusal> {
    let place = service.place()?;
    let prompt_tokens = prompts.iter().map(|(ids, _)| ids.len()).sum();
    let (begun, attempts): (Vec<String>, Vec<Attempt>) = attempts(prompts, asked, manner).unzip();
    let heard = attempts.into_iter().enumerate().map(|(index, attempt)| heard(service, index, attempt, place.clone()).boxed());
    let heard = stream::select_all(heard);
    if asked.stream {
        let events = reply.events(begun, heard, prompt_tokens).map(|data| Ok::<_, Infallible>(Event::default().data(data)));
        return Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response());
    }
    Ok(Json(reply.whole(begun, heard, prompt_tokens).await?).into_response())
}

/// The attempts of a request, each with the text that its answer begins with. Choice i of a prompt depends on (seed, prompt, i) only.
fn attempts(prompts: Vec<(Vec<u32>, String)>, asked: &Asked, manner: Manner) -> impl Iterator<Item = (String, Attempt)> {
    let (n, seed) = (asked.n, Seed::root(asked.seed).child("serve"));
    let (params, stops) = (asked.params.clone(), asked.stops.clone());
    prompts.into_iter().enumerate().flat_map(move |(number, (prompt, begun))| {
        let (params, stops) = (params.clone(), stops.clone());
        (0..n).map(move |sample| {
            let seed = seed.child(number).child(sample);
            (begun.clone(), Attempt { prompt: prompt.clone(), manner, params: params.clone(), stops: stops.clone(), seed })
        })
    })
}

/// What is heard of a choice, until its end. Holds the request's place as long as the attempt is made.
fn heard(
    service: &Arc<Service>,
    index: usize,
    attempt: Attempt,
    place: Arc<OwnedSemaphorePermit>,
) -> impl Stream<Item = (usize, Result<Answer, RolloutError>)> + Send + use<> {
    stream::unfold((service.speaker.speak(attempt), place), move |(mut speech, place)| async move {
        let said = speech.next().await?;
        let answer = said.map(|said| match said {
            Said::Words(piece) => Answer::Text(piece),
            Said::Result(block) => Answer::Text(block.into()),
            Said::End { tokens, trajectory } => {
                let ending = trajectory.map(|trajectory| trajectory.ending);
                let finish = if matches!(ending, Some(Ending::Budget | Ending::Context)) { Finish::Length } else { Finish::Stop };
                Answer::End { finish, tokens }
            }
        });
        Some(((index, answer), (speech, place)))
    })
}
