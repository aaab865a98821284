//! Whether an upstream's refusal is one that the caller's SDK can read.

use serde_json::Value;

use crate::dialect::Dialect;

impl Dialect {
    /// Whether `body` is an error of this dialect, as its own provider would send it with `status`. A page of a proxy's, or an error in another
    /// shape, is none.
    pub fn is_refusal(self, status: u16, body: &[u8]) -> bool {
        let Ok(value) = serde_json::from_slice::<Value>(body) else { return false };
        let error = &value["error"];
        error["message"].is_string()
            && match self {
                Self::Chat | Self::Responses => true,
                Self::Messages => value["type"] == "error" && error["type"].is_string(),
                Self::Gemini => error["code"] == status && error["status"].as_str().is_some_and(|word| http_of(word) == Some(status)),
            }
    }
}

/// The HTTP status that goes with a word of google.rpc (google/rpc/code.proto, "HTTP Mapping").
fn http_of(word: &str) -> Option<u16> {
    Some(match word {
        "INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE" => 400,
        "UNAUTHENTICATED" => 401,
        "PERMISSION_DENIED" => 403,
        "NOT_FOUND" => 404,
        "ABORTED" | "ALREADY_EXISTS" => 409,
        "RESOURCE_EXHAUSTED" => 429,
        "CANCELLED" => 499,
        "INTERNAL" | "UNKNOWN" | "DATA_LOSS" => 500,
        "UNIMPLEMENTED" => 501,
        "UNAVAILABLE" => 503,
        "DEADLINE_EXCEEDED" => 504,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dialect_knows_its_own_errors() {
        let chat = r#"{"error":{"message":"no","type":"invalid_request_error","param":null,"code":null}}"#;
        let messages = r#"{"type":"error","error":{"type":"invalid_request_error","message":"no"}}"#;
        let gemini = r#"{"error":{"code":400,"message":"no","status":"INVALID_ARGUMENT"}}"#;
        let odd = r#"{"error":{"code":400,"message":"no","status":"INTERNAL"}}"#;
        for (dialect, own) in [(Dialect::Chat, chat), (Dialect::Responses, chat), (Dialect::Messages, messages), (Dialect::Gemini, gemini)]
        {
            assert!(dialect.is_refusal(400, own.as_bytes()), "{dialect:?}");
            for page in ["<html>413</html>", "", "{}", "[]", r#"{"error":"no"}"#, r#"{"detail":"no"}"#] {
                assert!(!dialect.is_refusal(400, page.as_bytes()), "{dialect:?} {page}");
            }
        }
        assert!(!Dialect::Messages.is_refusal(400, chat.as_bytes()));
        assert!(!Dialect::Gemini.is_refusal(400, odd.as_bytes()) && !Dialect::Gemini.is_refusal(404, gemini.as_bytes()));
    }
}
