//! Gemini (`POST /v1beta/models/{model}:generateContent`, `:streamGenerateContent`, `:countTokens`).
//!
//! Source of the shapes: Gemini API reference, "Generating content" (`Content`, `Part`, `GenerationConfig`, `GenerateContentResponse`),
//! "Caching" (`Tool`, `ToolConfig`, `Schema`) and "Models".
//!
//! Google signs parts of every kind. In the inner language only thoughts and calls have a state, so the signature of a text or file is a
//! thought of its own without words. It stands before what it signs; where a text or file comes right before it, it signs that one.

pub mod decode;
pub mod encode;
mod fields;
mod names;
mod parts;
pub mod schema;
pub mod stream;
pub mod types;

pub(crate) use self::{encode::answer::is_reason, names::is_cut};
