//! Who asks.

use std::sync::Arc;

/// One kind of access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Scope {
    Inference = 1,
    Read = 2,
    Ops = 4,
    Admin = 8,
    Mcp = 16,
    A2a = 32,
    Files = 64,
}

impl Scope {
    /// All scopes, for reading and listing.
    pub const ALL: [Self; 7] = [Self::Inference, Self::Read, Self::Ops, Self::Admin, Self::Mcp, Self::A2a, Self::Files];

    /// The name in settings and on keys.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::Read => "read",
            Self::Ops => "ops",
            Self::Admin => "admin",
            Self::Mcp => "mcp",
            Self::A2a => "a2a",
            Self::Files => "files",
        }
    }

    /// The scope of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name() == name)
    }
}

/// A set of scopes; admin holds all others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scopes(u16);

impl Scopes {
    /// Every scope.
    pub const ALL: Self = Self(0x7f);

    /// Whether the set holds a scope.
    pub const fn has(self, scope: Scope) -> bool {
        self.0 & (scope as u16 | Scope::Admin as u16) != 0
    }

    /// Both together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |set, s| set | s as u16))
    }
}

/// The key that a caller showed, as records name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRef {
    /// `key_…`, or `static`, `master` for those from the settings.
    pub id: Arc<str>,
    pub name: Arc<str>,
}

/// A caller that was identified.
#[derive(Debug, Clone)]
pub struct Caller {
    /// `None` with auth off.
    pub key: Option<KeyRef>,
    pub scopes: Scopes,
    /// Names of the models that the key may use, or their beginnings with a `*` behind; `None` for all.
    pub allowed_models: Option<Arc<[String]>>,
}

impl Caller {
    /// Everybody, where auth is off.
    pub fn anyone() -> Self {
        Self { key: None, scopes: Scopes::ALL, allowed_models: None }
    }

    /// Whether the caller may use a model.
    pub fn may_use(&self, model: &str) -> bool {
        let means = |allowed: &String| allowed == model || allowed.strip_suffix('*').is_some_and(|start| model.starts_with(start));
        self.allowed_models.as_ref().is_none_or(|models| models.iter().any(means))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_be_beginnings() {
        let allowed = ["gpt-4", "own-*"].map(str::to_owned);
        let caller = Caller { allowed_models: Some(Arc::new(allowed)), ..Caller::anyone() };
        for (model, may) in [("gpt-4", true), ("gpt-4o", false), ("own-", true), ("own-x/y", true), ("an-own-x", false), ("", false)] {
            assert_eq!(caller.may_use(model), may, "{model}");
        }
        assert!(Caller::anyone().may_use("x"));
    }
}
