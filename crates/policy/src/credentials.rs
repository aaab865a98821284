//! Where clients put their key.

use http::{HeaderMap, HeaderName, header::AUTHORIZATION};

/// Headers that carry a key as it is, besides `Authorization: Bearer`.
static BARE: [HeaderName; 5] = [
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
    HeaderName::from_static("x-litellm-api-key"),
    HeaderName::from_static("x-admin-api-key"),
];

/// Most credentials of one request that are looked at.
const CREDENTIALS_MAX: usize = 8;

/// The credentials that a request shows, in the order in which they are tried.
#[derive(Debug, Default)]
pub struct Credentials<'a>(Vec<&'a str>);

impl<'a> Credentials<'a> {
    /// Gathers them. `custom` is the operator's own header, raw or with `Bearer`; `query_key` is `?key=`, which only Gemini's paths take.
    pub fn of(headers: &'a HeaderMap, custom: Option<&HeaderName>, query_key: Option<&'a str>) -> Self {
        let mut found = Vec::new();
        let mut take = |text: &'a str| {
            let text = text.trim();
            if !text.is_empty() && found.len() < CREDENTIALS_MAX {
                found.push(text);
            }
        };
        let bearer = |value: &'a http::HeaderValue| {
            let text = value.to_str().ok()?;
            let (scheme, rest) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(rest)
        };
        if let Some(name) = custom.filter(|n| **n != AUTHORIZATION) {
            for value in headers.get_all(name) {
                if let Some(text) = bearer(value).or_else(|| value.to_str().ok()) {
                    take(text);
                }
            }
        }
        headers.get_all(AUTHORIZATION).iter().filter_map(bearer).for_each(&mut take);
        for name in &BARE {
            headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).for_each(&mut take);
        }
        if let Some(text) = query_key {
            take(text);
        }
        Self(found)
    }

    /// Whether the request shows none at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each in turn.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (HeaderName::from_static(n), v.parse().unwrap())).collect()
    }

    #[test]
    fn every_place_of_a_key_is_read() {
        for name in &BARE {
            let shown = HeaderMap::from_iter([(name.clone(), "sk_1".parse().unwrap())]);
            assert_eq!(Credentials::of(&shown, None, None).iter().collect::<Vec<_>>(), ["sk_1"]);
        }
        let all = headers(&[("authorization", "bearer  sk_1 "), ("x-own", "Bearer sk_2"), ("x-api-key", "")]);
        let own = HeaderName::from_static("x-own");
        assert_eq!(Credentials::of(&all, Some(&own), Some("sk_3")).iter().collect::<Vec<_>>(), ["sk_2", "sk_1", "sk_3"]);
        assert!(Credentials::of(&headers(&[("authorization", "Basic abc")]), None, None).is_empty());
    }
}
