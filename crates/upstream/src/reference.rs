//! The page about providers, out of their rows.

use std::fmt::Write;

use wire::Dialect;

use crate::catalog::{CallIds, Effort, Provider, Scheme, Shape, providers};

const HEAD: &str = "\
# Providers

<!-- Made from the rows in crates/upstream/src/catalog; change those, then run
     `cargo test -p upstream -- --ignored write_the_reference`. -->

A provider is a row of data: where it is, how its key is sent, which of the four wires it speaks (`chat`, `responses`,
`messages`, `gemini`), and where it differs from the others. An account names its row in `provider:`; a word that has no row is
treated as `custom`. Variables for keys and addresses stand in [settings](settings.md#providers).

A caller is served on its own wire where the account speaks it, so that its bytes go through unchanged, else on the first wire
that the account speaks for certain. A wire that an account *may* speak is asked once: if the answer is that there is no such
path, the call goes on on the certain wire at once, and the other is not asked again for an hour. `wire:` in the account puts an
end to all this: then that wire is spoken and no other.

`openai` at an address other than OpenAI's own is treated as `openai-compatible`: the word is also used for whatever speaks
OpenAI's chat. Quirks apply to translated bodies only. What a provider refuses is left out and told in `x-llm-router-fidelity`;
what it calls otherwise is renamed.
";

/// The text of `docs/providers.md`.
pub fn reference_markdown() -> String {
    let mut out = HEAD.to_owned();
    out.push_str("\n## Where and how\n\n| Provider | Base URL | Speaks | May speak | Key |\n|---|---|---|---|---|\n");
    for row in providers() {
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} | {} |",
            row.name,
            base(row),
            wires(row.wires),
            wires(row.may),
            match row.scheme {
                Scheme::OfTheWire => "as the wire has it".to_owned(),
                Scheme::Bearer => "`Authorization: Bearer`".to_owned(),
                Scheme::Header(name) => format!("`{name}`"),
            }
        );
    }
    out.push_str("\nAs the wire has it: a bearer for chat and responses, `x-api-key` for messages, `x-goog-api-key` for gemini.\n");
    out.push_str("\n## What is different\n\n");
    for row in providers() {
        let quirks = quirks(row);
        if !quirks.is_empty() {
            let _ = writeln!(out, "- `{}`: {}.", row.name, quirks.join("; "));
        }
    }
    out.push_str("\n## Not verified\n\nFacts that the sources below do not settle; the row says what is done until then.\n\n");
    for row in providers().filter(|row| !row.unverified.is_empty()) {
        let _ = writeln!(out, "- `{}`: {}.", row.name, row.unverified);
    }
    out.push_str("\n## Sources\n\n");
    for row in providers() {
        let links: Vec<String> = row.source.iter().map(|url| format!("<{url}>")).collect();
        let _ = writeln!(out, "- `{}`: {}", row.name, links.join(", "));
    }
    out
}

fn base(row: &Provider) -> String {
    let Some(known) = config::providers::provider(row.name) else { return String::new() };
    if known.default_base.is_empty() { String::new() } else { format!("`{}{}`", known.default_base, known.path) }
}

fn wires(wires: &[Dialect]) -> String {
    wires.iter().map(|w| w.name()).collect::<Vec<_>>().join(", ")
}

fn code(words: &[&str]) -> String {
    words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ")
}

fn quirks(row: &Provider) -> Vec<String> {
    let mut out = Vec::new();
    match row.shape {
        Shape::Plain => {}
        Shape::Under(path) => out.push(format!("paths stand below `{path}`")),
        Shape::Deployments => out.push(
            "with a dated `api_version` chat, completions and embeddings stand below `/openai/deployments/{model}` (`model_map` names \
             deployments) and `?api-version=` on every path, else all paths below `/openai/v1`"
                .to_owned(),
        ),
    }
    for rule in row.rebased {
        out.push(format!("on the {} wire the base ends in `{}` instead of `{}`", rule.wire.name(), rule.to, rule.from));
    }
    if !row.stream_usage {
        out.push("`stream_options` is not sent".to_owned());
    }
    if row.only_streams {
        out.push("answers in streams only".to_owned());
    }
    if !row.instructions.is_empty() {
        out.push(format!("nothing is stored, and `instructions` say \"{}\" where the caller says nothing", row.instructions));
    }
    if !row.headers.is_empty() {
        let headers: Vec<String> = row.headers.iter().map(|(name, value)| format!("`{name}: {value}`")).collect();
        out.push(format!("{} are sent", headers.join(", ")));
    }
    if let Some(name) = row.names_account {
        out.push(format!("`{}` names the account of the token", name.header));
    }
    out.extend(chat_quirks(row));
    for refusal in row.refused {
        let of = if refusal.models.is_empty() {
            String::new()
        } else {
            let except = if refusal.except.is_empty() { String::new() } else { format!(" except {}", code(refusal.except)) };
            let when = if refusal.while_thinking { ", while they think" } else { "" };
            format!(" (by {}…{except}{when})", code(refusal.models))
        };
        out.push(format!("on {} {} are refused{of}", refusal.wire.name(), code(refusal.fields)));
    }
    if !row.passes.is_empty() {
        out.push(format!("of a client's headers also {} pass", code(row.passes)));
    }
    out
}

fn chat_quirks(row: &Provider) -> Vec<String> {
    let (chat, mut out) = (row.chat, Vec::new());
    if chat.output_limit != "max_tokens" {
        out.push(format!("`max_tokens` is called `{}`", chat.output_limit));
    }
    if !chat.developer {
        out.push("`developer` messages are `system` ones".to_owned());
    }
    if chat.stops_max < usize::MAX {
        out.push(format!("at most {} stop sequences", chat.stops_max));
    }
    if chat.some_tool != "required" {
        out.push(format!("`tool_choice: required` is `{}`", chat.some_tool));
    }
    if chat.call_ids == CallIds::Nine {
        out.push("ids of tool calls have nine letters and digits".to_owned());
    }
    match chat.effort {
        Effort::Any => {}
        Effort::Words(words) => out.push(format!("`reasoning_effort` is one of {}", code(words))),
        Effort::Object => out.push("thinking is asked for by `reasoning: {effort}` or `{max_tokens}`".to_owned()),
        Effort::Thinking => out.push("no thinking is `thinking: {type: disabled}`".to_owned()),
    }
    match chat.thoughts {
        Some("reasoning_content") => {}
        Some(field) => out.push(format!("thoughts of earlier turns are sent as `{field}`")),
        None => out.push("thoughts of earlier turns are not sent".to_owned()),
    }
    if !chat.refused_in_messages.is_empty() {
        out.push(format!("{} of messages are refused", code(chat.refused_in_messages)));
    }
    out
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn page() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/providers.md")
    }

    #[test]
    fn the_page_in_the_docs_is_the_one_from_the_rows() {
        let written = std::fs::read_to_string(page()).unwrap_or_default().replace("\r\n", "\n");
        assert!(written == reference_markdown(), "docs/providers.md is old: run `cargo test -p upstream -- --ignored write_the_reference`");
    }

    #[test]
    #[ignore = "writes docs/providers.md"]
    fn write_the_reference() {
        std::fs::write(page(), reference_markdown()).unwrap();
    }
}
