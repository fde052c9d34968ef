//! What a request says. A field that means something here is taken; one that would change the answer and means nothing here is refused by
//! name, so nobody gets less than was asked for without knowing.

use std::hash::{BuildHasher, Hasher, RandomState};

use agent0_engine::{EngineInfo, Message, Role, TokenId};
use agent0_rl::RolloutParams;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::refusal::Refusal;

/// Most choices of a request.
const CHOICES_MAX: usize = 128;
/// Most stop strings of a request.
const STOPS_MAX: usize = 4;
/// `max_tokens` of completions where it is not given, as OpenAI has it.
const COMPLETION_TOKENS: usize = 16;

/// Fields that change no answer.
const HARMLESS: [&str; 8] =
    ["user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "parallel_tool_calls"];

/// What both kinds of request can say.
#[derive(Debug)]
pub struct Asked {
    /// Choices for each prompt.
    pub n: usize,
    pub params: RolloutParams,
    pub stops: Vec<String>,
    /// By chance if it was not given.
    pub seed: u64,
    /// Whether log-probabilities of the tokens are wanted.
    pub logprobs: bool,
    /// Whether the answer is to come as it is made.
    pub stream: bool,
    /// Whether a stream is to end with its usage.
    pub include_usage: bool,
}

/// `POST /v1/chat/completions`
#[derive(Debug)]
pub struct ChatRequest {
    pub messages: Vec<Message>,
    /// Whether programs are to be run; the server decides if nothing is said.
    pub tool: Option<bool>,
    pub asked: Asked,
}

/// `POST /v1/completions`
#[derive(Debug)]
pub struct CompletionRequest {
    pub prompts: Vec<Prompt>,
    /// Whether the answer begins with the prompt.
    pub echo: bool,
    pub asked: Asked,
}

/// What is to be continued.
#[derive(Debug, PartialEq)]
pub enum Prompt {
    Text(String),
    Ids(Vec<TokenId>),
}

impl ChatRequest {
    /// Reads a request for `model`; what it leaves open is as in `defaults`.
    pub fn parse(body: Map<String, Value>, model: &str, defaults: &RolloutParams) -> Result<Self, Refusal> {
        let mut fields = Fields(body);
        let messages: Vec<Turn> = fields.need("messages")?;
        if messages.is_empty() {
            return Err(Refusal::of("messages", "at least one is needed"));
        }
        let messages = messages.into_iter().enumerate().map(|(at, turn)| turn.message(at)).collect::<Result<_, _>>()?;
        let tool = fields.take("tool")?;
        let logprobs = fields.take("logprobs")?.unwrap_or(false);
        if fields.take::<u32>("top_logprobs")?.is_some_and(|top| top > 0) {
            return Err(Refusal::of("top_logprobs", "only the chosen tokens' log-probabilities are known here; it can only be 0"));
        }
        let max_tokens = match (fields.take("max_completion_tokens")?, fields.take("max_tokens")?) {
            (Some(a), Some(b)) if a != b => {
                return Err(Refusal::of("max_tokens", "max_completion_tokens says otherwise; give one of them"));
            }
            (a, b) => a.or(b).unwrap_or(defaults.max_tokens),
        };
        fields.refuse_unless("tools", is_empty)?;
        fields.refuse_unless("functions", is_empty)?;
        fields.refuse_unless("tool_choice", |choice| choice == "none" || choice == "auto")?;
        fields.refuse_unless("function_call", |choice| choice == "none" || choice == "auto")?;
        fields.refuse_unless("response_format", |format| format["type"] == "text")?;
        fields.refuse_unless("modalities", |modalities| *modalities == serde_json::json!(["text"]))?;
        let asked = fields.asked(model, RolloutParams { max_tokens, ..defaults.clone() }, logprobs)?;
        Ok(Self { messages, tool, asked })
    }
}

impl CompletionRequest {
    /// Reads a request for `model`; what it leaves open is as in `defaults`.
    pub fn parse(body: Map<String, Value>, model: &str, defaults: &RolloutParams) -> Result<Self, Refusal> {
        let mut fields = Fields(body);
        let prompts = prompts(fields.need("prompt")?)?;
        let echo = fields.take("echo")?.unwrap_or(false);
        let logprobs = match fields.take::<u32>("logprobs")? {
            Some(1..) => {
                let wrong = "only the chosen tokens' log-probabilities are known here, which 0 asks for";
                return Err(Refusal::of("logprobs", wrong));
            }
            logprobs => logprobs.is_some(),
        };
        if echo && logprobs {
            return Err(Refusal::of("logprobs", "not together with `echo`"));
        }
        let max_tokens = fields.take("max_tokens")?.unwrap_or(COMPLETION_TOKENS);
        fields.refuse_unless("suffix", |suffix| suffix == "")?;
        fields.refuse_unless("best_of", |best_of| *best_of == 1)?;
        let asked = fields.asked(model, RolloutParams { max_tokens, ..defaults.clone() }, logprobs)?;
        if prompts.len() * asked.n > CHOICES_MAX {
            return Err(Refusal::of(
                "prompt",
                &format!("{} prompts and n = {} make more than {CHOICES_MAX} choices", prompts.len(), asked.n),
            ));
        }
        Ok(Self { prompts, echo, asked })
    }
}

/// The prompt field in its four shapes.
fn prompts(value: Value) -> Result<Vec<Prompt>, Refusal> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Shape {
        Text(String),
        Texts(Vec<String>),
        Ids(Vec<TokenId>),
        ManyIds(Vec<Vec<TokenId>>),
    }
    let shape = serde_json::from_value(value).map_err(|_| Refusal::of("prompt", "wanted is text, token ids, or a list of either"))?;
    let prompts = match shape {
        Shape::Text(text) => vec![Prompt::Text(text)],
        Shape::Texts(texts) => texts.into_iter().map(Prompt::Text).collect(),
        Shape::Ids(ids) => vec![Prompt::Ids(ids)],
        Shape::ManyIds(many) => many.into_iter().map(Prompt::Ids).collect(),
    };
    if prompts.is_empty() {
        return Err(Refusal::of("prompt", "at least one is needed"));
    }
    Ok(prompts)
}

/// Whether the model can continue these ids.
pub fn check_prompt(ids: &[TokenId], info: &EngineInfo) -> Result<(), Refusal> {
    if ids.is_empty() {
        return Err(Refusal::of("prompt", "it is empty: there is nothing to continue"));
    }
    if ids.len() >= info.context {
        return Err(Refusal::too_long(ids.len(), info.context));
    }
    match ids.iter().find(|&&id| id as usize >= info.vocab) {
        Some(id) => Err(Refusal::of("prompt", &format!("token id {id} is outside the vocabulary of {}", info.vocab))),
        None => Ok(()),
    }
}

/// One turn of a chat.
#[derive(Deserialize)]
struct Turn {
    role: String,
    #[serde(default)]
    content: Value,
    #[serde(default)]
    tool_calls: Value,
}

impl Turn {
    fn message(self, at: usize) -> Result<Message, Refusal> {
        let wrong = |what: String| Refusal::of(&format!("messages[{at}]"), &what);
        let role = match self.role.as_str() {
            "system" | "developer" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            other => return Err(wrong(format!("the role {other:?} is not known here; there are system, developer, user and assistant"))),
        };
        if !is_empty(&self.tool_calls) {
            return Err(wrong("tool_calls are not known here; programs are run on the server's side and stand in the text".to_owned()));
        }
        let content = text(&self.content).ok_or_else(|| wrong("its content is not text".to_owned()))?;
        Ok(Message::new(role, content))
    }
}

/// The text of a content: plain, or in parts.
fn text(content: &Value) -> Option<String> {
    let part = |part: &Value| part["text"].as_str().filter(|_| part["type"] == "text").map(str::to_owned);
    match content {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => parts.iter().map(part).collect(),
        _ => None,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

/// The fields that were not taken yet. A field that is null is one that was not given.
struct Fields(Map<String, Value>);

impl Fields {
    fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, Refusal> {
        let given = self.0.remove(name).filter(|value| !value.is_null());
        given.map(serde_json::from_value).transpose().map_err(|error| Refusal::of(name, &error.to_string()))
    }

    fn need<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, Refusal> {
        self.take(name)?.ok_or_else(|| Refusal::of(name, "it is missing"))
    }

    /// A number that must fulfil a condition.
    fn number<T: DeserializeOwned>(&mut self, name: &str, default: T, is_fine: fn(&T) -> bool, wanted: &str) -> Result<T, Refusal> {
        let number = self.take(name)?.unwrap_or(default);
        if is_fine(&number) { Ok(number) } else { Err(Refusal::of(name, &format!("wanted is {wanted}"))) }
    }

    /// A field that can only have a value that changes nothing.
    fn refuse_unless(&mut self, name: &str, is_neutral: impl Fn(&Value) -> bool) -> Result<(), Refusal> {
        match self.take(name)? {
            Some(value) if !is_neutral(&value) => Err(Refusal::of(name, "not supported here; leave it out")),
            _ => Ok(()),
        }
    }

    /// What both kinds of request can say, and the end of the fields.
    fn asked(mut self, model: &str, defaults: RolloutParams, logprobs: bool) -> Result<Asked, Refusal> {
        if let Some(asked) = self.take::<String>("model")?.filter(|asked| asked != model) {
            return Err(Refusal::no_such_model(&asked, model));
        }
        let n = self.number("n", 1, |n| (1..=CHOICES_MAX).contains(n), &format!("1 to {CHOICES_MAX}"))?;
        if defaults.max_tokens == 0 {
            return Err(Refusal::of("max_tokens", "wanted is 1 or more"));
        }
        let params = RolloutParams {
            temperature: self.number("temperature", defaults.temperature, |t| (0.0..=f32::MAX).contains(t), "0 or more")?,
            top_p: self.number("top_p", defaults.top_p, |p| *p > 0.0 && *p <= 1.0, "more than 0, at most 1")?,
            top_k: self.number("top_k", defaults.top_k as i64, |k| *k >= -1, "1 or more, or 0 for all")?.max(0) as usize,
            ..defaults
        };
        // OpenAI's seeds may be negative.
        let seed = self.take::<i64>("seed")?.map_or_else(by_chance, i64::cast_unsigned);
        let stops = stops(self.take("stop")?)?;
        let stream = self.take("stream")?.unwrap_or(false);
        let options: StreamOptions = self.take("stream_options")?.unwrap_or_default();
        self.refuse_unless("logit_bias", is_empty)?;
        self.refuse_unless("presence_penalty", |penalty| penalty.as_f64() == Some(0.0))?;
        self.refuse_unless("frequency_penalty", |penalty| penalty.as_f64() == Some(0.0))?;
        match self.0.iter().find(|(name, value)| !value.is_null() && !HARMLESS.contains(&name.as_str())) {
            Some((name, _)) => Err(Refusal::of(name, "this field is not known here")),
            None => Ok(Asked { n, params, stops, seed, logprobs, stream, include_usage: options.include_usage.unwrap_or(false) }),
        }
    }
}

#[derive(Default, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

fn stops(value: Option<Value>) -> Result<Vec<String>, Refusal> {
    let stops: Vec<String> = match value {
        None => Vec::new(),
        Some(Value::String(stop)) => vec![stop],
        Some(list) => serde_json::from_value(list).map_err(|_| Refusal::of("stop", "wanted is text, or a list of texts"))?,
    };
    if stops.len() > STOPS_MAX || stops.iter().any(String::is_empty) {
        return Err(Refusal::of("stop", &format!("wanted are at most {STOPS_MAX} texts, none of them empty")));
    }
    Ok(stops)
}

/// Seeds that differ between requests: the standard library's hash keys are random.
fn by_chance() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A name for an answer that no other has.
pub fn fresh_id(prefix: &str) -> String {
    format!("{prefix}-{:016x}{:016x}", by_chance(), by_chance())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn defaults() -> RolloutParams {
        RolloutParams { temperature: 0.7, max_tokens: 99, ..RolloutParams::default() }
    }

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn chat(more: Value) -> Result<ChatRequest, Refusal> {
        let mut body = object(json!({ "model": "m", "messages": [{ "role": "user", "content": "Hi" }] }));
        body.extend(object(more));
        ChatRequest::parse(body, "m", &defaults())
    }

    fn completion(more: Value) -> Result<CompletionRequest, Refusal> {
        let mut body = object(json!({ "prompt": "a" }));
        body.extend(object(more));
        CompletionRequest::parse(body, "m", &defaults())
    }

    /// The field that a refusal names.
    fn at_fault<T: std::fmt::Debug>(parsed: Result<T, Refusal>) -> String {
        parsed.unwrap_err().body()["error"]["param"].as_str().unwrap().to_owned()
    }

    #[test]
    fn what_is_left_open_is_the_runs() {
        let ChatRequest { messages, tool, asked } = chat(json!({})).unwrap();
        assert_eq!((messages, tool), (vec![Message::new(Role::User, "Hi")], None));
        assert_eq!((asked.params, asked.n, asked.stream, asked.logprobs), (defaults(), 1, false, false));
        assert_eq!(completion(json!({})).unwrap().asked.params.max_tokens, 16);
        assert_ne!(chat(json!({})).unwrap().asked.seed, asked.seed, "without a seed no two are the same");
        chat(json!({ "n": null, "stop": null, "tools": null, "user": "u", "metadata": { "a": "b" }, "unknown": null })).unwrap();
    }

    #[test]
    fn what_is_said_is_taken() {
        let said = json!({
            "max_completion_tokens": 5, "temperature": 0, "top_p": 0.5, "top_k": 3, "n": 2, "stop": ["a", "b"], "seed": -1,
            "logprobs": true, "top_logprobs": 0, "stream": true,
            "stream_options": { "include_usage": true }, "tool": false, "tools": [], "logit_bias": {},
            "response_format": { "type": "text" }, "presence_penalty": 0.0
        });
        let ChatRequest { tool, asked, .. } = chat(said).unwrap();
        assert_eq!(asked.params, RolloutParams { max_tokens: 5, temperature: 0.0, top_p: 0.5, top_k: 3, ..defaults() });
        assert_eq!((asked.n, asked.seed, asked.stops), (2, u64::MAX, vec!["a".to_owned(), "b".to_owned()]));
        assert!(asked.logprobs && asked.stream && asked.include_usage && tool == Some(false));
        let asked = completion(json!({ "max_tokens": 7, "logprobs": 0, "stop": "x", "best_of": 1, "top_k": -1 })).unwrap().asked;
        assert_eq!((asked.params.max_tokens, asked.params.top_k, asked.logprobs, asked.stops), (7, 0, true, vec!["x".to_owned()]));
    }

    #[test]
    fn what_would_change_the_answer_is_refused_by_name() {
        let cases = [
            ("tools", json!([{ "type": "function" }])),
            ("tool_choice", json!("required")),
            ("response_format", json!({ "type": "json_object" })),
            ("logit_bias", json!({ "5": 1 })),
            ("frequency_penalty", json!(0.5)),
            ("top_logprobs", json!(3)),
            ("temperatur", json!(0.5)),
            ("temperature", json!(-1)),
            ("temperature", json!("warm")),
            ("top_p", json!(0)),
            ("n", json!(0)),
            ("n", json!(129)),
            ("max_tokens", json!(0)),
            ("max_tokens", json!(-1)),
            ("stop", json!(["a", "b", "c", "d", "e"])),
            ("stop", json!("")),
            ("seed", json!(0.5)),
            ("stream", json!("yes")),
            ("model", json!("another")),
            ("messages", json!([])),
            ("messages", json!("Hi")),
            ("messages[0]", json!([{ "role": "tool", "content": "1" }])),
            ("messages[1]", json!([{ "role": "user", "content": "" }, { "role": "user", "content": [{ "type": "image_url" }] }])),
            ("messages[0]", json!([{ "role": "assistant", "content": "", "tool_calls": [{}] }])),
        ];
        for (field, value) in cases {
            let mut body = Map::new();
            let name = field.split('[').next().unwrap();
            body.insert(name.to_owned(), value.clone());
            assert_eq!(at_fault(chat(Value::Object(body))), field, "{value}");
        }
        assert_eq!(at_fault(chat(json!({ "max_tokens": 1, "max_completion_tokens": 2 }))), "max_tokens");
        for (field, value) in [
            ("logprobs", json!(1)),
            ("suffix", json!("x")),
            ("best_of", json!(2)),
            ("messages", json!([])),
            ("prompt", json!(1)),
            ("prompt", json!([])),
        ] {
            assert_eq!(at_fault(completion(json!({ field: value }))), field);
        }
        assert_eq!(at_fault(completion(json!({ "echo": true, "logprobs": 0 }))), "logprobs");
        assert_eq!(at_fault(completion(json!({ "prompt": ["a", "b"], "n": 100 }))), "prompt");
    }

    #[test]
    fn contents_may_come_in_parts() {
        let parts = json!([{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }]);
        let messages = chat(json!({ "messages": [{ "role": "developer", "content": parts }] })).unwrap().messages;
        assert_eq!(messages, [Message::new(Role::System, "ab")]);
    }

    #[test]
    fn prompts_have_four_shapes() {
        let of = |prompt: Value| completion(json!({ "prompt": prompt })).unwrap().prompts;
        let text = |text: &str| Prompt::Text(text.to_owned());
        assert_eq!(of(json!("a")), [text("a")]);
        assert_eq!(of(json!(["a", "b"])), [text("a"), text("b")]);
        assert_eq!(of(json!([1, 2])), [Prompt::Ids(vec![1, 2])]);
        assert_eq!(of(json!([[1], [2]])), [Prompt::Ids(vec![1]), Prompt::Ids(vec![2])]);
        let info = EngineInfo {
            model: String::new(),
            context: 3,
            vocab: 10,
            numerics: String::new(),
            processor: String::new(),
            notes: Vec::new(),
        };
        assert!(check_prompt(&[1, 9], &info).is_ok());
        for bad in [&[][..], &[1, 2, 3], &[10]] {
            assert!(check_prompt(bad, &info).is_err(), "{bad:?}");
        }
    }
}
