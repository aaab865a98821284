//! What a setting is, as data. The tables of them ([`crate::keys`], [`crate::node_keys`]) feed the reader, the error messages
//! and the reference page, so that the three can't differ.

/// One setting, or one section that is read as a whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    /// The key in the file, with dots.
    pub(crate) name: &'static str,
    /// Variables, the first being the canonical one; the first that is set wins.
    pub(crate) env: &'static [&'static str],
    /// Those of `env` whose use is reported as deprecated.
    pub(crate) deprecated: &'static [&'static str],
    /// The default as one would write it; empty where there is none or where it depends on other settings.
    pub(crate) default: &'static str,
    /// How the reference describes a default that depends on other settings.
    pub(crate) default_note: &'static str,
    pub(crate) shape: Shape,
    /// One sentence for the reference.
    pub(crate) meaning: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One value, or a list of single values; the environment can set it.
    Scalar,
    /// As `Scalar`, and never shown.
    Secret,
    /// As `Scalar`; a password in it is never shown.
    Url,
    /// Read by code of its own, which judges what is below it.
    Structure,
    /// Kept as written for the room it belongs to.
    Kept,
    /// Kept as written; keys below it that nobody knows are warned about.
    Foreign,
}

impl Key {
    /// A single value.
    pub(crate) const fn value(name: &'static str, default: &'static str, meaning: &'static str) -> Self {
        Self { name, env: &[], deprecated: &[], default, default_note: "", shape: Shape::Scalar, meaning }
    }

    /// A single value that is never shown.
    pub(crate) const fn secret(name: &'static str, meaning: &'static str) -> Self {
        Self { shape: Shape::Secret, ..Self::value(name, "", meaning) }
    }

    /// Something larger.
    pub(crate) const fn whole(name: &'static str, shape: Shape, meaning: &'static str) -> Self {
        Self { shape, ..Self::value(name, "", meaning) }
    }

    /// With these variables.
    pub(crate) const fn env(self, env: &'static [&'static str]) -> Self {
        Self { env, ..self }
    }

    /// With these of its variables deprecated.
    pub(crate) const fn old(self, deprecated: &'static [&'static str]) -> Self {
        Self { deprecated, ..self }
    }

    /// With this description of its default.
    pub(crate) const fn by_default(self, default_note: &'static str) -> Self {
        Self { default_note, ..self }
    }

    /// Whether the environment can set it.
    pub(crate) fn is_single(&self) -> bool {
        matches!(self.shape, Shape::Scalar | Shape::Secret | Shape::Url)
    }

    /// The variable that follows from the key by rule.
    pub(crate) fn rule_name(&self, prefix: &str) -> String {
        format!("{prefix}{}", self.name.replace('.', "_").to_ascii_uppercase())
    }
}
