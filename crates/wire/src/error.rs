//! The one table of errors that a client can see: code, type, status.

use std::{fmt, time::Duration};

use serde::Serialize;
use serde_json::{Value, json};

use crate::ir::Event;

/// What went wrong, as the client reads it in `error.code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    InvalidRequest,
    ContextLengthExceeded,
    UnsupportedParameter,
    LossyTranslation,
    InvalidApiKey,
    BudgetExceeded,
    PermissionDenied,
    ModelNotAllowed,
    ControlPlaneNotConfigured,
    ModelNotFound,
    NotFound,
    MethodNotAllowed,
    Conflict,
    PayloadTooLarge,
    UnsupportedMediaType,
    Unprocessable,
    Unsupported,
    RateLimitExceeded,
    UpstreamError,
    NodeLost,
    UpstreamCredentials,
    NoAvailableTarget,
    ProviderKeyMissing,
    QueueFull,
    QueueTimeout,
    ModelLoading,
    UpstreamTimeout,
    AuditUnavailable,
    InsufficientStorage,
    InternalError,
}

impl Code {
    /// (code, type, status): the error table of `docs/errors.md`.
    const fn row(self) -> (&'static str, &'static str, u16) {
        match self {
            Self::InvalidRequest => ("invalid_request", "invalid_request_error", 400),
            Self::ContextLengthExceeded => ("context_length_exceeded", "invalid_request_error", 400),
            Self::UnsupportedParameter => ("unsupported_parameter", "invalid_request_error", 400),
            Self::LossyTranslation => ("lossy_translation", "invalid_request_error", 400),
            Self::InvalidApiKey => ("invalid_api_key", "authentication_error", 401),
            Self::BudgetExceeded => ("budget_exceeded", "insufficient_quota", 402),
            Self::PermissionDenied => ("permission_denied", "permission_error", 403),
            Self::ModelNotAllowed => ("model_not_allowed", "permission_error", 403),
            Self::ControlPlaneNotConfigured => ("control_plane_not_configured", "permission_error", 403),
            Self::ModelNotFound => ("model_not_found", "not_found_error", 404),
            Self::NotFound => ("not_found", "not_found_error", 404),
            Self::MethodNotAllowed => ("method_not_allowed", "invalid_request_error", 405),
            Self::Conflict => ("conflict", "invalid_request_error", 409),
            Self::PayloadTooLarge => ("payload_too_large", "invalid_request_error", 413),
            Self::UnsupportedMediaType => ("unsupported_media_type", "invalid_request_error", 415),
            Self::Unprocessable => ("unprocessable", "invalid_request_error", 422),
            Self::Unsupported => ("unsupported", "invalid_request_error", 501),
            Self::RateLimitExceeded => ("rate_limit_exceeded", "rate_limit_error", 429),
            Self::UpstreamError => ("upstream_error", "api_error", 502),
            Self::NodeLost => ("node_lost", "api_error", 502),
            Self::UpstreamCredentials => ("upstream_credentials", "api_error", 502),
            Self::NoAvailableTarget => ("no_available_target", "service_unavailable", 503),
            Self::ProviderKeyMissing => ("provider_key_missing", "service_unavailable", 503),
            Self::QueueFull => ("queue_full", "service_unavailable", 503),
            Self::QueueTimeout => ("queue_timeout", "service_unavailable", 503),
            Self::ModelLoading => ("model_loading", "service_unavailable", 503),
            Self::AuditUnavailable => ("audit_log_unavailable", "service_unavailable", 503),
            Self::UpstreamTimeout => ("upstream_timeout", "timeout_error", 504),
            Self::InsufficientStorage => ("insufficient_storage", "server_error", 507),
            Self::InternalError => ("internal_error", "server_error", 500),
        }
    }

    /// The text in `error.code`.
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The text in `error.type`.
    pub const fn kind(self) -> &'static str {
        self.row().1
    }

    /// The HTTP status.
    pub const fn status(self) -> u16 {
        self.row().2
    }
}

/// The HTTP status that goes with the name of an error inside a stream: a code of ours, a word of any dialect in any case, or a status itself.
pub fn status_of(code: &str) -> Option<u16> {
    let code = code.to_ascii_lowercase();
    Some(match &*code {
        "resource_exhausted" => 429,
        "unavailable" | "no_available_target" | "queue_full" => 503,
        "deadline_exceeded" | "upstream_timeout" | "timeout_error" => 504,
        "failed_precondition" => 400,
        "unauthenticated" | "authentication_error" | "invalid_api_key" => 401,
        "budget_exceeded" => 402,
        "permission_denied" | "permission_error" => 403,
        "not_found" | "not_found_error" => 404,
        Event::TRUNCATED | Event::UNREADABLE | "upstream_error" | "node_lost" => 502,
        word if word.contains("rate_limit") => 429,
        word if word.contains("overloaded") => 503,
        word if ["invalid", "context_length", "content_"].iter().any(|part| word.contains(part)) => 400,
        other => return other.parse().ok().filter(|status| (400..600).contains(status)),
    })
}

/// The one client-facing form of an error, before a dialect gives it its shape.
#[derive(Debug, Clone)]
pub struct Failure {
    pub code: Code,
    /// What, where, and what is allowed. Never holds a secret or text of a prompt.
    pub message: String,
    /// The request's field that is to blame.
    pub param: Option<String>,
    /// When trying again makes sense.
    pub retry_after: Option<Duration>,
    /// Overrides the table's status, where an upstream's own status goes back.
    pub status: Option<u16>,
    /// More members of the `error` object (attempted targets, the upstream's status and request id).
    pub details: serde_json::Map<String, Value>,
}

impl Failure {
    /// A failure with a message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), param: None, retry_after: None, status: None, details: serde_json::Map::new() }
    }

    /// A 400 that names the field.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Code::InvalidRequest, message).at(param)
    }

    /// A 413 that names the bound and its setting.
    pub fn too_large(bytes_max: u64, setting: &str) -> Self {
        Self::new(Code::PayloadTooLarge, format!("the body is larger than {bytes_max} bytes, the most that is taken (`{setting}`)"))
    }

    /// Names the field that is to blame.
    #[must_use]
    pub fn at(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Adds a member to the `error` object.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status.unwrap_or_else(|| self.code.status())
    }

    /// The error envelope of the OpenAI families: `{"error":{message,type,param,code,request_id,…}}`.
    pub fn to_openai(&self, request_id: Option<&str>) -> Value {
        let mut error = json!({
            "message": self.message,
            "type": self.code.kind(),
            "param": self.param,
            "code": self.code.as_str(),
        });
        if let Value::Object(members) = &mut error {
            if let Some(id) = request_id {
                members.insert("request_id".to_owned(), id.into());
            }
            members.extend(self.details.clone());
        }
        json!({ "error": error })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

impl std::error::Error for Failure {}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}
