//! Takes single settings out of flags, environment, file and table of defaults, in this order, and notes where each came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::env::Environment;
use crate::error::ConfigError;
use crate::key::{Key, Shape};
use crate::litellm_words;
use crate::secret::{MASK, Secret, mask_url};
use crate::secret_ref::{self, Reference};
use crate::setting::Setting;
use crate::show::{Origin, Shown};
use crate::tree::{Node, shorten};

/// Everything that was written, and what was made of it so far.
pub(crate) struct Reader<'a> {
    pub(crate) env: &'a Environment,
    pub(crate) root: &'a Node,
    pub(crate) file: Option<&'a Path>,
    pub(crate) cwd: PathBuf,
    pub(crate) home: Option<PathBuf>,
    pub(crate) shown: Vec<Shown>,
    pub(crate) warnings: Vec<String>,
    keys: &'static [Key],
    prefix: Option<&'static str>,
    flags: BTreeMap<&'static str, (&'static str, String)>,
    defaults: BTreeMap<&'static str, &'static str>,
}

/// What was written for a setting.
struct Written<'a> {
    node: std::borrow::Cow<'a, Node>,
    origin: Origin,
    /// The name as the operator wrote it.
    name: String,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(
        env: &'a Environment,
        root: &'a Node,
        file: Option<&'a Path>,
        keys: &'static [Key],
        prefix: Option<&'static str>,
    ) -> Self {
        let (cwd, home) = (env.cwd().to_owned(), env.home().map(Path::to_owned));
        Self {
            env,
            root,
            file,
            cwd,
            home,
            shown: Vec::new(),
            warnings: Vec::new(),
            keys,
            prefix,
            flags: BTreeMap::new(),
            defaults: BTreeMap::new(),
        }
    }

    /// What a flag said about a setting; it wins over everything.
    pub(crate) fn flag(&mut self, key: &'static str, flag: &'static str, text: Option<String>) {
        if let Some(text) = text {
            self.flags.insert(key, (flag, text));
        }
    }

    /// Another default than the table's.
    pub(crate) fn otherwise(&mut self, key: &'static str, default: &'static str) {
        self.defaults.insert(key, default);
    }

    /// A setting with a default in the table.
    pub(crate) fn value<T: Setting>(&mut self, name: &str) -> Result<T, ConfigError> {
        let key = self.key(name);
        if let Some(found) = self.optional(name)? {
            return Ok(found);
        }
        let default = self.defaults.get(key.name).copied().unwrap_or(key.default);
        let parsed = T::from_text(default).expect("a test reads every default of the table");
        self.note(key.name, default.to_owned(), Origin::Default);
        Ok(parsed)
    }

    /// A setting that may be missing.
    pub(crate) fn optional<T: Setting>(&mut self, name: &str) -> Result<Option<T>, ConfigError> {
        let key = self.key(name);
        let Some(written) = self.written(key) else { return Ok(None) };
        let masked = |text: String| match key.shape {
            Shape::Secret => MASK.to_owned(),
            Shape::Url => mask_url(&text),
            _ => text,
        };
        let parsed = T::from_node(&written.node).ok_or_else(|| {
            let (name, value) = (written.name.clone(), masked(written.node.brief()));
            ConfigError::Value { name, value, origin: written.origin.to_string(), allowed: T::allowed() }
        })?;
        self.note(key.name, masked(joined(&written.node)), written.origin);
        Ok(Some(parsed))
    }

    /// A secret: literal, `env:NAME`, `os.environ/NAME` or `file:PATH`. One that refers to nothing is an error.
    pub(crate) fn secret(&mut self, name: &str) -> Result<Option<Secret>, ConfigError> {
        let key = self.key(name);
        let Some(text) = self.optional::<String>(name)? else { return Ok(None) };
        self.resolve(&text, &self.origin(name), key.name)
    }

    /// The secret that a text of the setting `name` is or refers to. One that refers to nothing would shut out whom it was meant for without a
    /// word: an error.
    pub(crate) fn resolve(&self, text: &str, at: &dyn fmt::Display, name: &str) -> Result<Option<Secret>, ConfigError> {
        match secret_ref::resolve(text, (at, name), self.env, &self.cwd, self.home.as_deref())? {
            Reference::Found(secret) => Ok(Some(secret)),
            Reference::Empty => Ok(None),
            Reference::Unset(variable) => Err(secret_ref::unset(at, name, &variable)),
        }
    }

    /// Whether anybody wrote the setting.
    pub(crate) fn is_written(&self, name: &str) -> bool {
        self.written(self.key(name)).is_some()
    }

    /// Where a setting came from.
    pub(crate) fn origin(&self, name: &str) -> Origin {
        self.written(self.key(name)).map_or(Origin::Default, |w| w.origin)
    }

    /// Notes a value for `config show`.
    pub(crate) fn note(&mut self, key: &str, value: String, origin: Origin) {
        self.shown.push(Shown { key: key.to_owned(), value, origin });
    }

    /// A path of a setting: `~` is the home directory, relative ones start at the working directory.
    pub(crate) fn path(&self, path: &Path) -> PathBuf {
        self.cwd.join(crate::file::expand_home(path, self.home.as_deref()))
    }

    /// The origin of a variable, which may stand in `.env`.
    pub(crate) fn of_variable(&self, variable: &str) -> Origin {
        let name = variable.to_owned();
        if self.env.is_from_dotenv(variable) { Origin::DotEnv(name) } else { Origin::Environment(name) }
    }

    /// The origin of a line of the file.
    pub(crate) fn at_line(&self, line: u64) -> Origin {
        Origin::File { path: self.file.map(Path::to_owned).unwrap_or_default(), line }
    }

    fn key(&self, name: &str) -> &'static Key {
        self.keys.iter().find(|key| key.name == name).expect("a test reads every setting there is")
    }

    fn written(&self, key: &'static Key) -> Option<Written<'a>> {
        if let Some((flag, text)) = self.flags.get(key.name) {
            return Some(Written { node: text_node(text), origin: Origin::Flag(flag), name: (*flag).to_owned() });
        }
        if let Some((variable, text)) = self.variable(key) {
            let origin = match self.env.line_of(&variable) {
                Some(line) => self.at_line(line),
                None => self.of_variable(&variable),
            };
            return Some(Written { node: text_node(text), origin, name: variable });
        }
        // `key: ""` is as good as nothing, as it is in the environment.
        let says = |node: &&Node| node.scalar().is_none_or(|text| !text.trim().is_empty());
        if let Some(node) = self.root.at(key.name) {
            let name = key.name.to_owned();
            return says(&node).then(|| Written { node: std::borrow::Cow::Borrowed(node), origin: self.at_line(node.line), name });
        }
        let (_, theirs) = litellm_words::SAME.iter().find(|(ours, _)| *ours == key.name)?;
        theirs.iter().find_map(|name| {
            let node = self.root.at(name).filter(says)?;
            let origin = self.at_line(node.line);
            let is_reference = node.scalar().is_some_and(|text| text.starts_with("os.environ/"));
            let node = if is_reference { text_node(&self.resolved(node)?) } else { std::borrow::Cow::Borrowed(node) };
            Some(Written { node, origin, name: (*name).to_owned() })
        })
    }

    /// A text of LiteLLM's file, where it is `os.environ/NAME` that variable's; `None` where that is not set.
    pub(crate) fn resolved(&self, node: &Node) -> Option<String> {
        let text = node.scalar()?;
        match text.strip_prefix("os.environ/") {
            Some(name) => self.env.get(name.trim()).map(str::to_owned),
            None => Some(text),
        }
    }

    fn variable(&self, key: &'static Key) -> Option<(String, &'a str)> {
        let by_table = key.env.iter().find_map(|name| Some(((*name).to_owned(), self.env.get(name).filter(|text| counts(name, text))?)));
        by_table.or_else(|| {
            let name = key.rule_name(self.prefix?);
            let text = self.env.get(&name)?;
            Some((name, text))
        })
    }

    /// Reports each deprecated variable that is set, once.
    pub(crate) fn report_deprecated(&mut self) {
        for key in self.keys {
            for old in key.deprecated {
                if self.env.get(old).is_some_and(|text| counts(old, text)) {
                    self.warnings.push(format!("{old} is deprecated: use {}", key.env[0]));
                }
            }
        }
    }
}

/// Whether a variable's text is meant for us. Shells export the machine's name as `HOST`, and Kubernetes exports
/// `<SERVICE>_PORT=tcp://…` for every service, ours among them.
fn counts(name: &str, text: &str) -> bool {
    match name {
        "HOST" => <std::net::IpAddr as Setting>::from_text(text).is_some(),
        _ => !(name.ends_with("PORT") && (text.starts_with("tcp://") || text.starts_with("udp://"))),
    }
}

fn text_node<'a>(text: &str) -> std::borrow::Cow<'a, Node> {
    std::borrow::Cow::Owned(Node::text(text))
}

fn joined(node: &Node) -> String {
    let items: Vec<String> = node.items().iter().map(|item| item.scalar().unwrap_or_else(|| item.brief())).collect();
    shorten(&items.join(","))
}
