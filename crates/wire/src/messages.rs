//! Anthropic Messages (`POST /v1/messages`, `/v1/messages/count_tokens`, the shape of `/v1/models`), both ways.
//!
//! Two rules of this dialect shape the module. Every call's results stand first in the next user turn, and turns alternate: the
//! request's encoder rebuilds turns from messages. Blocks of a stream never overlap: the stream's encoder holds what comes too early.

pub mod decode;
pub mod encode;
pub mod stream;
pub mod types;
