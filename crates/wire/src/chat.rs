//! OpenAI Chat Completions (`POST /v1/chat/completions`).

pub mod decode;
mod details;
pub mod encode;
mod leftovers;
pub(crate) mod lenient;
mod media;
mod parts;
pub mod stream;
pub mod types;

pub(crate) use self::media::{sound, sound_format};
