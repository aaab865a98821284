//! Rules about the tree itself. Each rule returns what it found; the tree is tidy when nobody found anything.

use std::{collections::BTreeMap, fs, process::Command};

use anyhow::{Result, bail};

use crate::{paths, shell};

mod dependencies;
mod documents;
mod sources;
mod text;

/// What a rule has to say about a place.
pub(crate) type Findings = Vec<String>;

/// The text files of the tree: those git tracks and those it would track. The lock file and data are among them.
pub(crate) struct Tree {
    /// Path below the root, with `/` → content.
    files: BTreeMap<String, String>,
}

impl Tree {
    fn read() -> Result<Self> {
        let root = paths::root();
        let mut files = BTreeMap::new();
        for path in tracked_files()? {
            // A file that has just gone away, a link to nowhere, or a picture: no text to check.
            if let Ok(text) = fs::read_to_string(root.join(&path)) {
                files.insert(path, text);
            }
        }
        Ok(Self { files })
    }

    fn with_ending<'a>(&'a self, ending: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.files.iter().filter(move |(path, _)| path.ends_with(ending)).map(|(path, text)| (path.as_str(), text.as_str()))
    }

    fn get(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    fn has(&self, path: &str) -> bool {
        self.files.contains_key(path) || paths::root().join(path).exists()
    }
}

/// Paths below the root of all files that belong to the project.
pub(crate) fn tracked_files() -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.current_dir(paths::root()).args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"]);
    let listed = shell::output(&mut git)?;
    let root = paths::root();
    Ok(listed.split('\0').filter(|path| !path.is_empty() && root.join(path).is_file()).map(str::to_owned).collect())
}

/// Applies every rule and fails with all that they found.
pub(crate) fn run() -> Result<()> {
    let findings = findings()?;
    if findings.is_empty() {
        println!("tidy: nothing to mend");
        return Ok(());
    }
    for finding in &findings {
        println!("tidy: {finding}");
    }
    bail!("tidy found {} thing(s) to mend", findings.len())
}

fn findings() -> Result<Findings> {
    let tree = Tree::read()?;
    let metadata = dependencies::Metadata::read()?;
    let rules: [Findings; 4] = [text::check(&tree), sources::check(&tree), documents::check(&tree), dependencies::check(&tree, &metadata)];
    Ok(rules.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree made of these files, for the rules' own tests.
    pub(crate) fn tree(files: &[(&str, &str)]) -> Tree {
        Tree { files: files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect() }
    }

    #[test]
    fn this_tree_is_tidy() {
        let findings = findings().expect("the tree can be read");
        assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
    }
}
