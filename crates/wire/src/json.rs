//! JSON in: errors that name the place and the field.

use std::borrow::Cow;

use memchr::{memchr2, memmem};
use serde::de::DeserializeOwned;

use crate::error::{Code, Failure};

/// Reads a JSON body into a typed request.
///
/// # Errors
/// [`Code::InvalidRequest`]: an empty body, broken JSON (with line and column), or a wrong type (with the field as `param`).
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    expect_object(body)?;
    // Where the place of a fault is kept track of, reading takes half as long again: for the few that have one.
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|e| {
        let path = e.path().to_string();
        let inner = e.into_inner();
        match inner.classify() {
            serde_json::error::Category::Data if path != "." => {
                Failure::invalid(path.clone(), format!("`{path}`: {}", without_place(&inner)))
            }
            serde_json::error::Category::Data => Failure::new(Code::InvalidRequest, format!("expected a JSON object: {inner}")),
            _ => broken(&inner),
        }
    })?;
    reader.end().map_err(|e| broken(&e))?;
    Ok(value)
}

/// Reads a piece of an answer as [`mended`] makes it.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    // Nearly none has to be mended.
    serde_json::from_str(text).or_else(|error| match mended(text.as_bytes()) {
        Cow::Owned(mended) => serde_json::from_slice(&mended),
        Cow::Borrowed(_) => Err(error),
    })
}

/// JSON in which halves of surrogate pairs that stand alone (`\ud83d`: JavaScript cut a text in two) are U+FFFD, as browsers send them
/// (Infra Standard, "convert a string into a scalar value string"). They are legal in JSON, and in no text that is Unicode.
pub fn mended(json: &[u8]) -> Cow<'_, [u8]> {
    let mut mended = Cow::Borrowed(json);
    let mut from = 0;
    while let Some(at) = memmem::find(&json[from..], br"\u").map(|at| from + at) {
        from = at + 2;
        // Behind an odd number of others it is no escape: its backslash is the second of a pair.
        let is_escaped = json[..at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1;
        match surrogate(json, at) {
            Some(Surrogate::High) if !is_escaped && matches!(surrogate(json, at + 6), Some(Surrogate::Low)) => from = at + 12,
            Some(_) if !is_escaped => mended.to_mut()[from..from + 4].copy_from_slice(b"fffd"),
            _ => {}
        }
    }
    mended
}

enum Surrogate {
    High,
    Low,
}

/// The half of a pair whose escape begins at `at`.
fn surrogate(json: &[u8], at: usize) -> Option<Surrogate> {
    let digits = json.get(at..at + 6)?.strip_prefix(br"\u")?;
    match u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()? {
        0xd800..=0xdbff => Some(Surrogate::High),
        0xdc00..=0xdfff => Some(Surrogate::Low),
        _ => None,
    }
}

/// Whether JSON has a number that neither 64 bits nor a double can hold: read and written again, it is another.
pub fn has_wide_numbers(json: &[u8]) -> bool {
    let mut rest = json;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'-' | b'0'..=b'9')) {
        rest = &rest[at..];
        if rest[0] == b'"' {
            rest = behind_text(&rest[1..]);
            continue;
        }
        let end = rest.iter().position(|byte| !matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')).unwrap_or(rest.len());
        if is_wide(&rest[..end]) {
            return true;
        }
        rest = &rest[end..];
    }
    false
}

/// What follows a text, of which the opening mark is gone already.
fn behind_text(mut rest: &[u8]) -> &[u8] {
    while let Some(at) = memchr2(b'"', b'\\', rest) {
        if rest[at] == b'"' {
            return &rest[at + 1..];
        }
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    &[]
}

fn is_wide(number: &[u8]) -> bool {
    // All of 15 digits are in a double, whose powers of ten reach farther than two digits.
    if number.len() <= 15 && !number.iter().any(|byte| matches!(byte, b'e' | b'E')) {
        return false;
    }
    let Ok(number) = std::str::from_utf8(number) else { return false };
    if number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok() {
        return false;
    }
    number.parse::<f64>().is_ok_and(|double| significant(&format!("{double:e}")) != significant(number))
}

/// The digits of a number without the zeros around them, which the exponent tells. Doubles say the fewest digits that mean them.
fn significant(number: &str) -> String {
    let mantissa = number.split(['e', 'E']).next().unwrap_or_default();
    mantissa.replace(['-', '.'], "").trim_matches('0').to_owned()
}

/// Refuses what cannot be a JSON object; a derived reader would take a list for a struct.
pub(crate) fn expect_object(body: &[u8]) -> Result<(), Failure> {
    match body.trim_ascii_start().first() {
        Some(b'{') => Ok(()),
        Some(_) => match serde_json::from_slice::<serde::de::IgnoredAny>(body) {
            Ok(_) => Err(Failure::new(Code::InvalidRequest, "the body must be a JSON object")),
            Err(e) => Err(broken(&e)),
        },
        None => Err(Failure::new(Code::InvalidRequest, "the body is empty: a JSON object is expected")),
    }
}

/// A value as text, without the detour of its `Display`.
pub fn text(value: &serde_json::Value) -> Vec<u8> {
    // Only a map whose keys are no strings could fail.
    serde_json::to_vec(value).unwrap_or_default()
}

/// The failure for a body that is no JSON.
pub fn broken(error: &serde_json::Error) -> Failure {
    Failure::new(Code::InvalidRequest, format!("the body is not valid JSON: {error}"))
}

fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(said, _)| said.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_would_change_are_seen() {
        let kept =
            ["0", "-7", "1.50", "150.00", "0.1", "18446744073709551615", "-9223372036854775808", "3.141592653589793", "1e5", "-2.5E-7"];
        for number in kept.into_iter().chain(["\"12345678901234567890123\"", "\"a\\\"12345678901234567890123\""]) {
            assert!(!has_wide_numbers(format!("{{\"a\":[{number}]}}").as_bytes()), "{number}");
        }
        for number in
            ["12345678901234567890123", "18446744073709551617", "0.12345678901234567890", "1e400", "1e-400", "-1.00000000000000000001"]
        {
            assert!(has_wide_numbers(format!("{{\"a\\\"\":[true,{number}]}}").as_bytes()), "{number}");
        }
    }

    #[test]
    fn halves_of_pairs_become_text() {
        for (json, wanted) in [
            (r#""plain""#, r#""plain""#),
            (r#""\ud83d\ude00 \u00e4""#, r#""\ud83d\ude00 \u00e4""#),
            (r#""x\ud83d""#, r#""x\ufffd""#),
            (r#""\ude00\uD83D\ud83d\ude00""#, r#""\ufffd\ufffd\ud83d\ude00""#),
            (r#""\\ud83d \\\ud83d""#, r#""\\ud83d \\\ufffd""#),
            (r#""\ud8""#, r#""\ud8""#),
        ] {
            assert_eq!(mended(json.as_bytes()), wanted.as_bytes(), "{json}");
        }
        assert_eq!(read::<String>(r#""a\ud83d""#).unwrap(), "a\u{fffd}");
        assert!(read::<String>("\"a").is_err());
    }
}
