//! An account's credentials, taken out of texts.

use std::{borrow::Cow, fmt};

use http::HeaderValue;
use memchr::memmem::Finder;

/// Shorter credentials are words like any other.
const BYTES_MIN: usize = 8;

/// Credentials that no text may show; looking for each is prepared once.
pub(crate) struct Mask(Vec<(Finder<'static>, String)>);

impl Mask {
    /// Of credentials as they stand in headers.
    pub(crate) fn of<'v>(credentials: impl Iterator<Item = &'v HeaderValue>) -> Self {
        let texts = credentials.filter_map(|value| value.to_str().ok()).map(|text| text.strip_prefix("Bearer ").unwrap_or(text));
        let long = texts.filter(|text| text.len() >= BYTES_MIN);
        Self(long.map(|text| (Finder::new(text).into_owned(), text.to_owned())).collect())
    }

    pub(crate) fn apply<'t>(&self, text: Cow<'t, str>) -> Cow<'t, str> {
        self.0.iter().fold(text, |text, (finder, secret)| match finder.find(text.as_bytes()) {
            Some(_) => text.replace(secret, "***").into(),
            None => text,
        })
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Mask").field(&self.0.len()).finish()
    }
}
