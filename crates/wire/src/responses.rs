//! OpenAI Responses (`POST /v1/responses`), the part without stored state.
//!
//! A request's `input` items become messages and blocks: an item of the assistant's side (reasoning, calls, hosted tools) joins the
//! turn that it stands in. An answer's items are written from blocks the same way. Fields that only a server with stored state
//! understands (`previous_response_id`, `conversation`, `background`, …) stay in `extra`.

mod asked;
pub mod decode;
pub mod encode;
mod lanes;
mod output;
mod read;
mod read_items;
pub mod stream;
mod stream_items;
pub mod types;
mod write_items;

pub(crate) use self::write_items::default_name;
