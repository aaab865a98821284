//! Where an account's paths are.

use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use wire::Dialect;

use crate::catalog::{Provider, Rebase, Shape};

/// What stands as it is in a segment of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The one member of a body that stands in a path.
#[derive(Deserialize)]
struct Named {
    model: String,
}

/// The base URL of every wire, and what the paths below it look like.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Address {
    base: String,
    rebased: Vec<(Dialect, String)>,
    under: &'static str,
    /// Chat, completions and embeddings stand below a deployment that is named after the model.
    deployments: bool,
    /// `api-version=…`.
    query: Option<String>,
}

impl Address {
    /// The address of an account with this base URL.
    pub(crate) fn new(row: &Provider, base_url: &str, api_version: Option<&str>) -> Self {
        let rebase = |rule: &Rebase| Some((rule.wire, format!("{}{}", base_url.strip_suffix(rule.from)?, rule.to)));
        let is_versioned = |base: &str| base.split('/').any(|segment| segment == "v1");
        let (under, deployments) = match row.shape {
            Shape::Plain => ("", false),
            Shape::Under(path) => (path, false),
            Shape::Deployments => ("", !is_versioned(base_url)),
        };
        Self {
            base: base_url.to_owned(),
            rebased: row.rebased.iter().filter_map(rebase).collect(),
            under,
            deployments,
            query: api_version.filter(|_| row.shape == Shape::Deployments).map(|version| format!("api-version={version}")),
        }
    }

    /// The address of a path on a wire; `body` names the model where the path needs it. `None` where it is no address.
    pub(crate) fn uri(&self, wire: Dialect, path: &str, body: &[u8]) -> Option<Uri> {
        let base = self.rebased.iter().find(|(own, _)| *own == wire).map_or(&self.base, |(_, base)| base);
        let query_bytes = self.query.as_ref().map_or(0, |query| 1 + query.len());
        let mut text = String::with_capacity(base.len() + self.under.len() + path.len() + query_bytes);
        text.push_str(base);
        text.push_str(self.under);
        // An operator may have written the deployment into the base.
        if self.deployments && wire == Dialect::Chat && !base.contains("/deployments/") {
            let Named { model } = serde_json::from_slice(body).ok()?;
            text = format!("{text}/deployments/{}", utf8_percent_encode(model.trim(), SEGMENT));
        }
        text.push_str(path);
        if let Some(query) = &self.query {
            text.push(if path.contains('?') { '&' } else { '?' });
            text.push_str(query);
        }
        Uri::try_from(text).ok()
    }
}
