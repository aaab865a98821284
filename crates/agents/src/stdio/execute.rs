//! `execute_curl`: any request to the router, written as a `curl` command.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    TIMEOUT_S_MAX, curl, mask,
    router::{Ask, Router, Said, Trouble},
};

pub(super) const NAME: &str = "execute_curl";

pub(super) const DESCRIPTION: &str = "Makes any HTTP request to the LLM Router, written as a curl command. No shell and no curl is run: \
    -X -H -d --data-raw --json -G -I -i -m and the address are understood, everything else is refused. Only the configured router can be asked; \
    its credentials are added unless `auto_auth` is false. Prefer the other tools where one fits; the resource llm-router://api/openapi has all paths.";

/// What the tool takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Arguments {
    /// The curl command, such as: curl -X POST http://localhost:8080/v1/chat/completions -d '{"model": "auto", "messages": []}'
    command: String,
    /// Whether the router's credentials are added.
    #[serde(default = "yes")]
    auto_auth: bool,
    /// Seconds until the request is given up: 30 if not said, at most 300.
    #[serde(default)]
    #[schemars(range(min = 1, max = 300))]
    timeout: Option<u64>,
}

fn yes() -> bool {
    true
}

/// The form of its result.
pub(super) fn output() -> Value {
    json!({
        "type": "object",
        "properties": {
            "success": {"type": "boolean", "description": "The router answered with a status below 400"},
            "status_code": {"type": ["integer", "null"], "description": "null where no answer came"},
            "headers": {"type": "object", "description": "The answer's headers, with -i or -I", "additionalProperties": {"type": "string"}},
            "body": {"description": "The answer: JSON where it is JSON, else text; secrets are masked"},
            "truncated": {"type": "boolean", "description": "The answer was longer than what is told"},
            "error": {"type": ["string", "null"]},
            "duration_ms": {"type": "integer"},
            "executed_command": {"type": "string", "description": "The command with its secrets masked"}
        },
        "required": ["success", "status_code", "body", "truncated", "error", "duration_ms", "executed_command"]
    })
}

/// Carries a command out. The result has the form of [`output`], whatever happens.
pub(super) async fn run(router: &Router, arguments: Arguments) -> Value {
    let began = Instant::now();
    let (wants_headers, done) = attempt(router, &arguments).await;
    let mut result = Map::new();
    match done {
        Ok(said) => {
            let trouble = (said.status >= 400).then(|| said.trouble().message);
            result.insert("success".to_owned(), trouble.is_none().into());
            result.insert("status_code".to_owned(), said.status.into());
            if wants_headers {
                result.insert("headers".to_owned(), headers(&said.headers));
            }
            result.insert("body".to_owned(), body(&said));
            result.insert("truncated".to_owned(), said.is_cut.into());
            result.insert("error".to_owned(), trouble.into());
        }
        Err(trouble) => {
            result.insert("success".to_owned(), false.into());
            result.insert("status_code".to_owned(), Value::Null);
            result.insert("body".to_owned(), Value::Null);
            result.insert("truncated".to_owned(), false.into());
            result.insert("error".to_owned(), trouble.message.into());
        }
    }
    result.insert("duration_ms".to_owned(), (began.elapsed().as_millis() as u64).into());
    let mut result = router.mask(Value::Object(result));
    result["executed_command"] = router.mask_command(&arguments.command).into();
    result
}

async fn attempt(router: &Router, arguments: &Arguments) -> (bool, Result<Said, Trouble>) {
    let limit = match arguments.timeout {
        Some(seconds @ 1..=TIMEOUT_S_MAX) => Duration::from_secs(seconds),
        Some(_) => return (false, Err(Trouble::invalid(format!("`timeout` is a number of seconds from 1 to {TIMEOUT_S_MAX}")))),
        None => router.timeout,
    };
    let command = match curl::read(&arguments.command, &router.origin) {
        Ok(command) => command,
        Err(why) => return (false, Err(Trouble::invalid(why))),
    };
    let ask = Ask {
        method: command.method,
        uri: command.uri,
        headers: command.headers,
        body: Bytes::from(command.body),
        with_credentials: arguments.auto_auth,
        timeout: command.time_max.map_or(limit, |max| max.min(limit)),
        bytes_max: Router::answer_bytes_max(),
    };
    (command.with_headers, router.send(ask).await)
}

fn headers(headers: &HeaderMap) -> Value {
    let named = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        let is_secret = *name == http::header::SET_COOKIE;
        let text = if is_secret { mask::MASK.into() } else { String::from_utf8_lossy(value.as_bytes()).into_owned() };
        (name.to_string(), Value::from(text))
    };
    Value::Object(headers.iter().map(named).collect())
}

/// A page that is no JSON may have secrets behind their names.
fn body(said: &Said) -> Value {
    match said.value() {
        Value::String(text) => mask::command(&text, &[]).into(),
        other => other,
    }
}
