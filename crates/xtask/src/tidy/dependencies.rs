//! Who depends on whom: the table in ARCHITECTURE.md is compared with what cargo says.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Findings, Tree};
use crate::shell;

/// What `cargo metadata` says about the workspace and its lock file.
pub(super) struct Metadata {
    /// Our packages: name → names of our packages it needs to run, its own tests' needs left out.
    ours: BTreeMap<String, BTreeSet<String>>,
    /// Our packages: name → all other packages named in its manifest, for any purpose.
    others: BTreeMap<String, BTreeSet<String>>,
}

/// Packages that only these of ours may name, and why.
const RESERVED: [(&str, &[&str], &str); 6] = [
    ("sqlx", &["store"], "only `store` speaks SQL"),
    ("redis", &["store"], "only `store` speaks to a Redis"),
    ("hyper-rustls", &["net"], "only `net` opens outbound connections"),
    ("llama-cpp-2", &["llama"], "only `llama` has C++"),
    ("serde-saphyr", &["config"], "one crate reads YAML"),
    ("tracing-subscriber", &["telemetry", "worker"], "logging is set up in one place of a process"),
];

/// Packages of the whole tree above which a new one needs a good reason.
const PACKAGES_MAX: usize = 450;

/// In a crate's row of ARCHITECTURE.md: it stands beside the layers, and only tests and people use it.
const SIDE: &str = "side";

impl Metadata {
    pub(super) fn read() -> Result<Self> {
        let text = shell::output(shell::cargo("metadata").args(["--format-version", "1", "--no-deps", "--locked", "--offline"]))?;
        let metadata: Value = serde_json::from_str(&text)?;
        let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
        let names: BTreeSet<String> = packages.iter().map(|package| string(&package["name"])).collect();
        let (mut ours, mut others) = (BTreeMap::new(), BTreeMap::new());
        for package in packages {
            let dependencies = package["dependencies"].as_array().context("a package lists no dependencies")?;
            let (own, foreign): (Vec<&Value>, Vec<&Value>) =
                dependencies.iter().partition(|dependency| names.contains(&string(&dependency["name"])));
            let to_run = own.into_iter().filter(|dependency| dependency["kind"].is_null());
            ours.insert(string(&package["name"]), to_run.map(|dependency| string(&dependency["name"])).collect());
            others.insert(string(&package["name"]), foreign.into_iter().map(|dependency| string(&dependency["name"])).collect());
        }
        Ok(Self { ours, others })
    }
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(super) fn check(tree: &Tree, metadata: &Metadata) -> Findings {
    let mut findings = Findings::new();
    let rows = rows(tree.get("ARCHITECTURE.md").unwrap_or_default());
    findings.extend(table_differs(&rows, metadata));
    findings.extend(arrows_up(&rows));
    findings.extend(reserved(metadata));
    findings.extend(manifests(tree));
    let packages = tree.get("Cargo.lock").unwrap_or_default().matches("[[package]]").count();
    if packages > PACKAGES_MAX {
        findings.push(format!("Cargo.lock: {packages} packages; at most {PACKAGES_MAX}"));
    }
    findings
}

/// A crate's row in ARCHITECTURE.md: ``| layer | `crate` | what it is | `needs`, … |``.
#[derive(Debug)]
struct Row {
    layer: String,
    needs: BTreeSet<String>,
}

fn rows(text: &str) -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        let [layer, name, _, needs] = cells[..] else { continue };
        if layer == SIDE || layer.parse::<u8>().is_ok() {
            let needs =
                needs.split(',').map(|need| need.trim().trim_matches('`').to_owned()).filter(|need| !need.is_empty() && need != "—");
            rows.insert(name.trim_matches('`').to_owned(), Row { layer: layer.to_owned(), needs: needs.collect() });
        }
    }
    rows
}

/// The table and the manifests must say the same.
fn table_differs(rows: &BTreeMap<String, Row>, metadata: &Metadata) -> Findings {
    let mut findings = Findings::new();
    for (name, needs) in &metadata.ours {
        match rows.get(name) {
            None => findings.push(format!("ARCHITECTURE.md: the table of crates lacks `{name}`")),
            Some(row) if row.needs != *needs => {
                findings.push(format!("ARCHITECTURE.md: `{name}` needs {}; the table says {}", listed(needs), listed(&row.needs)));
            }
            Some(_) => {}
        }
    }
    let gone = rows.keys().filter(|name| !metadata.ours.contains_key(*name));
    findings.extend(gone.map(|name| format!("ARCHITECTURE.md: the table names `{name}`, which is no crate")));
    findings
}

/// Every arrow must point to a lower layer.
fn arrows_up(rows: &BTreeMap<String, Row>) -> Findings {
    let mut findings = Findings::new();
    for (name, row) in rows {
        for need in &row.needs {
            let Some(target) = rows.get(need) else { continue };
            let is_down = match (row.layer.parse::<u8>(), target.layer.parse::<u8>()) {
                (Ok(from), Ok(to)) => to < from,
                (Err(_), _) => true,
                (Ok(_), Err(_)) => false,
            };
            if !is_down {
                findings.push(format!("`{name}` (layer {}) must not depend on `{need}` (layer {})", row.layer, target.layer));
            }
        }
    }
    findings
}

fn reserved(metadata: &Metadata) -> Findings {
    let mut findings = Findings::new();
    for (package, owners, why) in RESERVED {
        let users = metadata.others.iter().filter(|(name, others)| !owners.contains(&name.as_str()) && others.contains(package));
        findings.extend(users.map(|(name, _)| format!("`{name}` must not depend on {package}: {why}")));
    }
    findings
}

/// Every manifest takes the workspace's lints, and nothing comes from a git repository or a patch.
fn manifests(tree: &Tree) -> Findings {
    let mut findings = Findings::new();
    for (path, text) in tree.with_ending("Cargo.toml") {
        let has = |wanted: &str| text.lines().any(|line| line.trim() == wanted);
        if path.starts_with("crates/")
            && path != "crates/llama/Cargo.toml"
            && !path.contains("/fuzz/")
            && !(has("[lints]") && has("workspace = true"))
        {
            findings.push(format!("{path}: `[lints] workspace = true` is missing"));
        }
        for (number, line) in (1..).zip(text.lines()) {
            if line.starts_with("[patch") || line.contains("git = \"") {
                findings.push(format!("{path}:{number}: dependencies come from the registry, unpatched"));
            }
            if line.contains("arbitrary_precision") {
                findings.push(format!("{path}:{number}: this feature breaks tagged and flattened types for every crate"));
            }
        }
    }
    if tree.get("Cargo.lock").unwrap_or_default().contains("source = \"git+") {
        findings.push("Cargo.lock: a package comes from a git repository".to_owned());
    }
    findings
}

fn listed(names: &BTreeSet<String>) -> String {
    if names.is_empty() { "nothing of ours".to_owned() } else { names.iter().cloned().collect::<Vec<_>>().join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "| layer | crate | what | needs |\n|---|---|---|---|\n| 0 | `wire` | shapes | — |\n| 1 | `store` | SQL | `wire` |\n| side | `kit` | tests | `store` |\n";

    fn metadata(ours: &[(&str, &[&str])]) -> Metadata {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Metadata { ours: ours.iter().map(|(name, needs)| ((*name).to_owned(), set(needs))).collect(), others: BTreeMap::new() }
    }

    #[test]
    fn a_true_table_passes() {
        let said = metadata(&[("wire", &[]), ("store", &["wire"]), ("kit", &["store"])]);
        assert_eq!(table_differs(&rows(TABLE), &said), Findings::new());
        assert_eq!(arrows_up(&rows(TABLE)), Findings::new());
    }

    #[test]
    fn a_false_table_is_found() {
        let said = metadata(&[("wire", &["store"]), ("store", &["wire"]), ("new", &[])]);
        assert_eq!(table_differs(&rows(TABLE), &said).len(), 3);
    }

    #[test]
    fn an_arrow_up_sideways_or_to_the_side_is_found() {
        for needs in ["`store`", "`wire`", "`kit`"] {
            let table = TABLE.replace("| shapes | — |", &format!("| shapes | {needs} |"));
            assert_eq!(arrows_up(&rows(&table)).len(), 1, "{needs}");
        }
    }

    #[test]
    fn a_reserved_package_belongs_to_one_crate() {
        let mut said = metadata(&[]);
        said.others.insert("gateway".to_owned(), BTreeSet::from(["sqlx".to_owned()]));
        said.others.insert("store".to_owned(), BTreeSet::from(["sqlx".to_owned()]));
        assert_eq!(reserved(&said).len(), 1);
    }
}
