//! The configuration: shown with origins, changed, kept in versions, read again on demand.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Json,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use config::edit::{self, Document};
use http::{HeaderMap, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{
    audit,
    config_versions::{self, VERSIONS_MAX, Version},
};
use utoipa::ToSchema;
use wire::{Code, Failure};

use super::{Admin, Answer, read};
use crate::app::{App, Configured, Terms, Wanted};

/// Versions of a page where nothing is said.
const PAGE_VERSIONS: u32 = 20;

/// Longest comment of a version.
const COMMENT_CHARS_MAX: usize = 500;

/// Largest text that a list of versions has beside each.
const LISTED_TEXT_BYTES_MAX: usize = 64 << 10;

/// `GET /api/config`: what `config show --json` prints, with the text of the file; secrets are masked.
#[utoipa::path(
    get,
    path = "/api/config",
    tag = "configuration",
    summary = "Every setting with its origin, and the file that is in force; secrets masked",
    responses((status = 200, description = "The settings; `ETag` names the text in force", body = serde_json::Value)),
    security(("bearer" = ["admin"]))
)]
pub async fn show(State(app): State<Arc<App>>, _: Admin) -> Response {
    let mut shown = config::show_json(&app.loaded());
    let (version, text) = app.config_in_force();
    shown["version"] = version.into();
    shown["text"] = masked(&text).into();
    ([(header::ETAG, format!("\"{}\"", app.config_tag()))], Json(shown)).into_response()
}

/// A text with its secrets masked; `None` where nobody can tell where they stand.
fn masked(text: &str) -> Option<String> {
    document(text)?.masked()
}

fn document(text: &str) -> Option<Document> {
    Document::new(text, std::path::Path::new("router.yaml")).ok()
}

/// The query of `PUT /api/config`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct How {
    dry_run: Option<String>,
    comment: Option<String>,
    base: Option<i64>,
}

/// A body that says more than the configuration.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Change {
    text: Option<String>,
    config: Option<Value>,
    revert_to: Option<i64>,
    dry_run: bool,
    comment: Option<String>,
    base: Option<i64>,
}

impl Change {
    /// Reads a body: YAML as it is, or JSON, which is this object or the configuration itself.
    fn read(headers: &HeaderMap, body: &Bytes) -> Result<(Wanted, Self), Failure> {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
        if kind.contains("yaml") || kind.starts_with("text/") {
            let text = std::str::from_utf8(body).map_err(|_| Failure::new(Code::InvalidRequest, "the configuration must be UTF-8"))?;
            return Ok((Wanted::Text(text.to_owned()), Self::default()));
        }
        let said: Value = wire::json::parse(body)?;
        if !said.is_object() {
            return Err(Failure::new(
                Code::InvalidRequest,
                "the body must be a configuration as an object, or have `text`, `config` or `revert_to`",
            ));
        }
        if !["text", "config", "revert_to"].iter().any(|name| said.get(*name).is_some()) {
            return Ok((Wanted::Json(said), Self::default()));
        }
        let mut change: Self = wire::json::parse(body)?;
        let wanted = match (change.text.take(), change.config.take(), change.revert_to) {
            (Some(text), None, None) => Wanted::Text(text),
            (None, Some(config), None) if config.is_object() => Wanted::Json(config),
            (None, None, Some(version)) => Wanted::Version(version),
            _ => return Err(Failure::new(Code::InvalidRequest, "a change has one of `text`, `config` (an object) and `revert_to`")),
        };
        Ok((wanted, change))
    }
}

/// What came of a change.
#[derive(Serialize, ToSchema)]
pub struct Changed {
    /// The number of what is in force now; null of a dry run.
    version: Option<i64>,
    dry_run: bool,
    warnings: Vec<String>,
    /// What is different: key, from, to; secrets masked.
    #[schema(value_type = Vec<Object>)]
    changes: Vec<edit::Change>,
}

/// `PUT /api/config`: the whole configuration file, as YAML or JSON.
#[utoipa::path(
    put,
    path = "/api/config",
    tag = "configuration",
    summary = "Replace the configuration file and put it in force, or go back to a version",
    params(
        ("dry_run" = Option<String>, Query, description = "Only judge it"),
        ("comment" = Option<String>, Query, description = "Why, for the list of versions"),
        ("base" = Option<i64>, Query, description = "The version that it was made from; another one in force is a conflict"),
        ("If-Match" = Option<String>, Header, description = "The same, with the `ETag` of `GET /api/config`")
    ),
    request_body(
        description = "The file as YAML (`application/yaml`), the configuration as JSON, or an object {text or config or revert_to, comment, base, dry_run}. A secret that is `***` stays as it is.",
        content((serde_json::Value = "application/json"), (String = "application/yaml"))
    ),
    responses(
        (status = 200, description = "In force; of a dry run: it could be", body = Changed),
        (status = 400, description = "It is not valid: `error.errors` has every problem with key and line"),
        (status = 404, description = "There is no such version"),
        (status = 409, description = "Another one is in force than it was made from"),
        (status = 422, description = "The file cannot be written, or the version not be read")
    ),
    security(("bearer" = ["admin"]))
)]
pub async fn change(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    Query(how): Query<How>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer<Response> {
    let (wanted, said) = Change::read(&headers, &body)?;
    let comment = said.comment.or(how.comment).filter(|comment| !comment.trim().is_empty());
    if comment.as_ref().is_some_and(|comment| comment.chars().count() > COMMENT_CHARS_MAX) {
        return Err(Failure::invalid("comment", format!("`comment` has at most {COMMENT_CHARS_MAX} characters")).into());
    }
    let tag = headers.get(header::IF_MATCH).and_then(|tag| tag.to_str().ok()).filter(|tag| *tag != "*");
    let is_dry_run = said.dry_run || how.dry_run.is_some_and(|word| !["false", "0"].contains(&word.as_str()));
    let terms = Terms {
        base: said.base.or(how.base),
        tag: tag.map(|tag| tag.trim().trim_matches('"').to_owned()),
        author: caller.key.map(|key| key.name.to_string()),
        comment: match &wanted {
            Wanted::Version(version) => Some(comment.unwrap_or_else(|| format!("back to version {version}"))),
            _ => comment,
        },
        is_dry_run,
    };
    if is_dry_run {
        audit::only_asks();
    }
    let Configured { version, warnings, changes } = app.configure(wanted, terms).await?;
    let tag = format!("\"{}\"", app.config_tag());
    Ok(([(header::ETAG, tag)], Json(Changed { version, dry_run: is_dry_run, warnings, changes })).into_response())
}

/// The query of `GET /api/config/versions`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Page {
    limit: Option<u32>,
    before: Option<i64>,
}

/// `GET /api/config/versions`.
#[utoipa::path(
    get,
    path = "/api/config/versions",
    tag = "configuration",
    summary = "What the configuration file was, newest first",
    params(
        ("limit" = Option<u32>, Query, description = "Up to 100; 20 where nothing is said"),
        ("before" = Option<i64>, Query, description = "Versions before this one")
    ),
    responses((status = 200, description = "A page: who, when, why, and what was changed", body = serde_json::Value)),
    security(("bearer" = ["admin"]))
)]
pub async fn versions(State(app): State<Arc<App>>, _: Admin, Query(page): Query<Page>) -> Answer<Json<Value>> {
    let limit = page.limit.unwrap_or(PAGE_VERSIONS).clamp(1, VERSIONS_MAX);
    let mut found = config_versions::list(&app.store, page.before, limit + 1).await?;
    let has_more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let in_force = app.config_in_force().0;
    let shown = |version: &Version| {
        let text = app.config_text(version).filter(|text| text.len() <= LISTED_TEXT_BYTES_MAX);
        shown(version, in_force, text.as_deref())
    };
    Ok(Json(json!({"versions": found.iter().map(shown).collect::<Vec<_>>(), "has_more": has_more})))
}

/// `GET /api/config/versions/{version}`.
#[utoipa::path(
    get,
    path = "/api/config/versions/{id}",
    tag = "configuration",
    summary = "One version with its text, and what going back to it would change",
    params(("id" = String, Path, description = "Its number")),
    responses((status = 200, description = "The version; secrets masked", body = serde_json::Value)),
    security(("bearer" = ["admin"]))
)]
pub async fn version(State(app): State<Arc<App>>, _: Admin, Path(number): Path<String>) -> Answer<Json<Value>> {
    let found = match number.parse() {
        Ok(number) => config_versions::get(&app.store, number).await?,
        Err(_) => None,
    };
    let found = found.ok_or_else(|| Failure::new(Code::NotFound, format!("there is no version {number} of the configuration")))?;
    let (in_force, now) = app.config_in_force();
    let text = app.config_text(&found);
    let mut shown = shown(&found, in_force, text.as_deref());
    let both = document(&now).zip(text.as_deref().and_then(document));
    shown["changes_to_go_back"] = both.map(|(now, then)| json!(edit::changes(&now, &then))).into();
    Ok(Json(shown))
}

/// A version as it is shown; without its text where that cannot be opened.
fn shown(version: &Version, in_force: Option<i64>, text: Option<&str>) -> Value {
    json!({
        "version": version.version,
        "created_at": Timestamp::from_millisecond(version.at_ms).map(|at| at.to_string()).ok(),
        "origin": version.origin,
        "author": version.author,
        "comment": version.comment,
        "in_force": in_force == Some(version.version),
        "changes": version.changes,
        "text": text.and_then(masked),
    })
}

/// What `POST /config/reload` may say.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct Reload {
    /// Ask the object store too, where one is followed.
    force_sync: bool,
}

/// The configuration is in force.
#[derive(Serialize, ToSchema)]
pub struct Reloaded {
    /// `success`.
    status: &'static str,
    message: &'static str,
    /// Whether it came from an object store.
    synced_from_remote: bool,
    warnings: Vec<String>,
}

/// `POST /config/reload`: file and environment are read again; what is not valid changes nothing.
#[utoipa::path(
    post,
    path = "/config/reload",
    tag = "configuration",
    summary = "Read file and environment again; what is not valid changes nothing",
    request_body = Reload,
    responses((status = 200, description = "In force", body = Reloaded), (status = 400, description = "It is not valid")),
    security(("bearer" = ["admin"]))
)]
pub async fn reload(State(app): State<Arc<App>>, _: Admin, body: Bytes) -> Answer<Json<Reloaded>> {
    let Reload { force_sync: _ } = read(&body)?;
    let warnings = app.reload().await.map_err(|error| Failure::new(Code::InvalidRequest, error.to_string()))?;
    // No object store is followed.
    Ok(Json(Reloaded { status: "success", message: "Config reloaded", synced_from_remote: false, warnings }))
}

/// The strategies were read again.
#[derive(Serialize, ToSchema)]
pub struct StrategiesReloaded {
    /// `success`.
    status: &'static str,
    /// Strategies that routes name.
    reloaded: Vec<String>,
    #[schema(value_type = Vec<Object>)]
    errors: Vec<Value>,
}

/// `POST /router/reload`: the same, told by strategies.
#[utoipa::path(
    post,
    path = "/router/reload",
    tag = "configuration",
    summary = "Read the routes again, and everything else",
    responses((status = 200, description = "In force", body = StrategiesReloaded), (status = 400, description = "It is not valid")),
    security(("bearer" = ["admin"]))
)]
pub async fn reload_strategies(State(app): State<Arc<App>>, _: Admin) -> Answer<Json<StrategiesReloaded>> {
    app.reload().await.map_err(|error| Failure::new(Code::InvalidRequest, error.to_string()))?;
    let house = app.house();
    let named: BTreeSet<&String> = house.config.routes.values().map(|route| &route.strategy).collect();
    Ok(Json(StrategiesReloaded { status: "success", reloaded: named.into_iter().cloned().collect(), errors: Vec::new() }))
}
