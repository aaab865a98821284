//! Providers as rows of data: what is true of one of them and of no other.

use wire::Dialect;

use crate::classify::Tell;

mod engines;
mod hosted;
mod own;

/// How the credential is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// As the wire has it: a bearer for OpenAI's, `x-api-key` for Messages, `x-goog-api-key` for Gemini.
    OfTheWire,
    /// As a bearer on every wire.
    Bearer,
    /// The key alone in a header.
    Header(&'static str),
}

/// Where the paths of a wire stand below the base URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Directly.
    Plain,
    /// Below a further piece of path.
    Under(&'static str),
    /// Where the base has no `v1`: chat, completions and embeddings below `/deployments/{model}`, and on every path `?api-version=`.
    Deployments,
}

/// A wire whose base is another one: the end `from` of the base URL is `to` there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebase {
    pub wire: Dialect,
    pub from: &'static str,
    pub to: &'static str,
}

/// How much thinking is asked for on the chat wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// `reasoning_effort`, in any of OpenAI's words.
    Any,
    /// `reasoning_effort`, in these words only, from weak to strong; another becomes the nearest.
    Words(&'static [&'static str]),
    /// `reasoning: {effort}` or `reasoning: {max_tokens}`.
    Object,
    /// `reasoning_effort`, and none at all is `thinking: {type: disabled}`.
    Thinking,
}

/// Which ids of tool calls are accepted in a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallIds {
    Any,
    /// Exactly nine letters and digits.
    Nine,
}

/// How a provider's chat wire differs from what the encoder writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chat {
    /// The field of the most tokens of an answer.
    pub output_limit: &'static str,
    /// Whether the role `developer` is known; `system` stands in for it elsewhere.
    pub developer: bool,
    /// Most stop sequences.
    pub stops_max: usize,
    /// The word of `tool_choice` for "some tool".
    pub some_tool: &'static str,
    pub call_ids: CallIds,
    pub effort: Effort,
    /// The field of a message that takes the thoughts of earlier turns; `None` where there is none.
    pub thoughts: Option<&'static str>,
    /// Fields of messages that are refused.
    pub refused_in_messages: &'static [&'static str],
}

/// Fields that a provider refuses at the top of a body, so that they must not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub wire: Dialect,
    /// Only by models whose names begin so; empty: by all.
    pub models: &'static [&'static str],
    /// But not by these.
    pub except: &'static [&'static str],
    /// Only of a request that lets the model think.
    pub while_thinking: bool,
    pub fields: &'static [&'static str],
}

/// An account's name beside its token: a header, and the claim and its member where the token says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountName {
    pub header: &'static str,
    pub claim: &'static str,
    pub member: &'static str,
}

/// One provider.
#[derive(Debug, Clone, Copy)]
pub struct Provider {
    /// The word in `provider:`.
    pub name: &'static str,
    pub scheme: Scheme,
    /// What it speaks for certain; `wire: auto` takes the caller's dialect if it is among them, else the first.
    pub wires: &'static [Dialect],
    /// What it may speak: depends on its version or its model, or is documented and young. It is asked once.
    pub may: &'static [Dialect],
    /// The wires on which it counts tokens.
    pub counts: &'static [Dialect],
    /// Model names that sound like its own begin so (Router API's rule) …
    pub name_prefixes: &'static [&'static str],
    /// … but not so: these are open models of the same family.
    pub foreign_prefixes: &'static [&'static str],
    /// It knows `stream_options.include_usage`.
    pub stream_usage: bool,
    /// It answers in streams only.
    pub only_streams: bool,
    /// The row that holds at an address that is not the provider's own.
    pub elsewhere: Option<&'static str>,
    pub shape: Shape,
    pub rebased: &'static [Rebase],
    pub chat: Chat,
    pub refused: &'static [Refusal],
    /// Errors that mean something else here than elsewhere; looked at before the common ones.
    pub tells: &'static [Tell],
    /// Headers of a client that this provider alone may see, besides those of the wire.
    pub passes: &'static [&'static str],
    /// On Responses: what stands in `instructions` where the caller gives none, at a server that wants some and stores nothing. Empty:
    /// there is no such need.
    pub instructions: &'static str,
    /// Sent with every request, unless the account says otherwise.
    pub headers: &'static [(&'static str, &'static str)],
    /// How it wants to hear whose account a token is of.
    pub names_account: Option<AccountName>,
    /// Where the facts stand, the first being the reference of its chat or messages.
    pub source: &'static [&'static str],
    /// What could not be verified, in words; empty if nothing.
    pub unverified: &'static str,
}

/// OpenAI's chat with a bearer key: what every row begins as, and what a provider without a row is.
const COMPATIBLE: Provider = Provider {
    name: "",
    scheme: Scheme::OfTheWire,
    wires: &[Dialect::Chat],
    may: &[],
    counts: &[],
    name_prefixes: &[],
    foreign_prefixes: &[],
    stream_usage: true,
    only_streams: false,
    elsewhere: None,
    shape: Shape::Plain,
    rebased: &[],
    chat: Chat {
        output_limit: "max_tokens",
        developer: true,
        stops_max: usize::MAX,
        some_tool: "required",
        call_ids: CallIds::Any,
        effort: Effort::Any,
        thoughts: Some("reasoning_content"),
        refused_in_messages: &[],
    },
    refused: &[],
    tells: &[],
    passes: &[],
    instructions: "",
    headers: &[],
    names_account: None,
    source: &["https://platform.openai.com/docs/api-reference/chat/create"],
    unverified: "",
};

/// The tables, in the order of the page about them.
const TABLES: [&[Provider]; 3] = [own::ROWS, hosted::ROWS, engines::ROWS];

/// Every row.
pub fn providers() -> impl Iterator<Item = &'static Provider> {
    TABLES.into_iter().flatten()
}

/// The row of a provider; `custom`'s for a name that has none.
pub fn provider(name: &str) -> Provider {
    let find = |name: &str| providers().find(|row| row.name == name).copied();
    find(name).or_else(|| find("custom")).unwrap_or(COMPATIBLE)
}

/// The node that stands for a provider in files of request records, as LLM Router writes them.
pub fn node_of_cloud(provider: &str) -> &'static str {
    match provider {
        "openai" => "00000000-0000-0000-0000-00000000c001",
        "google" => "00000000-0000-0000-0000-00000000c002",
        "anthropic" => "00000000-0000-0000-0000-00000000c003",
        _ => "00000000-0000-0000-0000-00000000c000",
    }
}

/// The row of a provider at an address.
pub(crate) fn provider_at(name: &str, base_url: &str) -> Provider {
    let row = provider(name);
    let Some(elsewhere) = row.elsewhere else { return row };
    let home = config::providers::provider(name).map_or("", |p| p.default_base);
    let is_home = base_url.strip_prefix(home).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if is_home { row } else { provider(elsewhere) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn rows_are_whole() {
        let mut names = HashSet::new();
        for row in providers() {
            assert!(names.insert(row.name), "{} stands twice", row.name);
            assert!(!row.wires.is_empty(), "{}", row.name);
            assert!(row.wires.iter().all(|w| !row.may.contains(w)), "{}: a wire is both sure and possible", row.name);
            assert!(!row.source.is_empty() && row.source.iter().all(|s| s.starts_with("https://")), "{}", row.name);
            assert!(row.elsewhere.is_none_or(|name| provider(name).name == name), "{}", row.name);
            assert!(row.passes.iter().all(|name| name.parse::<http::HeaderName>().is_ok()), "{}", row.name);
            let Effort::Words(words) = row.chat.effort else { continue };
            assert!(!words.is_empty() && words.iter().all(|w| crate::fit::STRENGTHS.contains(w)), "{}", row.name);
        }
        for known in config::providers::providers() {
            assert!(names.contains(known.name), "{} has variables and no row", known.name);
        }
    }

    #[test]
    fn a_name_without_a_row_is_something_compatible() {
        assert_eq!(provider("my-server").name, "custom");
        assert_eq!(provider_at("openai", "https://api.openai.com/v1").name, "openai");
        for base in ["http://localhost:8000/v1", "https://api.openai.com.evil.example/v1", "https://api.openai.community"] {
            assert_eq!(provider_at("openai", base).name, "openai-compatible", "{base}");
        }
        assert_eq!(provider_at("mistral", "http://h/v1").name, "mistral");
    }
}
