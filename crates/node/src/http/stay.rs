//! `keep_alive` of a request: how long its model stays in memory when nobody uses it any more, as Ollama's clients say it.

use config::durations::parse_duration;
use memchr::memmem;
use serde::Deserialize;
use serde_json::Value;
use wire::Failure;

use crate::pool::Stay;

/// Most requests say nothing of it, and are not read for it a second time.
const NAME: &[u8] = b"\"keep_alive\"";

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    keep_alive: Option<Value>,
}

/// What a request's body says: seconds, or a time with its unit (`10m`); a negative one is for ever, and 0 is not at all.
///
/// # Errors
/// It is something else.
pub(super) fn wanted(body: &[u8]) -> Result<Option<Stay>, Failure> {
    if memmem::find(body, NAME).is_none() {
        return Ok(None);
    }
    let Some(said) = wire::json::parse::<Said>(body)?.keep_alive else { return Ok(None) };
    let text = said.as_str().map_or_else(|| said.to_string(), str::to_owned);
    let text = text.trim();
    let (is_negative, amount) = text.strip_prefix('-').map_or((false, text), |amount| (true, amount));
    match parse_duration(amount) {
        Some(time) if !is_negative || time.is_zero() => Ok(Some(Stay::For(time))),
        Some(_) => Ok(Some(Stay::ForEver)),
        None => Err(Failure::invalid("keep_alive", "`keep_alive` must be seconds or a time like `10m`; a negative one is for ever")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_is_read_in_all_its_forms() {
        let read = |value: &str| wanted(format!("{{\"model\":\"m\",\"keep_alive\":{value}}}").as_bytes());
        for (said, seconds) in [("0", 0), ("90", 90), ("\"10m\"", 600), ("\"1h30m\"", 5400), ("\"30\"", 30), ("-0", 0)] {
            assert_eq!(read(said).unwrap(), Some(Stay::For(Duration::from_secs(seconds))), "{said}");
        }
        assert_eq!((read("-1").unwrap(), read("\"-1m\"").unwrap()), (Some(Stay::ForEver), Some(Stay::ForEver)));
        assert_eq!((read("null").unwrap(), wanted(b"{\"model\":\"m\"}").unwrap()), (None, None));
        for wrong in ["\"soon\"", "true", "[5]", "\"\"", "1e99"] {
            assert_eq!(read(wrong).unwrap_err().param.as_deref(), Some("keep_alive"), "{wrong}");
        }
        let quoted = wanted(br#"{"messages":[{"content":"say \"keep_alive\""}]}"#).unwrap();
        assert_eq!(quoted, None, "a prompt may speak of it");
    }
}
