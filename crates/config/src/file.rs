//! Finding and reading the configuration file. The only place that knows the YAML parser.

use std::path::{Path, PathBuf};

use serde_saphyr::Spanned;

use crate::env::Environment;
use crate::error::ConfigError;
use crate::tree::{self, Node, Value};

/// Most bytes of a configuration file.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// Deepest nesting of a configuration file; settings use less than ten levels, and the readers recurse.
const DEPTH_MAX: usize = 64;

/// Where the file is: the flag, `LLM_ROUTER_CONFIG`, `LLM_ROUTER_ROUTING_CONFIG_PATH`, `ROUTING_CONFIG_PATH`, else the first that
/// exists of `router.yaml` and `config/router.yaml` in the working directory and `.llm-router/router.yaml` in the home directory.
pub(crate) fn find(flag: Option<&Path>, env: &Environment, cwd: &Path, home: Option<&Path>) -> Result<Option<PathBuf>, ConfigError> {
    let by_name = ["LLM_ROUTER_CONFIG", "LLM_ROUTER_ROUTING_CONFIG_PATH", "ROUTING_CONFIG_PATH"];
    let named = flag.map(|path| (path.to_owned(), "--config".to_owned()));
    let named = named.or_else(|| by_name.iter().find_map(|name| Some((PathBuf::from(env.get(name)?), format!("environment {name}")))));
    if let Some((path, origin)) = named {
        let path = cwd.join(expand_home(&path, home));
        return if path.exists() { Ok(Some(path)) } else { Err(ConfigError::Missing { path, origin }) };
    }
    let usual = [Some(cwd.join("router.yaml")), Some(cwd.join("config/router.yaml")), home.map(|h| h.join(".llm-router/router.yaml"))];
    Ok(usual.into_iter().flatten().find(|path| path.is_file()))
}

/// `~` and what follows it, in the home directory.
pub(crate) fn expand_home(path: &Path, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

/// A file's text, bounded in size.
pub(crate) fn read_text(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |reason: String| ConfigError::Unreadable { path: path.to_owned(), reason };
    let about = std::fs::metadata(path).map_err(|e| unreadable(e.to_string()))?;
    if about.len() > FILE_BYTES_MAX {
        return Err(unreadable(format!("it is larger than {FILE_BYTES_MAX} bytes")));
    }
    std::fs::read_to_string(path).map_err(|e| unreadable(e.to_string()))
}

/// The tree of a YAML text; nothing for an empty one. Aliases are expanded within bounds, a key written twice is an error.
pub(crate) fn parse(text: &str, path: &Path) -> Result<Node, ConfigError> {
    let options = serde_saphyr::options! {
        // Neighbouring lines may hold secrets.
        with_snippet: false,
        // `n`, `y`, `on` and `off` are words.
        strict_booleans: true,
        non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::PassThrough,
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::Error,
        budget: serde_saphyr::budget! { max_depth: DEPTH_MAX, max_nodes: 200_000, max_aliases: 1_000, max_documents: 1 },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 100_000, max_replay_stack_depth: 16 },
    };
    let document = serde_saphyr::from_str_with_options::<Option<Spanned<Value>>>(text, options);
    document.map(|document| tree::root(document, text)).map_err(|e| syntax(&e, path))
}

fn syntax(error: &serde_saphyr::Error, path: &Path) -> ConfigError {
    let error = error.without_snippet();
    let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
    let message = error.to_string();
    // What a programmer who uses the parser could set, nobody who writes a file can.
    let message = message.split(", set ").next().unwrap_or_default();
    ConfigError::Syntax { path: path.to_owned(), line, column, message: tree::shorten(message) }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    fn yaml(text: &str) -> Result<Node, ConfigError> {
        parse(text, Path::new("router.yaml"))
    }

    #[test]
    fn values_and_keys_know_their_lines() {
        let root = yaml("# first\na: 1\nb:\n  - c: x\n    d: [1, 2.5, true, ~]\n").unwrap();
        assert_eq!(root.entries().iter().map(|e| (e.key.as_str(), e.line)).collect::<Vec<_>>(), [("a", 2), ("b", 3)]);
        let item = &root.get("b").unwrap().items()[0];
        assert_eq!(item.entries().iter().map(|e| (e.key.as_str(), e.line)).collect::<Vec<_>>(), [("c", 4), ("d", 5)]);
        assert_eq!(item.get("d").unwrap().items().iter().map(Node::brief).collect::<Vec<_>>(), ["1", "2.5", "true", "nothing"]);
        assert_eq!(root.to_json(), serde_json::json!({"a": 1, "b": [{"c": "x", "d": [1, 2.5, true, null]}]}));
    }

    #[test]
    fn nothing_is_fine() {
        for text in ["", "# nothing\n", "---\n", "~\n"] {
            assert!(yaml(text).unwrap().is_null(), "{text:?}");
        }
        assert_eq!(yaml("{}\n").unwrap().value, Value::Map(Vec::new()));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line_and_without_its_neighbours() {
        for (text, line) in [
            ("a: 1\nkey: sk-secret\nb: [\n", 4),
            ("a: 1\na: sk-secret\n", 2),
            ("key: sk-secret\n\tx: 1\n", 2),
            ("key: sk-secret\nb: *nowhere\n", 2),
            ("a: 1\n---\nb: sk-secret\n", 2),
        ] {
            let said = yaml(text).unwrap_err();
            let ConfigError::Syntax { line: at, .. } = &said else { panic!("{said}") };
            assert!(*at <= line && *at + 1 >= line && !said.to_string().contains("sk-secret"), "{said}");
        }
    }

    #[test]
    fn words_and_numbers_stay_as_they_were_written() {
        let root = yaml("a: [n, yes, off, true, 1.10, 007, 1e5, 12e999, 0x1F, .inf, '5', 1.0]\né: 2.50\nb: &x 3.30\nc: *x\n").unwrap();
        let words: Vec<_> = root.get("a").unwrap().items().iter().map(|i| i.scalar().unwrap()).collect();
        assert_eq!(words[..8], ["n", "yes", "off", "true", "1.10", "007", "1e5", "12e999"]);
        assert_eq!(words[8..], ["31", "inf", "5", "1.0"]);
        assert_eq!(root.get("é").unwrap().scalar().as_deref(), Some("2.50"));
        assert_eq!(root.get("c").and_then(Node::scalar).map(|n| n.parse::<f64>().unwrap()), Some(3.3));
    }

    #[test]
    fn an_alias_bomb_ends_at_its_budget() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..10 {
            let before = i - 1;
            writeln!(text, "a{i}: &a{i} [{}]", vec![format!("*a{before}"); 9].join(", ")).unwrap();
        }
        assert!(yaml(&text).is_err());
        assert!(yaml(&"[".repeat(10_000)).is_err());
    }

    #[test]
    fn the_file_is_found_in_its_order() {
        let dir = tempfile::tempdir().unwrap();
        let (cwd, home) = (dir.path().join("cwd"), dir.path().join("home"));
        for folder in ["cwd/config", "home/.llm-router"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let none = Environment::default();
        let found = |env: &Environment| find(None, env, &cwd, Some(&home)).unwrap();
        assert_eq!(found(&none), None);
        for path in [home.join(".llm-router/router.yaml"), cwd.join("config/router.yaml"), cwd.join("router.yaml")] {
            std::fs::write(&path, "").unwrap();
            assert_eq!(found(&none), Some(path));
        }
        std::fs::write(home.join("x.yaml"), "").unwrap();
        let old = Environment::from_map([("ROUTING_CONFIG_PATH", "~/x.yaml")]);
        assert_eq!(found(&old), Some(home.join("x.yaml")));
        let both = Environment::from_map([("LLM_ROUTER_CONFIG", "none.yaml"), ("ROUTING_CONFIG_PATH", "~/x.yaml")]);
        let said = find(None, &both, &cwd, Some(&home)).unwrap_err().to_string();
        assert!(said.contains("none.yaml") && said.contains("LLM_ROUTER_CONFIG"), "{said}");
        assert_eq!(find(Some(Path::new("router.yaml")), &both, &cwd, Some(&home)).unwrap(), Some(cwd.join("router.yaml")));
    }
}
