//! The reference page of all settings, out of the tables that the readers use.

use std::fmt::Write;

use crate::account_fields::ACCOUNT_FIELDS;
use crate::auth::{KEY_FIELDS, KEY_VARIABLES, MASTER_VARIABLES};
use crate::fields::Field;
use crate::key::Key;
use crate::keys::{KEYS, PREFIX, WITHOUT_EFFECT};
use crate::models::{MODEL_FIELDS, ROUTE_FIELDS, STRATEGIES};
use crate::node_keys::NODE_KEYS;
use crate::prices::PRICE_FIELDS;
use crate::providers::providers;

const HEAD: &str = "\
# Settings

<!-- Made from the tables in crates/config; change those, then run
     `cargo test -p config -- --ignored write_the_reference`. -->

A flag wins over the environment, the environment over the file, the file over the default. A file `.env` in the working
directory counts as part of the environment; what the process was given wins over it. An empty value means not set.

The file is the one that `--config` names, else `LLM_ROUTER_CONFIG`, else `ROUTING_CONFIG_PATH`, else the first that exists of
`./router.yaml`, `./config/router.yaml` and `~/.llm-router/router.yaml`. It is YAML; `llm-router config check` judges it,
`llm-router config show` prints every setting in effect with its origin.

Every key of the router that holds a single value or a list of them can be set by a variable too: by those listed, the first
that is set winning, else by `LLM_ROUTER_` with the key in capitals and `_` for `.` (`server.drain_timeout` is
`LLM_ROUTER_SERVER_DRAIN_TIMEOUT`). Variables marked † are deprecated: they work, and are reported at start. Lists are
separated by commas in variables.

Times are written `500ms`, `5s`, `2m`, `1h`, `7d`, or as a number of seconds; sizes `64KiB`, `64MiB`, `1GB`, or as a number of
bytes; shares `20%` or `0.2`; truths `true`, `false`, `1`, `0`, `yes`, `no`, `on`, `off`.

A secret may be written as it is, as `env:NAME` or `os.environ/NAME` (a variable), or as `file:PATH`. Secrets are shown as
`***` everywhere.
";

/// The text of `docs/settings.md`.
pub fn reference_markdown() -> String {
    let mut out = HEAD.to_owned();
    out.push_str("\n## The router's file\n\n");
    keys(&mut out, KEYS, Some(PREFIX));
    let _ = writeln!(
        out,
        "\nAccepted, checked, and without effect in this version (a start that finds one says so): {}.",
        code(WITHOUT_EFFECT)
    );
    out.push_str("\nAn unknown key is an error that names its line and the nearest known key; below LiteLLM's sections it is a warning.\n");
    out.push_str("\n### Accounts\n\nItems of `accounts`, of `services`, and of the JSON list in the variable `ROUTER_SERVICES`.\n\n");
    fields(&mut out, ACCOUNT_FIELDS);
    out.push_str("\nAn account that names no key uses its provider's variable, but only at its provider's own address.\n");
    out.push_str("\n### Models\n\nItems of `models` that are objects.\n\n");
    fields(&mut out, MODEL_FIELDS);
    out.push_str("\n### Prices\n\nEntries of `prices`, the `price` of a model and that of an account.\n\n");
    fields(&mut out, PRICE_FIELDS);
    out.push_str("\n### Profiles\n\nEntries of `routes`.\n\n");
    fields(&mut out, ROUTE_FIELDS);
    let _ = writeln!(out, "\nStrategies: {}.", code(STRATEGIES));
    out.push_str("\n### Keys\n\nItems of `auth.keys` that are objects.\n\n");
    fields(&mut out, KEY_FIELDS);
    let _ = writeln!(
        out,
        "\nKeys also come from {} (separated by commas), from `AUTH_KEY` and `AUTH_KEY_01` to `AUTH_KEY_99` (with the scopes `inference`, `read`, `ops`);\n\
         keys with every scope from {}. All of them count together.",
        code(KEY_VARIABLES),
        code(MASTER_VARIABLES)
    );
    out.push_str("\n## Providers\n\nEach whose key is set, or whose base URL is, becomes an account of that name, after all accounts of the file, in this order.\n\n");
    provider_rows(&mut out);
    out.push_str(
        "\n## The node's file\n\nJSON, named by `--config`, else `LLM_NODE_CONFIG`, else `~/.llm-router/config.json` if it exists.\n\n",
    );
    keys(&mut out, NODE_KEYS, None);
    out
}

/// `prefix`: every key also has the variable that the rule makes of it, which is then not worth naming alone.
fn keys(out: &mut String, table: &[Key], prefix: Option<&str>) {
    out.push_str("| Key | Variables | Default | Meaning |\n|---|---|---|---|\n");
    for key in table {
        let by_rule = prefix.map(|prefix| key.rule_name(prefix));
        let named = |name: &&&str| by_rule.as_deref() != Some(**name) || key.env.len() > 1;
        let variables: Vec<String> =
            key.env.iter().filter(named).map(|name| format!("`{name}`{}", if key.deprecated.contains(name) { "†" } else { "" })).collect();
        let default = match (key.default, key.default_note) {
            ("", note) => note.to_owned(),
            (text, "") => format!("`{text}`"),
            (_, note) => note.to_owned(),
        };
        let _ = writeln!(out, "| `{}` | {} | {default} | {} |", key.name, variables.join(", "), cell(key.meaning));
    }
}

fn fields(out: &mut String, table: &[Field]) {
    out.push_str("| Key | Meaning |\n|---|---|\n");
    for field in table {
        let _ = writeln!(out, "| `{}` | {} |", field.name, cell(field.meaning));
    }
}

fn provider_rows(out: &mut String) {
    out.push_str("| Provider | Key | Base URL | Default base URL |\n|---|---|---|---|\n");
    for p in providers() {
        let base = if p.default_base.is_empty() { String::new() } else { format!("`{}{}`", p.default_base, p.path) };
        let key = if p.key_optional && !p.key_variables.is_empty() {
            format!("{} (optional)", code(p.key_variables))
        } else {
            code(p.key_variables)
        };
        let version = p.versions.map(|v| format!("; version: {}", code(v.variables))).unwrap_or_default();
        let _ = writeln!(out, "| {} | {key} | {}{version} | {base} |", p.name, code(p.base_variables));
    }
}

fn code(words: &[&str]) -> String {
    words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn page() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/settings.md")
    }

    #[test]
    fn the_page_in_the_docs_is_the_one_from_the_tables() {
        let written = std::fs::read_to_string(page()).unwrap_or_default().replace("\r\n", "\n");
        assert!(written == reference_markdown(), "docs/settings.md is old: run `cargo test -p config -- --ignored write_the_reference`");
    }

    #[test]
    #[ignore = "writes docs/settings.md"]
    fn write_the_reference() {
        std::fs::create_dir_all(page().parent().unwrap()).unwrap();
        std::fs::write(page(), reference_markdown()).unwrap();
    }

    #[test]
    fn every_row_has_its_cells() {
        let text = reference_markdown();
        for table in text.split("\n\n").filter(|part| part.starts_with('|')) {
            let cells = |line: &str| line.replace("\\|", "").matches('|').count();
            let first = table.lines().next().unwrap();
            assert!(table.lines().all(|line| cells(line) == cells(first)), "{table}");
        }
    }
}
