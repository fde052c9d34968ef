//! The server against a scripted engine and tool: its answers byte for byte, and everything that it refuses.

#[allow(dead_code)]
#[path = "../../../agent0-rl/tests/scripted/mod.rs"]
mod scripted;

use agent0_engine::Weights;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use scripted::{ScriptedEngine, ScriptedTool};
use std::sync::atomic::Ordering;
use tower::ServiceExt;

use super::*;

struct Server {
    router: Router,
    engine: Arc<ScriptedEngine>,
    tool: Arc<ScriptedTool>,
}

impl Server {
    /// A server whose model says `stretches` and whose tool answers `results`, or never without them.
    fn new(stretches: &[&[&str]], results: Option<&[&str]>) -> Self {
        Self::changed(stretches, results, |_| {})
    }

    fn changed(stretches: &[&[&str]], results: Option<&[&str]>, change: impl FnOnce(&mut Service)) -> Self {
        let mut engine = ScriptedEngine::new(stretches);
        engine.info.vocab = usize::MAX;
        let engine = Arc::new(engine);
        let tool = Arc::new(results.map_or_else(ScriptedTool::hanging, ScriptedTool::new));
        let speaker =
            Speaker { engine: engine.clone(), codec: engine.vocabulary.clone(), tool: Some(tool.clone() as _), weights: Weights::Base };
        let mut service = Service {
            speaker: Arc::new(speaker),
            model: "mine".into(),
            params: RolloutParams::default(),
            system: "[executor]".into(),
            token: None,
            room: Arc::new(Semaphore::new(1)),
            queue: 1,
        };
        change(&mut service);
        Self { router: router(service), engine, tool }
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, HeaderMap, String) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, headers, String::from_utf8(bytes.to_vec()).unwrap())
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        let (status, _, text) = self.send(posted(path, &body)).await;
        (status, serde_json::from_str(&text).unwrap())
    }

    /// The events' data of a streamed answer.
    async fn stream(&self, path: &str, mut body: Value) -> Vec<String> {
        body["stream"] = true.into();
        let (status, headers, text) = self.send(posted(path, &body)).await;
        assert_eq!((status, headers["content-type"].to_str().unwrap()), (StatusCode::OK, "text/event-stream"));
        let events = text.strip_suffix("\n\n").unwrap().split("\n\n");
        events.map(|event| event.strip_prefix("data: ").unwrap().to_owned()).collect()
    }

    /// What the model was given to continue, the first time.
    fn prompt(&self) -> String {
        self.engine.vocabulary.decode(&self.engine.requests.lock().unwrap()[0].prompt)
    }
}

fn posted(path: &str, body: &Value) -> Request<Body> {
    Request::post(path).header("content-type", "application/json").body(Body::from(body.to_string())).unwrap()
}

fn hello() -> Value {
    json!({ "model": "mine", "messages": [{ "role": "user", "content": "[Hi]" }] })
}

fn with(mut body: Value, more: Value) -> Value {
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

const CHAT: &str = "/v1/chat/completions";
const COMPLETION: &str = "/v1/completions";
const TOOL: &[&[&str]] = &[&["Run:\n", "```py\n", "1\n", "```"], &["``", "so \\boxed{", "1}"]];
const TOLD: &str = "Run:\n```py\n1\n```\n```output\n42\n```\n``so \\boxed{1}";

#[tokio::test]
async fn a_chat_is_a_rollout_with_its_results_in_the_text() {
    let server = Server::new(TOOL, Some(&["42"]));
    let (status, answer) = server.post(CHAT, with(hello(), json!({ "logprobs": true }))).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let keys: Vec<&String> = answer.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["id", "object", "created", "model", "system_fingerprint", "choices", "usage"]);
    assert_eq!((&answer["object"], &answer["model"]), (&"chat.completion".into(), &"mine".into()));
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"], json!({ "role": "assistant", "content": TOLD, "refusal": null }));
    assert_eq!((&choice["index"], &choice["finish_reason"]), (&0.into(), &"stop".into()));
    let tokens: Vec<&str> = choice["logprobs"]["content"].as_array().unwrap().iter().map(|t| t["token"].as_str().unwrap()).collect();
    assert_eq!(tokens, [TOOL[0], TOOL[1]].concat(), "the model's own tokens");
    let prompt = "[executor][Hi]".len();
    assert_eq!(answer["usage"], json!({ "prompt_tokens": prompt, "completion_tokens": 7, "total_tokens": prompt + 7 }));
    assert_eq!((server.prompt(), server.tool.calls()), ("[executor][Hi]".into(), vec!["1\n".to_owned()]));
}

#[tokio::test]
async fn the_executors_system_prompt_is_for_chats_with_the_tool_and_without_one() {
    for (more, prompt) in [
        (json!({ "tool": true }), "[executor][Hi]"),
        (json!({ "tool": false }), "[Hi]"),
        (json!({ "messages": [{ "role": "system", "content": "[mine]" }, { "role": "user", "content": "[Hi]" }] }), "[mine][Hi]"),
    ] {
        let server = Server::new(&[&["```py\n1\n```", "<eos>"]], Some(&[]));
        server.post(CHAT, with(hello(), more.clone())).await;
        assert_eq!(server.prompt(), prompt, "{more}");
    }
}

#[tokio::test]
async fn without_the_tool_blocks_and_boxes_are_just_text() {
    let server = Server::new(&[&["```py\n1\n```\n", "\\boxed{1}", "```output\n", "2", "<eos>", "never"]], Some(&[]));
    let (_, answer) = server.post(CHAT, with(hello(), json!({ "tool": false }))).await;
    assert_eq!(answer["choices"][0]["message"]["content"], "```py\n1\n```\n\\boxed{1}```output\n2");
    assert_eq!((&answer["usage"]["completion_tokens"], server.tool.calls().len()), (&5.into(), 0));
    let server = Server::changed(&[], Some(&[]), |service| service.speaker = Arc::new(Speaker { tool: None, ..take(service) }));
    let (status, refused) = server.post(CHAT, with(hello(), json!({ "tool": true }))).await;
    assert_eq!((status, &refused["error"]["param"]), (StatusCode::BAD_REQUEST, &"tool".into()));
}

fn take(service: &Service) -> Speaker {
    let Speaker { engine, codec, tool, weights } = &*service.speaker;
    Speaker { engine: engine.clone(), codec: codec.clone(), tool: tool.clone(), weights: *weights }
}

#[tokio::test]
async fn a_stream_says_the_same_piece_by_piece() {
    let server = Server::new(TOOL, Some(&["42"]));
    let more = json!({ "logprobs": true, "stream_options": { "include_usage": true } });
    let events = server.stream(CHAT, with(hello(), more)).await;
    assert_eq!(events.last().unwrap(), "[DONE]");
    let chunks: Vec<Value> = events[..events.len() - 1].iter().map(|data| serde_json::from_str(data).unwrap()).collect();
    assert!(chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk" && chunk["id"] == chunks[0]["id"]));
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({ "role": "assistant", "content": "" }));
    let (usage, chunks) = chunks.split_last().unwrap();
    assert_eq!((&usage["choices"], &usage["usage"]["completion_tokens"]), (&json!([]), &7.into()));
    let (last, chunks) = chunks.split_last().unwrap();
    assert_eq!((&last["choices"][0]["delta"], &last["choices"][0]["finish_reason"]), (&json!({}), &"stop".into()));
    assert!(chunks.iter().all(|chunk| chunk["choices"][0]["finish_reason"].is_null() && chunk["usage"].is_null()));
    let texts: Vec<&str> = chunks[1..].iter().map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().unwrap()).collect();
    // The two backticks could have begun an invented output; with the next token it is clear that they did not.
    assert_eq!(texts, ["Run:\n", "```py\n", "1\n", "```", "\n```output\n42\n```\n", "``", "so \\boxed{", "1}"]);
    let tokens = |chunk: &Value| chunk["choices"][0]["logprobs"]["content"].as_array().unwrap().len();
    assert_eq!(chunks[1..].iter().map(tokens).collect::<Vec<_>>(), [1, 1, 1, 1, 0, 1, 1, 1]);
}

#[tokio::test]
async fn stop_strings_end_a_choice_and_are_left_out() {
    let stretch: &[&[&str]] = &[&["one\n", "t", "wo\nth", "ree", "<eos>"]];
    let body = json!({ "prompt": "0", "stop": ["two", "three"], "logprobs": 0 });
    let (_, answer) = Server::new(stretch, Some(&[])).post(COMPLETION, body.clone()).await;
    let choice = &answer["choices"][0];
    assert_eq!((&choice["text"], &choice["finish_reason"]), (&"one\n".into(), &"stop".into()));
    assert_eq!(choice["logprobs"]["tokens"], json!(["one\n"]));
    assert_eq!(answer["usage"], json!({ "prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4 }));
    let events = Server::new(stretch, Some(&[])).stream(COMPLETION, body).await;
    assert_eq!((events.len(), events[2].as_str()), (3, "[DONE]"), "{events:?}");
    assert!(events[0].contains(r#""text":"one\n""#) && events[1].contains(r#""finish_reason":"stop""#), "{events:?}");
}

#[tokio::test]
async fn completions_continue_each_prompt_n_times() {
    let said: &[&[&str]] = &[&["a"], &["é"], &["b", "c"], &["d", "e", "f"]];
    let server = Server::new(said, Some(&[]));
    let body = json!({ "prompt": ["x ", "yé "], "n": 2, "max_tokens": 2, "echo": true });
    let (_, answer) = server.post(COMPLETION, body).await;
    let choices = answer["choices"].as_array().unwrap();
    assert!(choices.iter().enumerate().all(|(index, choice)| choice["index"] == index && choice["finish_reason"] == "length"), "{answer}");
    let mut texts: Vec<&str> = choices.iter().map(|choice| choice["text"].as_str().unwrap()).collect();
    assert!(texts[..2].iter().all(|text| text.starts_with("x ")) && texts[2..].iter().all(|text| text.starts_with("yé ")), "{texts:?}");
    texts.iter_mut().for_each(|text| *text = text.rsplit(' ').next().unwrap());
    texts.sort_unstable();
    assert_eq!(texts, ["a", "bc", "de", "é"], "at most two tokens each");
    assert_eq!(answer["usage"], json!({ "prompt_tokens": 2 + 4, "completion_tokens": 6, "total_tokens": 12 }));
    let seeds: std::collections::BTreeSet<u64> = server.engine.requests.lock().unwrap().iter().map(|request| request.params.seed).collect();
    assert_eq!(seeds.len(), 4, "every choice has its own seed");
}

#[tokio::test]
async fn the_same_seed_draws_from_the_same_streams() {
    let seeds = async |seed: i64| {
        let server = Server::new(&[&["a"], &["b"]], Some(&[]));
        server.post(COMPLETION, json!({ "prompt": "x", "n": 2, "seed": seed })).await;
        let requests = server.engine.requests.lock().unwrap();
        requests.iter().map(|request| request.params.seed).collect::<Vec<_>>()
    };
    assert_eq!(seeds(1).await, seeds(1).await);
    assert_ne!(seeds(1).await, seeds(2).await);
}

#[tokio::test]
async fn offsets_count_characters() {
    let server = Server::new(&[&["é", "数数", "a"]], Some(&[]));
    let (_, answer) = server.post(COMPLETION, json!({ "prompt": [120], "logprobs": 0 })).await;
    let logprobs = &answer["choices"][0]["logprobs"];
    assert_eq!((&logprobs["text_offset"], &logprobs["tokens"]), (&json!([0, 1, 3]), &json!(["é", "数数", "a"])));
    assert!(logprobs["token_logprobs"].as_array().unwrap().iter().all(|logprob| logprob.as_f64().unwrap() < 0.0));
}

#[tokio::test]
async fn a_failing_engine_is_told_in_the_answer() {
    let (status, answer) = Server::new(&[], Some(&[])).post(CHAT, hello()).await;
    assert_eq!((status, &answer["error"]["type"]), (StatusCode::INTERNAL_SERVER_ERROR, &"server_error".into()));
    let events = Server::new(&[&["```py\n1\n```"]], Some(&[])).stream(CHAT, hello()).await;
    assert!(events.last().unwrap().contains("the script is over"), "{events:?}");
}

#[tokio::test]
async fn who_has_not_the_token_is_refused() {
    let server = Server::changed(&[&["\\boxed{1}"]], Some(&[]), |service| service.token = Some("secret".into()));
    let asked = |key: &str| {
        let mut request = posted(CHAT, &hello());
        if !key.is_empty() {
            request.headers_mut().insert("authorization", key.parse().unwrap());
        }
        request
    };
    for key in ["", "Bearer ", "Bearer secre", "Bearer secret2", "Bearer Secret", "secret", "Basic secret"] {
        let (status, headers, body) = server.send(asked(key)).await;
        assert_eq!((status, headers["www-authenticate"].to_str().unwrap()), (StatusCode::UNAUTHORIZED, "Bearer"), "{key}");
        assert!(body.contains("invalid_api_key"), "{body}");
    }
    let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    assert_eq!(server.send(get("/v1/models")).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(server.send(get("/health")).await.0, StatusCode::OK);
    assert_eq!(server.send(asked("Bearer secret")).await.0, StatusCode::OK);
}

#[tokio::test]
async fn models_are_listed() {
    let server = Server::new(&[], Some(&[]));
    let get = async |path: &str| {
        let (status, _, text) = server.send(Request::get(path).body(Body::empty()).unwrap()).await;
        (status, serde_json::from_str::<Value>(&text).unwrap())
    };
    let (_, list) = get("/v1/models").await;
    assert_eq!((&list["object"], &list["data"][0]["id"], &list["data"][0]["object"]), (&"list".into(), &"mine".into(), &"model".into()));
    assert_eq!(get("/v1/models/mine").await.1["id"], "mine");
    assert_eq!(get("/v1/models/other/one").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn nonsense_is_refused_with_an_error_object() {
    let server = Server::changed(&[], Some(&[]), |service| {
        let mut engine = ScriptedEngine::new(&[]);
        (engine.info.context, engine.info.vocab) = (16, 300);
        service.speaker = Arc::new(Speaker { engine: Arc::new(engine), ..take(service) });
    });
    let cases = [
        (posted(CHAT, &with(hello(), json!({ "model": "other" }))), 404, "model_not_found"),
        (posted(CHAT, &with(hello(), json!({ "tools": [1] }))), 400, "`tools`"),
        (posted(CHAT, &json!([1])), 400, "invalid_request_error"),
        (Request::post(CHAT).header("content-type", "application/json").body(Body::from("{")).unwrap(), 400, "invalid_request_error"),
        (Request::post(CHAT).body(Body::from("{}")).unwrap(), 415, "application/json"),
        (posted(COMPLETION, &json!({ "prompt": "0123456789abcdef" })), 400, "context_length_exceeded"),
        (posted(COMPLETION, &json!({ "prompt": "" })), 400, "empty"),
        (posted(COMPLETION, &json!({ "prompt": [300] })), 400, "300"),
        (posted("/v1/embeddings", &json!({})), 404, "/v1/completions"),
        (Request::get(CHAT).body(Body::empty()).unwrap(), 405, "invalid_request_error"),
    ];
    for (request, status, said) in cases {
        let (got, _, text) = server.send(request).await;
        assert!(got.as_u16() == status && text.contains(said), "{got}: {text}");
        assert!(serde_json::from_str::<Value>(&text).unwrap()["error"]["message"].is_string(), "{text}");
    }
}

#[tokio::test]
async fn one_too_many_is_refused_and_who_goes_away_makes_room() {
    let server = Arc::new(Server::new(&[&["```py\n1\n", "```"], &["\\boxed{1}"]], None));
    let waiting = tokio::spawn({
        let server = server.clone();
        async move { server.post(CHAT, hello()).await }
    });
    while server.tool.calls().is_empty() {
        tokio::task::yield_now().await;
    }
    let (status, headers, body) = server.send(posted(CHAT, &hello())).await;
    assert_eq!((status, headers["retry-after"].to_str().unwrap()), (StatusCode::TOO_MANY_REQUESTS, "1"));
    assert!(body.contains("rate_limit_exceeded"), "{body}");
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled() && server.tool.cancelled.load(Ordering::SeqCst));
    assert_eq!(server.post(CHAT, hello()).await.0, StatusCode::OK);
}
