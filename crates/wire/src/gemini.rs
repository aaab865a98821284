//! Gemini (`POST /v1beta/models/{model}:generateContent`, `:streamGenerateContent`, `:countTokens`).
//!
//! Source of the shapes: Gemini API reference, "Generating content" (`Content`, `Part`, `GenerationConfig`, `GenerateContentResponse`),
//! "Caching" (`Tool`, `ToolConfig`, `Schema`) and "Models".

pub mod decode;
pub mod encode;
mod fields;
mod names;
mod parts;
pub mod schema;
pub mod stream;
pub mod types;

pub(crate) use self::encode::answer::is_reason;
