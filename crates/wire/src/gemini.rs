//! Gemini (`POST /v1beta/models/{model}:generateContent`, `:streamGenerateContent`, `:countTokens`).
//!
//! Source of the shapes: Gemini API reference, "Generating content" (`Content`, `Part`, `GenerationConfig`, `GenerateContentResponse`),
//! "Caching" (`Tool`, `ToolConfig`, `Schema`) and "Models".
//!
//! Google signs parts of every kind. In the inner language only thoughts and calls have a state, so the signature of a text or file is a
//! thought of its own without words. It stands before what it signs; where a text or file comes right before it, it signs that one.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

pub mod decode;
pub mod encode;
mod fields;
mod names;
mod parts;
pub mod schema;
pub mod stream;
pub mod types;

pub(crate) use self::{encode::answer::is_reason, names::is_cut};

/// What stands as it is in a segment of a path, and in a name of several.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const SEGMENTS: &AsciiSet = &SEGMENT.remove(b'/');

/// The path of a method on a model. The name is the caller's: nothing in it leads elsewhere.
pub fn path(model: &str, method: &str) -> String {
    // Names of some servers have parts (`google/gemini`); a part that steps aside or up is none.
    let has_parts = !model.split('/').any(|part| matches!(part, "" | "." | ".."));
    let set = if has_parts { SEGMENTS } else { SEGMENT };
    format!("/models/{}:{method}", utf8_percent_encode(model, set))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_nowhere_else() {
        for (model, written) in [
            ("gemini-2.5-flash", "gemini-2.5-flash"),
            ("google/gemini_2", "google/gemini_2"),
            ("g/../../files?uploadType=x#", "g%2F..%2F..%2Ffiles%3FuploadType%3Dx%23"),
            ("g/files?x", "g/files%3Fx"),
            ("../x", "..%2Fx"),
            ("g:batchGenerateContent?x=", "g%3AbatchGenerateContent%3Fx%3D"),
            ("g\r\nx: y", "g%0D%0Ax%3A%20y"),
            ("..", ".."),
        ] {
            assert_eq!(path(model, "countTokens"), format!("/models/{written}:countTokens"), "{model}");
        }
    }
}
