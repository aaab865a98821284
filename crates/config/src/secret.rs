//! A text that must not be seen: it prints as `***` wherever it is printed.

use std::fmt;

/// How a secret is printed.
pub const MASK: &str = "***";

/// A key, password or token. `Debug`, `Display` and `Serialize` give [`MASK`]; only [`Secret::expose`] gives the text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text`; `None` where it is empty, since an empty setting counts as not set.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        (!text.is_empty()).then_some(Self(text))
    }

    /// The text itself, for the one place that sends or compares it. Never longer-lived than that.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl serde::Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

/// A URL with the password before its host masked; any other text as it is.
pub(crate) fn mask_url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let Some(at) = rest[..authority_end].rfind('@') else { return text.to_owned() };
    let user = rest[..at].split(':').next().unwrap_or_default();
    format!("{scheme}://{user}:{MASK}{}", &rest[at..])
}

/// Letters and digits in a row that no name has: a key's.
const KEY_LETTERS: usize = 16;

/// A text with everything in it masked that looks like a key: where a value is wrong it may be a key that stands in another's place.
pub(crate) fn mask_keys(text: &str) -> String {
    let is_sign = |c: char| !c.is_ascii_alphanumeric();
    let is_key = |letters: &str| {
        let has = |kind: fn(&u8) -> bool| letters.bytes().any(|b| kind(&b));
        letters.len() >= KEY_LETTERS && has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic)
    };
    let pieces = text.split_inclusive(is_sign).map(|piece| piece.split_at(piece.find(is_sign).unwrap_or(piece.len())));
    pieces.flat_map(|(letters, sign)| [if is_key(letters) { MASK } else { letters }, sign]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_in_the_place_of_something_else_are_masked() {
        assert_eq!(mask_keys("sk-proj-0123456789abcdefABCDEF_é0123456789abcdef"), "sk-proj-***_é***");
        for same in
            ["", "meta-llama/Llama-3.1-405B-Instruct-FP8", "https://a.example/v1", "1234567890123456789", "averylongwordofletters", "é"]
        {
            assert_eq!(mask_keys(same), same);
        }
    }

    #[test]
    fn it_prints_as_three_stars_and_nothing_else() {
        let secret = Secret::new("sk-very-secret").unwrap();
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "*** *** Some(***)");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"***\"");
        assert_eq!(secret.expose(), "sk-very-secret");
    }

    #[test]
    fn a_url_keeps_all_but_its_password() {
        for (url, want) in [
            ("postgres://me:p@ss@db:5432/x?y=1", "postgres://me:***@db:5432/x?y=1"),
            ("redis://:pw@db/0", "redis://:***@db/0"),
            ("https://db/x@y", "https://db/x@y"),
            ("sqlite:router.db", "sqlite:router.db"),
        ] {
            assert_eq!(mask_url(url), want);
        }
    }

    #[test]
    fn an_empty_one_is_none() {
        assert!(Secret::new("").is_none());
    }
}
