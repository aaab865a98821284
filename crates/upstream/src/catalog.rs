//! Providers as rows of data.

use wire::Dialect;

/// How the credential is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// As the wire has it: a bearer for OpenAI's, `x-api-key` for Messages, `x-goog-api-key` for Gemini.
    OfTheWire,
    /// The key alone in a header.
    Header(&'static str),
}

/// One provider.
#[derive(Debug, Clone, Copy)]
pub struct Provider {
    pub name: &'static str,
    pub scheme: Scheme,
    /// What it speaks by itself; `wire: auto` takes the caller's dialect if it is among them, else the first.
    pub wires: &'static [Dialect],
    /// Model names that sound like its own begin so (Router API's rule) …
    pub name_prefixes: &'static [&'static str],
    /// … but not so: these are open models of the same family.
    pub foreign_prefixes: &'static [&'static str],
    /// It knows `stream_options.include_usage`.
    pub stream_usage: bool,
}

const CHAT: Provider = Provider {
    name: "",
    scheme: Scheme::OfTheWire,
    wires: &[Dialect::Chat],
    name_prefixes: &[],
    foreign_prefixes: &[],
    stream_usage: true,
};

/// Rows; a provider that is not here speaks OpenAI's chat with a bearer key.
/// Sources: each provider's own API reference, "Authentication" and "Chat completions".
const ROWS: [Provider; 10] = [
    Provider {
        name: "openai",
        wires: &[Dialect::Chat, Dialect::Responses],
        name_prefixes: &["gpt-"],
        foreign_prefixes: &["gpt-oss"],
        ..CHAT
    },
    // platform.claude.com/docs: `x-api-key` and `anthropic-version`.
    Provider { name: "anthropic", wires: &[Dialect::Messages], name_prefixes: &["claude"], ..CHAT },
    // ai.google.dev/api: `x-goog-api-key`.
    Provider { name: "google", wires: &[Dialect::Gemini], name_prefixes: &["gemini", "google"], ..CHAT },
    Provider { name: "openrouter", name_prefixes: &["openrouter"], ..CHAT },
    Provider { name: "grok", name_prefixes: &["grok"], ..CHAT },
    Provider { name: "venice", name_prefixes: &["venice"], ..CHAT },
    Provider { name: "llm-d", name_prefixes: &["llmd-"], ..CHAT },
    Provider { name: "agent", name_prefixes: &["local"], stream_usage: false, ..CHAT },
    Provider { name: "openai-codex", wires: &[Dialect::Responses], ..CHAT },
    Provider { name: "ollama", ..CHAT },
];

/// The row of a provider.
pub fn provider(name: &str) -> Provider {
    ROWS.into_iter().find(|row| row.name == name).unwrap_or(CHAT)
}
