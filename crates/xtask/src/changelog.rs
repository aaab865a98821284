//! The changelog is written as fragments: `changes/<topic>.<kind>.md`, one per change that a user can see.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

use crate::paths;

/// The kinds of change, in the order in which a release lists them, with their headings.
pub(crate) const KINDS: [(&str, &str); 6] = [
    ("breaking", "Breaking"),
    ("security", "Security"),
    ("added", "Added"),
    ("changed", "Changed"),
    ("fixed", "Fixed"),
    ("removed", "Removed"),
];

/// The line of CHANGELOG.md below which releases are inserted.
const MARK: &str = "<!-- releases -->";

/// Prints the section that the fragments make; with a version writes it into CHANGELOG.md and removes them.
pub(crate) fn run(release: Option<&str>) -> Result<()> {
    let root = paths::root();
    let fragments = read_fragments(&root.join("changes"))?;
    let section = render(release.unwrap_or("Unreleased"), &fragments);
    let Some(version) = release else {
        print!("{section}");
        return Ok(());
    };
    if fragments.is_empty() {
        bail!("no fragment in changes/: nothing to release");
    }
    let path = root.join("CHANGELOG.md");
    let text = fs::read_to_string(&path)?;
    let (above, below) = text.split_once(MARK).with_context(|| format!("CHANGELOG.md has no line {MARK}"))?;
    fs::write(&path, format!("{above}{MARK}\n\n{}{below}", section.trim_end()))?;
    for fragment in &fragments {
        fs::remove_file(root.join("changes").join(&fragment.name))?;
    }
    println!("CHANGELOG.md: {version} with {} changes", fragments.len());
    Ok(())
}

struct Fragment {
    name: String,
    kind: String,
    text: String,
}

/// Splits a fragment's file name into topic and kind; says what is wrong with it otherwise.
pub(crate) fn parse_name(name: &str) -> Result<(&str, &str), String> {
    let stem = name.strip_suffix(".md").ok_or("a fragment ends in .md")?;
    let (topic, kind) = stem.split_once('.').ok_or("a fragment is named <topic>.<kind>.md")?;
    let is_kebab = !topic.is_empty()
        && topic.split('-').all(|word| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()));
    if !is_kebab {
        return Err(format!("the topic `{topic}` is not lower-case words joined by hyphens"));
    }
    if !KINDS.iter().any(|(known, _)| *known == kind) {
        let known: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
        return Err(format!("the kind `{kind}` is none of {}", known.join(", ")));
    }
    Ok((topic, kind))
}

fn read_fragments(folder: &Path) -> Result<Vec<Fragment>> {
    let mut fragments = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name == "README.md" {
            continue;
        }
        let (_, kind) = parse_name(&name).map_err(|error| anyhow::anyhow!("changes/{name}: {error}"))?;
        fragments.push(Fragment { kind: kind.to_owned(), text: fs::read_to_string(folder.join(&name))?, name });
    }
    fragments.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(fragments)
}

fn render(version: &str, fragments: &[Fragment]) -> String {
    let mut section = format!("## {version}\n");
    for (kind, heading) in KINDS {
        let mut of_kind = fragments.iter().filter(|fragment| fragment.kind == kind).peekable();
        if of_kind.peek().is_some() {
            section.extend(["\n### ", heading, "\n\n"]);
        }
        for fragment in of_kind {
            section.extend(["- ", &fragment.text.trim().replace('\n', "\n  "), "\n"]);
        }
    }
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_topic_and_kind() {
        assert_eq!(parse_name("one-command.added.md"), Ok(("one-command", "added")));
        for wrong in ["one.md", "One.added.md", "one--two.added.md", "one.new.md", "one.added.txt", ".added.md"] {
            assert!(parse_name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_section_groups_by_kind_in_order() {
        let fragment =
            |name: &str, kind: &str| Fragment { name: name.to_owned(), kind: kind.to_owned(), text: format!("{name}.\nMore.\n") };
        let section = render("1.0.0", &[fragment("a", "fixed"), fragment("b", "added"), fragment("c", "fixed")]);
        assert_eq!(section, "## 1.0.0\n\n### Added\n\n- b.\n  More.\n\n### Fixed\n\n- a.\n  More.\n- c.\n  More.\n");
    }
}
