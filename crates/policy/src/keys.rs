//! The table of keys that are valid now.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use journey::{Caller, KeyRef, Scope, Scopes};
use sha2::{Digest, Sha256};
use wire::{Code, Failure};

use crate::credentials::Credentials;

/// SHA-256 of a secret.
pub type Hash = [u8; 32];

/// The hash under which a secret is stored and looked up.
pub fn hash(secret: &str) -> Hash {
    hash_bytes(secret.as_bytes())
}

/// The same of a secret that may be no text.
pub fn hash_bytes(secret: &[u8]) -> Hash {
    Sha256::digest(secret).into()
}

/// A key as it is honoured.
#[derive(Debug, Clone)]
pub struct KeyEntry {
    pub id: Arc<str>,
    pub name: Arc<str>,
    pub hash: Hash,
    pub scopes: Scopes,
    pub allowed_models: Option<Arc<[String]>>,
    pub expires_at: Option<Timestamp>,
}

impl KeyEntry {
    /// A static key of the settings: inference and reading, or everything for a master key.
    pub fn fixed(secret: &str, scopes: Scopes, name: &str) -> Self {
        Self { id: name.into(), name: name.into(), hash: hash(secret), scopes, allowed_models: None, expires_at: None }
    }
}

/// All keys, by hash.
#[derive(Debug, Default)]
pub struct Keys {
    by_hash: HashMap<Hash, (Caller, Option<Timestamp>)>,
    open: bool,
}

impl Keys {
    /// Builds the table; of two entries with one secret the first wins. `open`: auth is off.
    pub fn new(entries: impl IntoIterator<Item = KeyEntry>, open: bool) -> Self {
        let mut by_hash = HashMap::new();
        for entry in entries {
            let KeyEntry { id, name, hash, scopes, allowed_models, expires_at } = entry;
            let caller = Caller { key: Some(KeyRef { id, name }), scopes, allowed_models };
            by_hash.entry(hash).or_insert((caller, expires_at));
        }
        Self { by_hash, open }
    }

    /// Whether auth is off.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Whether a text is one of the keys, expired or not.
    pub fn knows(&self, secret: &str) -> bool {
        self.by_hash.contains_key(&hash(secret))
    }

    /// Whether there is any key at all.
    pub fn is_empty(&self) -> bool {
        self.by_hash.is_empty()
    }

    /// How many keys open something at `now`.
    pub fn count(&self, now: Timestamp) -> usize {
        self.by_hash.values().filter(|(_, expires_at)| expires_at.is_none_or(|at| at > now)).count()
    }

    /// Whether some key opens the control plane.
    pub fn has_admin(&self) -> bool {
        self.by_hash.values().any(|(caller, _)| caller.scopes.has(Scope::Admin))
    }

    /// Finds the caller by the credentials shown; the first valid one counts.
    ///
    /// # Errors
    /// [`Code::InvalidApiKey`]: none shown, none known, or expired.
    pub fn identify(&self, shown: &Credentials<'_>, now: Timestamp) -> Result<Caller, Failure> {
        let mut expired = false;
        for secret in shown.iter() {
            if let Some((caller, expires_at)) = self.by_hash.get(&hash(secret)) {
                if expires_at.is_none_or(|at| at > now) {
                    return Ok(caller.clone());
                }
                expired = true;
            }
        }
        if self.open {
            return Ok(Caller::anyone());
        }
        Err(Failure::new(
            Code::InvalidApiKey,
            match (expired, shown.is_empty()) {
                (true, _) => "API key expired.",
                (_, true) => "Missing API key: send it as `Authorization: Bearer KEY` or `x-api-key: KEY`.",
                _ => "Invalid API key.",
            },
        ))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn shown(secret: &str) -> HeaderMap {
        HeaderMap::from_iter([(http::header::AUTHORIZATION, format!("Bearer {secret}").parse().unwrap())])
    }

    #[test]
    fn keys_are_found_expired_and_refused() {
        let now = Timestamp::from_second(1000).unwrap();
        let mut old = KeyEntry::fixed("old", Scopes::ALL, "old");
        old.expires_at = Some(now);
        let keys = Keys::new([KeyEntry::fixed("good", [Scope::Inference].into_iter().collect(), "static"), old], false);
        let ask = |secret: &str| keys.identify(&Credentials::of(&shown(secret), None, None), now);
        let caller = ask("good").unwrap();
        assert!(caller.scopes.has(Scope::Inference) && !caller.scopes.has(Scope::Admin));
        assert_eq!((keys.count(now), keys.count(Timestamp::UNIX_EPOCH)), (1, 2));
        assert!(ask("old").unwrap_err().message.contains("expired"));
        assert!(ask("bad").unwrap_err().message.contains("Invalid"));
        let none = keys.identify(&Credentials::of(&HeaderMap::new(), None, None), now).unwrap_err();
        assert_eq!((none.status(), none.code), (401, Code::InvalidApiKey));
    }

    #[test]
    fn with_auth_off_everybody_is_welcome() {
        let keys = Keys::new([], true);
        let caller = keys.identify(&Credentials::of(&shown("whatever"), None, None), Timestamp::UNIX_EPOCH).unwrap();
        assert!(caller.key.is_none() && caller.scopes.has(Scope::Admin));
    }
}
