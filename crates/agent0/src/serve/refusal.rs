//! What is said to a request that is not answered: OpenAI's error objects.

use agent0_engine::EngineError;
use agent0_rl::RolloutError;
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// Why a request is refused, or could not be answered.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    kind: &'static str,
    code: Option<&'static str>,
    /// The field at fault.
    field: Option<String>,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, kind: &'static str, code: Option<&'static str>, message: impl Into<String>) -> Self {
        Self { status, kind, code, field: None, message: message.into() }
    }

    fn invalid(status: StatusCode, code: Option<&'static str>, message: impl Into<String>) -> Self {
        Self::new(status, "invalid_request_error", code, message)
    }

    /// A field that is wrong, and how.
    pub fn of(field: &str, wrong: &str) -> Self {
        Self { field: Some(field.to_owned()), ..Self::invalid(StatusCode::BAD_REQUEST, None, format!("`{field}`: {wrong}")) }
    }

    /// A prompt that leaves no room in the model's context.
    pub fn too_long(tokens: usize, context: usize) -> Self {
        let message = format!("the prompt has {tokens} tokens; the model's context of {context} leaves no room for an answer");
        Self::invalid(StatusCode::BAD_REQUEST, Some("context_length_exceeded"), message)
    }

    pub fn no_such_model(asked: &str, there: &str) -> Self {
        let message = format!("there is no model {asked:?} here; there is {there:?}");
        Self { field: Some("model".to_owned()), ..Self::invalid(StatusCode::NOT_FOUND, Some("model_not_found"), message) }
    }

    pub fn no_such_path() -> Self {
        let message = "nothing is here; there are /v1/models, /v1/chat/completions, /v1/completions and /health";
        Self::invalid(StatusCode::NOT_FOUND, None, message)
    }

    pub fn wrong_method() -> Self {
        Self::invalid(StatusCode::METHOD_NOT_ALLOWED, None, "this path is there, but not for this method")
    }

    pub fn wrong_token() -> Self {
        let message = "the API key is missing or wrong; send it as `Authorization: Bearer KEY`";
        Self::invalid(StatusCode::UNAUTHORIZED, Some("invalid_api_key"), message)
    }

    pub fn full(queue: usize) -> Self {
        let message = format!("{queue} requests are in flight already; try again later");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", Some("rate_limit_exceeded"), message)
    }

    /// The error object.
    pub fn body(&self) -> Value {
        json!({ "error": { "message": self.message, "type": self.kind, "param": self.field, "code": self.code } })
    }
}

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        // A JSON value that is no object is as wrong as text that is no JSON.
        let status = match rejection.status() {
            StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
            status => status,
        };
        Self::invalid(status, None, rejection.body_text())
    }
}

impl From<RolloutError> for Refusal {
    fn from(error: RolloutError) -> Self {
        match error {
            RolloutError::Engine(EngineError::Request(_)) => Self::invalid(StatusCode::BAD_REQUEST, None, error.to_string()),
            error => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", None, error.to_string()),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        let extra = match self.status {
            StatusCode::UNAUTHORIZED => Some((header::WWW_AUTHENTICATE, "Bearer")),
            StatusCode::TOO_MANY_REQUESTS => Some((header::RETRY_AFTER, "1")),
            _ => None,
        };
        if let Some((name, value)) = extra {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}
