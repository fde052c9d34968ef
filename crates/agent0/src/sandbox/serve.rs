//! `agent0 sandbox serve`: SandboxFusion's `POST /run_code`, so that training scripts made for it can point here.
//!
//! Only Python, no files in or out. `run_timeout` counts CPU time, with a backstop in wall-clock time, so a busy machine fails no program.
//! At most so many calls wait; one more is refused at once with status 503.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use agent0_sandbox::{Limits, Outcome, Program, Sandbox, Status};
use anyhow::Context;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::cli::SandboxServeArgs;

/// The largest request: the longest programs have some megabytes, and JSON may take six bytes for one.
const BODY_MAX: usize = 64 << 20;
/// Seconds of CPU time without `run_timeout`.
const DEFAULT_TIMEOUT: f64 = 10.0;

/// Serves until Ctrl-C.
pub fn run(args: &SandboxServeArgs) -> anyhow::Result<ExitCode> {
    let service = Service {
        sandbox: super::start(super::configure(&args.options)?)?,
        room: Semaphore::new(args.queue.get()),
        queue: args.queue.get(),
        memory_mib: args.options.memory,
        scratch_bytes: args.options.scratch_bytes(),
        longest: f64::from(args.max_timeout.get()),
    };
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    runtime.block_on(async {
        let listener = TcpListener::bind(args.listen).await.with_context(|| format!("listening on {}", args.listen))?;
        let address = listener.local_addr().unwrap_or(args.listen);
        eprintln!("isolation {}; POST http://{address}/run_code; Ctrl-C ends it", service.sandbox.isolation());
        warn_of_the_world(address);
        let stop = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
        tokio::select! {
            served = axum::serve(listener, router(service)).into_future() => served.context("serving"),
            () = stop => Ok(()),
        }
    })?;
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(ExitCode::SUCCESS)
}

fn warn_of_the_world(address: SocketAddr) {
    if !address.ip().is_loopback() {
        eprintln!("agent0: WARNING: whoever reaches {address} can use this machine's CPU time; there is no password");
    }
}

/// What all requests share.
struct Service {
    sandbox: Sandbox,
    /// Places for calls, running and waiting.
    room: Semaphore,
    queue: usize,
    memory_mib: u64,
    /// The size of a call's scratch folder, if it has one.
    scratch_bytes: Option<u64>,
    /// The most CPU seconds that a request may ask for.
    longest: f64,
}

fn router(service: Service) -> Router {
    Router::new()
        .route("/run_code", post(run_code))
        .route("/v1/ping", get(|| async { "pong" }))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(Arc::new(service))
}

/// A request, as far as it means something here; there may be other fields.
#[derive(Debug, Deserialize)]
struct Request {
    code: String,
    #[serde(default = "python")]
    language: String,
    run_timeout: Option<f64>,
    #[serde(rename = "memory_limit_MB")]
    memory_limit_mb: Option<i64>,
    stdin: Option<String>,
    /// Names with base64, and names: refused unless empty.
    files: Option<Value>,
    fetch_files: Option<Value>,
}

fn python() -> String {
    "python".into()
}

/// SandboxFusion's answer.
#[derive(Debug, Serialize)]
struct Response {
    /// `Success`, `Failed` or `SandboxError`.
    status: &'static str,
    message: String,
    compile_result: Option<Value>,
    run_result: Option<RunResult>,
    executor_pod_name: Option<String>,
    files: serde_json::Map<String, Value>,
}

#[derive(Debug, Serialize)]
struct RunResult {
    /// `Finished`, `TimeLimitExceeded` or `Error`.
    status: &'static str,
    execution_time: f64,
    return_code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Response {
    fn new(status: &'static str, message: String, run_result: Option<RunResult>) -> Json<Self> {
        Json(Self { status, message, compile_result: None, run_result, executor_pod_name: None, files: serde_json::Map::new() })
    }

    fn refusal(message: String) -> Json<Self> {
        Self::new("SandboxError", message, None)
    }
}

async fn run_code(State(service): State<Arc<Service>>, request: Result<Json<Request>, JsonRejection>) -> (StatusCode, Json<Response>) {
    let request = match request {
        Ok(Json(request)) => request,
        Err(rejection) => return (rejection.status(), Response::refusal(rejection.body_text())),
    };
    if let Err(message) = request.check() {
        return (StatusCode::BAD_REQUEST, Response::refusal(message));
    }
    let Ok(_place) = service.room.try_acquire() else {
        let message = format!("{} calls run or wait already; try again later", service.queue);
        return (StatusCode::SERVICE_UNAVAILABLE, Response::refusal(message));
    };
    let limits = request.limits(&service);
    let program = Program { code: request.code.into(), stdin: request.stdin.unwrap_or_default().into(), seed: 0 };
    match service.sandbox.run_program(program, &limits).await {
        Ok(outcome) => (StatusCode::OK, answer(outcome)),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, Response::refusal(error.to_string())),
    }
}

impl Request {
    fn check(&self) -> Result<(), String> {
        let is_empty = |value: &Option<Value>| match value {
            None | Some(Value::Null) => true,
            Some(Value::Object(map)) => map.is_empty(),
            Some(Value::Array(list)) => list.is_empty(),
            Some(_) => false,
        };
        if self.language != "python" {
            return Err(format!("language {:?} is not known here; only \"python\" is", self.language));
        }
        if !is_empty(&self.files) || !is_empty(&self.fetch_files) {
            return Err("files and fetch_files must be empty: none go in or out".into());
        }
        if self.run_timeout.is_some_and(|t| !(t > 0.0 && t.is_finite())) {
            return Err("run_timeout must be more than 0 seconds".into());
        }
        if self.memory_limit_mb.is_some_and(|mb| mb == 0 || mb < -1) {
            return Err("memory_limit_MB must be -1 or more than 0".into());
        }
        Ok(())
    }

    /// `run_timeout` in whole seconds of CPU time; `memory_limit_MB` on top of what Python itself takes, up to what the service allows.
    fn limits(&self, service: &Service) -> Limits {
        const PYTHON_MIB: u64 = 256;
        let cpu_s = self.run_timeout.unwrap_or(DEFAULT_TIMEOUT).min(service.longest).ceil() as u64;
        let asked = self.memory_limit_mb.and_then(|mb| u64::try_from(mb).ok());
        let mib = asked.map_or(service.memory_mib, |mb| service.memory_mib.min(mb.saturating_add(PYTHON_MIB)));
        Limits { memory_bytes: mib << 20, ..Limits::with_cpu(cpu_s).with_scratch(service.scratch_bytes) }
    }
}

fn answer(outcome: Outcome) -> Json<Response> {
    let (status, return_code) = match outcome.status {
        Status::Finished { code } => ("Finished", Some(code)),
        // As Python's subprocess says it.
        Status::Signal(signal) => ("Finished", Some(-signal)),
        Status::CpuLimit | Status::WallLimit => ("TimeLimitExceeded", None),
        Status::MemoryLimit | Status::OutputLimit => ("Error", None),
    };
    let mut stderr = outcome.stderr;
    if !matches!(outcome.status, Status::Finished { .. }) {
        stderr += &format!("{}\n", outcome.status);
    }
    let result = RunResult { status, execution_time: outcome.wall_s, return_code, stdout: outcome.stdout, stderr };
    Response::new(if outcome.status.is_success() { "Success" } else { "Failed" }, String::new(), Some(result))
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent0_sandbox::SandboxConfig;
    use axum::body::Body;
    use axum::http::Request as HttpRequest;
    use tower::ServiceExt;

    fn service(queue: usize) -> Router {
        let sandbox = Sandbox::start(SandboxConfig { preload: vec![], ..SandboxConfig::new("python3") }).unwrap();
        router(Service { sandbox, room: Semaphore::new(queue), queue, memory_mib: 1024, scratch_bytes: None, longest: 20.0 })
    }

    async fn ask(service: &Router, body: &str) -> (StatusCode, Value) {
        let request = HttpRequest::post("/run_code").header("content-type", "application/json").body(Body::from(body.to_owned()));
        let response = service.clone().oneshot(request.unwrap()).await.unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    #[tokio::test]
    async fn answers_are_sandbox_fusions() {
        let service = service(8);
        let (http, answer) =
            ask(&service, r#"{"code": "print(input())", "stdin": "hello", "compile_timeout": 10, "language": "python"}"#).await;
        assert_eq!((http, &answer["status"], &answer["message"]), (StatusCode::OK, &"Success".into(), &"".into()));
        let keys: Vec<&String> = answer.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["status", "message", "compile_result", "run_result", "executor_pod_name", "files"]);
        let result = &answer["run_result"];
        assert_eq!((&result["status"], &result["return_code"], &result["stdout"]), (&"Finished".into(), &0.into(), &"hello\n".into()));
        assert!(result["execution_time"].as_f64().is_some_and(|t| t > 0.0) && result["stderr"] == "");

        let (_, failed) = ask(&service, r#"{"code": "print(1)\n1/0"}"#).await;
        assert_eq!((&failed["status"], &failed["run_result"]["return_code"]), (&"Failed".into(), &1.into()));
        assert!(failed["run_result"]["stderr"].as_str().unwrap().ends_with("ZeroDivisionError: division by zero\n"));

        let (_, late) = ask(&service, r#"{"code": "print(1)\nwhile True: pass", "run_timeout": 1}"#).await;
        let result = &late["run_result"];
        assert_eq!((&late["status"], &result["status"]), (&"Failed".into(), &"TimeLimitExceeded".into()));
        assert_eq!((&result["stdout"], &result["return_code"]), (&"1\n".into(), &Value::Null));
    }

    #[tokio::test]
    async fn nonsense_is_refused_with_the_reason() {
        let service = service(8);
        let cases = [
            ("{", "", 400),
            ("{}", "code", 422),
            (r#"{"code": 1}"#, "code", 422),
            (r#"{"code": "", "language": "cpp"}"#, "cpp", 400),
            (r#"{"code": "", "files": {"a": "eA=="}}"#, "files", 400),
            (r#"{"code": "", "run_timeout": -1}"#, "run_timeout", 400),
            (r#"{"code": "", "memory_limit_MB": 0}"#, "memory_limit_MB", 400),
        ];
        for (body, reason, status) in cases {
            let (http, answer) = ask(&service, body).await;
            assert_eq!((http.as_u16(), &answer["status"]), (status, &"SandboxError".into()), "{body}");
            assert!(answer["message"].as_str().unwrap().contains(reason), "{answer}");
        }
        assert_eq!(ask(&service, r#"{"code": "print(1)", "files": {}, "fetch_files": [], "stdin": null}"#).await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_empties_again() {
        let service = service(1);
        // The first is polled first, and takes the only place while it sleeps.
        let (slow, refused) = tokio::join!(ask(&service, r#"{"code": "import time; time.sleep(0.2)"}"#), ask(&service, r#"{"code": ""}"#));
        assert_eq!(slow.0, StatusCode::OK);
        assert_eq!((refused.0, &refused.1["status"]), (StatusCode::SERVICE_UNAVAILABLE, &"SandboxError".into()));
        assert_eq!(ask(&service, r#"{"code": ""}"#).await.0, StatusCode::OK);
    }
}
