//! Rules about Rust files: size, names, and what may be said only in one room.

use super::{Findings, Tree, text::has_word};

/// Lines above which a file must be split.
const LINES_MAX: usize = 800;
/// Files that are tables or generated, and may be longer.
const LONG_FILES: [&str; 0] = [];

const RULES: &str = "crates/xtask/src/tidy/";

/// Endings of type names that say nothing.
const EMPTY_NAMES: [&str; 5] = ["Manager", "Helper", "Util", "Utils", "Service"];

/// Something that may be said only under some folders, and why.
struct Reserved {
    what: &'static [&'static str],
    /// Whether the texts are looked for in string literals only.
    in_literals: bool,
    rooms: &'static [&'static str],
    why: &'static str,
}

const RESERVED: [Reserved; 5] = [
    Reserved {
        what: &["sqlx::", "SELECT ", "INSERT INTO", "DELETE FROM", "CREATE TABLE"],
        in_literals: false,
        rooms: &["crates/store/"],
        why: "only `store` speaks SQL",
    },
    Reserved {
        what: &["hyper_util::client", "hyper::client", "client::legacy", "hyper_rustls", "reqwest", "TcpStream::connect"],
        in_literals: false,
        rooms: &["crates/net/", "crates/testkit/", "crates/bench/", "crates/xtask/"],
        why: "only `net` opens outbound connections",
    },
    Reserved {
        what: &["env::var", "env::vars", "env::var_os", "env::set_var", "env::remove_var"],
        in_literals: false,
        rooms: &["crates/config/", "crates/bench/", "crates/xtask/"],
        why: "only `config` reads the environment",
    },
    Reserved { what: &["unsafe", "unsafe_code"], in_literals: false, rooms: &["crates/llama/"], why: "only `llama` may be unsafe" },
    Reserved {
        what: &["anthropic", "openai", "google", "gemini", "openrouter", "venice", "cerebras", "deepinfra", "ollama", "vllm"],
        in_literals: true,
        rooms: &["crates/wire/", "crates/upstream/", "crates/config/", "crates/bench/", "crates/testkit/", "crates/xtask/"],
        why: "providers and dialects are named only in `wire`, `upstream` and `config`",
    },
];

pub(super) fn check(tree: &Tree) -> Findings {
    let mut findings = Findings::new();
    for (path, text) in tree.with_ending(".rs") {
        let lines = text.lines().count();
        if lines > LINES_MAX && !LONG_FILES.contains(&path) {
            findings.push(format!("{path}: {lines} lines; at most {LINES_MAX}"));
        }
        if path.ends_with("/mod.rs") {
            findings.push(format!("{path}: a module is `name.rs` with a folder `name/`"));
        }
        // Build scripts speak with cargo, tests may do what they test, and these rules must name what they look for.
        if path.ends_with("build.rs")
            || path.contains("/tests/")
            || path.contains("/benches/")
            || path.contains("/examples/")
            || path.contains("/fuzz/")
            || path.starts_with(RULES)
        {
            continue;
        }
        for (number, line) in code_lines(text) {
            if let Some(name) = named_emptily(line) {
                findings.push(format!("{path}:{number}: `{name}` says nothing: name what it is"));
            }
            for rule in RESERVED.iter().filter(|rule| !rule.rooms.iter().any(|room| path.starts_with(room))) {
                if let Some(what) = rule.what.iter().find(|what| says(line, what, rule.in_literals)) {
                    findings.push(format!("{path}:{number}: `{}`: {}", what.trim(), rule.why));
                }
            }
        }
    }
    findings
}

/// The numbered lines before the unit tests, without comments.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let before_tests = (1..).zip(text.lines()).take_while(|(_, line)| line.trim() != "#[cfg(test)]");
    before_tests.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn says(line: &str, what: &str, in_literals: bool) -> bool {
    if in_literals {
        return line.contains(&format!("\"{what}\""));
    }
    // `sqlx::` and `SELECT ` end where a word may begin.
    if what.ends_with([':', ' ']) { line.contains(what) } else { has_word(line, what) }
}

fn named_emptily(line: &str) -> Option<&str> {
    let rest = ["struct ", "enum ", "trait ", "type "].iter().find_map(|keyword| {
        let at = line.find(keyword)?;
        (at == 0 || line[..at].ends_with(' ')).then(|| &line[at + keyword.len()..])
    })?;
    let name = rest.split(|c: char| !c.is_alphanumeric()).next()?;
    EMPTY_NAMES.iter().any(|ending| name.ends_with(ending)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::tree;

    fn found(path: &str, line: &str) -> usize {
        check(&tree(&[(path, &format!("{line}\n"))])).len()
    }

    #[test]
    fn what_belongs_to_one_room_is_found_elsewhere() {
        let cases = [
            ("crates/store/src/keys.rs", "crates/policy/src/keys.rs", "sqlx::query(\"SELECT 1\");"),
            ("crates/net/src/client.rs", "crates/fleet/src/sync.rs", "use hyper_util::client::legacy::Client;"),
            ("crates/config/src/env.rs", "crates/node/src/main.rs", "let home = std::env::var(\"HOME\");"),
            ("crates/upstream/src/auth.rs", "crates/gateway/src/request.rs", "if provider == \"anthropic\" {}"),
            ("crates/llama/src/lib.rs", "crates/worker/src/main.rs", "unsafe { call() }"),
        ];
        for (room, elsewhere, line) in cases {
            assert_eq!(found(room, line), 0, "{room}: {line}");
            assert_eq!(found(elsewhere, line), 1, "{elsewhere}: {line}");
        }
    }

    #[test]
    fn comments_and_unit_tests_are_left_alone() {
        assert_eq!(found("crates/policy/src/a.rs", "// unsafe, says the reader of env::var"), 0);
        assert_eq!(found("crates/policy/src/a.rs", "#[cfg(test)]\nmod tests { use std::env::var; }"), 0);
        assert_eq!(found("crates/policy/tests/it/main.rs", "let x = std::env::var(\"A\");"), 0);
    }

    #[test]
    fn names_and_sizes_are_limited() {
        assert_eq!(found("crates/a/src/b.rs", "pub struct KeyManager {"), 1);
        assert_eq!(found("crates/a/src/b.rs", "pub struct KeyRing { manager: u8 }"), 0);
        assert_eq!(found("crates/a/src/b/mod.rs", ""), 1);
        assert_eq!(found("crates/a/src/b.rs", &"let x = 1;\n".repeat(LINES_MAX)), 1);
    }
}
