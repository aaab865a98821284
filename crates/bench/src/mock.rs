//! A fake provider on one port: OpenAI chat, responses and embeddings, Anthropic messages, Gemini, and the probes that routers send to
//! engines. Lighter than any gateway in front of it: it looks into a request only as far as it must.

mod answers;
mod events;
mod server;
mod settings;

pub use server::serve;
pub use settings::Options;
