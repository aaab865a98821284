//! Rules about documents: links lead somewhere, fragments are well named, the error table is the code's.

use super::{Findings, Tree};
use crate::changelog;

pub(super) fn check(tree: &Tree) -> Findings {
    let mut findings = Findings::new();
    for (path, text) in tree.with_ending(".md") {
        findings.extend(broken_links(tree, path, text));
    }
    for (path, text) in tree.with_ending(".md").filter_map(|(path, text)| Some((path.strip_prefix("changes/")?, text))) {
        if path == "README.md" {
            continue;
        }
        if let Err(error) = changelog::parse_name(path) {
            findings.push(format!("changes/{path}: {error}"));
        }
        if text.trim().is_empty() {
            findings.push(format!("changes/{path}: says nothing"));
        }
    }
    findings.extend(errors_differ(tree));
    findings
}

/// Links to files of the project, and to headings in them, that lead nowhere.
fn broken_links(tree: &Tree, path: &str, text: &str) -> Findings {
    let mut findings = Findings::new();
    for (number, link) in links(text) {
        if link.contains("://") || link.starts_with("mailto:") {
            continue;
        }
        let (file, heading) = link.split_once('#').map_or((link, None), |(file, heading)| (file, Some(heading)));
        let target = if file.is_empty() { path.to_owned() } else { resolve(path, file) };
        if !tree.has(&target) {
            findings.push(format!("{path}:{number}: the link {link} leads nowhere"));
        } else if let Some(heading) = heading
            && let Some(text) = tree.get(&target)
            && !headings(text).any(|slug| slug == heading)
        {
            findings.push(format!("{path}:{number}: {target} has no heading #{heading}"));
        }
    }
    findings
}

/// Inline links outside code blocks, with their line.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut links = Vec::new();
    for (number, line) in prose(text) {
        let mut rest = line;
        while let Some(at) = rest.find("](") {
            rest = &rest[at + 2..];
            if let Some(end) = rest.find(')') {
                links.push((number, rest[..end].split(' ').next().unwrap_or_default()));
            }
        }
    }
    links
}

fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    })
}

/// A path relative to the folder of `from`, as a path below the root.
fn resolve(from: &str, link: &str) -> String {
    let mut parts: Vec<&str> =
        if link.starts_with('/') { Vec::new() } else { from.split('/').rev().skip(1).collect::<Vec<_>>().into_iter().rev().collect() };
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// The anchors that headings get: lower case, hyphens for spaces, no punctuation.
fn headings(text: &str) -> impl Iterator<Item = String> {
    prose(text).filter_map(|(_, line)| {
        let title = line.strip_prefix('#')?.trim_start_matches('#').trim();
        let kept = title.to_lowercase();
        Some(kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_')).map(|c| if c == ' ' { '-' } else { c }).collect())
    })
}

const ERROR_TABLE: &str = "crates/wire/src/error.rs";
const ERROR_PAGE: &str = "docs/errors.md";

/// Rows of the error table in the code that the page lacks, and the other way round.
fn errors_differ(tree: &Tree) -> Findings {
    let (Some(code), Some(page)) = (tree.get(ERROR_TABLE), tree.get(ERROR_PAGE)) else {
        return vec![format!("{ERROR_TABLE} and {ERROR_PAGE} must both be there")];
    };
    let (coded, written) = (coded_errors(code), written_errors(page));
    let missing = coded.iter().filter(|row| !written.contains(row)).map(|row| format!("{ERROR_PAGE}: no row {row}"));
    let unknown =
        written.iter().filter(|row| !coded.contains(row)).map(|row| format!("{ERROR_PAGE}: the row {row} is not in {ERROR_TABLE}"));
    missing.chain(unknown).collect()
}

/// `Self::X => ("code", "type", status),` as `status code type`.
fn coded_errors(text: &str) -> Vec<String> {
    let rows = text.lines().filter_map(|line| line.trim().strip_prefix("Self::")?.split_once(" => (")?.1.strip_suffix("),"));
    rows.filter_map(|row| {
        let mut parts = row.split(", ").map(|part| part.trim_matches('"'));
        let (code, kind, status) = (parts.next()?, parts.next()?, parts.next()?);
        status.parse::<u16>().ok().map(|status| format!("{status} {code} {kind}"))
    })
    .collect()
}

/// ``| status | `code` | `type` | …`` as `status code type`.
fn written_errors(text: &str) -> Vec<String> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| "));
    rows.filter_map(|row| {
        let mut cells = row.split('|').map(|cell| cell.trim().trim_matches('`'));
        let (status, code, kind) = (cells.next()?, cells.next()?, cells.next()?);
        status.parse::<u16>().ok().map(|status| format!("{status} {code} {kind}"))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::tree;

    #[test]
    fn links_lead_to_files_and_headings() {
        let text = "# One, two\n[a](../x.md#one-two) [b](#one-two) [c](https://a.b/c)\n```\n[d](nowhere.md)\n```\n";
        let files = tree(&[("docs/y.md", text), ("x.md", "# One, two\n")]);
        assert_eq!(broken_links(&files, "docs/y.md", text), Findings::new());
        let broken = "[a](gone.md) [b](../x.md#three)\n";
        assert_eq!(broken_links(&files, "docs/y.md", broken).len(), 2);
    }

    #[test]
    fn the_error_page_has_the_rows_of_the_code() {
        let code = "    Self::A => (\"not_found\", \"not_found_error\", 404),\n    Self::B => (\"x\", \"y\", 500),\n";
        let page = "| 404 | `not_found` | `not_found_error` | what |\n";
        let differences = errors_differ(&tree(&[(ERROR_TABLE, code), (ERROR_PAGE, page)]));
        assert_eq!(differences, vec!["docs/errors.md: no row 500 x y".to_owned()]);
    }
}
