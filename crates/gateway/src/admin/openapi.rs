//! The description of all paths, and two pages that show it. Their assets are our own: nothing is loaded from elsewhere.
//!
//! The control plane's paths are described where they are answered; those of inference, whose shapes are other people's, by hand in
//! `inference.json`, which also says which paths are other names of others.

use std::sync::OnceLock;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, header};
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use super::{
    audit, blob, cache, choices, credentials, dashboard, explain, feedback, history, keys, ledger, loading, models, nodes, oidc, operate,
    probes, registry, session, settings, usage, users,
};
use crate::ui;

const INFERENCE: &str = include_str!("openapi/inference.json");
const PAGE: &str = include_str!("openapi/viewer.html");
const SCRIPT: &str = include_str!("openapi/viewer.js");
const STYLE: &str = include_str!("openapi/viewer.css");

/// The pages run no script and load nothing but what is served here. Browsers hold them to it.
const PAGE_POLICY: &str =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'";

#[derive(OpenApi)]
#[openapi(
    info(title = "LLM Router", description = "One gateway for every language model."),
    tags(
        (name = "inference", description = "Models, in the dialects of their clients"),
        (name = "models", description = "Which models there are"),
        (name = "probes", description = "Health and metrics"),
        (name = "operating", description = "How the router chooses and how its services do"),
        (name = "dashboard", description = "What the first pages of the dashboard show"),
        (name = "requests", description = "Records of requests"),
        (name = "keys", description = "API keys and their use"),
        (name = "users", description = "Users and their sessions"),
        (name = "audit", description = "Who changed what"),
        (name = "nodes", description = "Own nodes and agents"),
        (name = "configuration", description = "Settings"),
        (name = "documentation", description = "These pages")
    ),
    paths(
        audit::export,
        audit::list,
        cache::flush,
        blob::blob,
        blob::manifest,
        choices::info,
        choices::live_metrics,
        choices::policy,
        choices::route,
        choices::sync_status,
        credentials::metrics,
        credentials::reload,
        credentials::reset_metrics,
        credentials::status,
        dashboard::log,
        dashboard::nodes,
        dashboard::overview,
        dashboard::request_history,
        dashboard::stats,
        explain::explain,
        feedback::give,
        history::export::export,
        history::list,
        history::live::stream,
        history::one,
        keys::change,
        keys::create,
        keys::list,
        keys::revoke,
        keys::rotate,
        ledger::list,
        ledger::recompute,
        ledger::verify,
        loading::load,
        loading::unload,
        models::list,
        models::one,
        nodes::adopt,
        nodes::agent_heartbeat,
        nodes::approve,
        nodes::disconnect,
        nodes::drain,
        nodes::heartbeat,
        nodes::history,
        nodes::join_tokens,
        nodes::list,
        nodes::logs,
        nodes::make_join_token,
        nodes::metrics,
        nodes::register,
        nodes::register_agent,
        nodes::remove,
        nodes::revoke_join_token,
        nodes::settings,
        nodes::summary,
        oidc::callback,
        oidc::login,
        operate::backend,
        operate::health,
        operate::rate_limits,
        operate::reset_stats,
        operate::stats,
        probes::about,
        probes::cloud_metrics,
        probes::health,
        probes::live,
        probes::metrics,
        probes::ready,
        registry::available,
        registry::conversion,
        registry::conversions,
        registry::convert,
        registry::discover,
        registry::forget_conversion,
        registry::register,
        registry::registered,
        registry::remove,
        session::login,
        session::logout,
        session::me,
        settings::change,
        settings::reload,
        settings::reload_strategies,
        settings::show,
        settings::version,
        settings::versions,
        usage::list,
        users::change,
        users::create,
        users::list,
        users::remove,
        document,
        page,
        script,
        style,
        ui::dashboard,
        ui::dashboard_file,
        ui::playground,
        ui::playground_place,
    )
)]
struct Control;

/// The whole description.
pub fn description() -> Value {
    let mut whole = serde_json::to_value(Control::openapi()).unwrap_or_default();
    let by_hand: Value = serde_json::from_str(INFERENCE).unwrap_or_default();
    whole["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    for part in ["schemas", "parameters", "securitySchemes"] {
        add(&mut whole["components"][part], &by_hand["components"][part]);
    }
    let Value::Object(mut paths) = whole["paths"].take() else { return whole };
    paths.extend(by_hand["paths"].as_object().cloned().unwrap_or_default());
    for (alias, of) in by_hand["aliases"].as_object().into_iter().flatten() {
        if let Some(same) = of.as_str().and_then(|of| paths.get(of)).cloned() {
            paths.insert(alias.clone(), same);
        }
    }
    for (path, operations) in &mut paths {
        for (verb, operation) in operations.as_object_mut().into_iter().flatten() {
            complete(path, verb, operation);
        }
    }
    paths.sort_keys();
    whole["paths"] = Value::Object(paths);
    whole
}

/// What all operations have in common: a name of their own, the form of errors, and that a key may come in either header.
fn complete(path: &str, verb: &str, operation: &mut Value) {
    let slug = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = format!("{verb}{path}").chars().map(slug).collect();
    operation["operationId"] = name.trim_end_matches('_').into();
    let form = json!({"$ref": format!("#/components/schemas/{}", error_form(path))});
    let error = json!({"description": "An error", "content": {"application/json": {"schema": form}}});
    add(&mut operation["responses"], &json!({"default": error}));
    let Some(proofs) = operation["security"].as_array_mut() else { return };
    let twins: Vec<Value> = proofs.iter().filter_map(|proof| Some(json!({"api_key": proof.get("bearer")?}))).collect();
    proofs.extend(twins);
    // An empty proof beside none would say that a key may be shown; on public paths nobody looks for one.
    proofs.retain(|proof| proof.as_object().is_some_and(|proof| !proof.is_empty()));
}

/// In whose form a path says errors.
fn error_form(path: &str) -> &'static str {
    let path = path.trim_end_matches("/count_tokens");
    if path.contains("/v1beta/") || path.contains("{model}:") {
        "GeminiError"
    } else if path.starts_with("/anthropic/") || path.ends_with("/messages") {
        "MessagesError"
    } else {
        "Error"
    }
}

/// Adds members that are not there yet.
fn add(to: &mut Value, from: &Value) {
    if to.is_null() {
        *to = Value::Object(Map::new());
    }
    let (Some(to), Some(from)) = (to.as_object_mut(), from.as_object()) else { return };
    for (name, value) in from {
        to.entry(name.as_str()).or_insert_with(|| value.clone());
    }
}

/// The description of all paths.
#[utoipa::path(get, path = "/openapi.json", tag = "documentation",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)), security(()))]
pub async fn document() -> Response {
    static TEXT: OnceLock<Bytes> = OnceLock::new();
    let text = TEXT.get_or_init(|| description().to_string().into());
    ([(header::CONTENT_TYPE, "application/json"), (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")], text.clone()).into_response()
}

/// A page for people that shows the description and can try paths out; as `/redoc` for reading only.
#[utoipa::path(get, path = "/docs", tag = "documentation",
    responses((status = 200, description = "HTML", body = String, content_type = "text/html")), security(()))]
pub async fn page() -> Response {
    let mut response = asset("text/html; charset=utf-8", PAGE);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
    response
}

/// The script of the page.
#[utoipa::path(get, path = "/docs/viewer.js", tag = "documentation",
    responses((status = 200, description = "JavaScript", body = String, content_type = "text/javascript")), security(()))]
pub async fn script() -> Response {
    asset("text/javascript; charset=utf-8", SCRIPT)
}

/// The style of the page.
#[utoipa::path(get, path = "/docs/viewer.css", tag = "documentation",
    responses((status = 200, description = "CSS", body = String, content_type = "text/css")), security(()))]
pub async fn style() -> Response {
    asset("text/css; charset=utf-8", STYLE)
}

fn asset(content_type: &'static str, text: &'static str) -> Response {
    let headers = [(header::CONTENT_TYPE, content_type), (header::X_CONTENT_TYPE_OPTIONS, "nosniff"), (header::CACHE_CONTROL, "no-cache")];
    (headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use super::*;

    /// Every method and path of the list in the source, as the description has them.
    fn routes() -> BTreeSet<(String, String)> {
        let source = include_str!("../routes.rs");
        let mut found = BTreeSet::new();
        for route in source.split(".route(\"").skip(1) {
            let (path, rest) = route.split_once('"').unwrap();
            let handlers = rest.split_once(")\n").map_or(rest, |(line, _)| line);
            for verb in ["get", "post", "put", "delete", "patch"] {
                if handlers.contains(&format!(" {verb}(")) || handlers.contains(&format!(".{verb}(")) {
                    found.insert((verb.to_owned(), path.replace("{*", "{")));
                }
            }
        }
        let lists = source.split_once("const MODEL_LISTS").unwrap().1.split_once("];").unwrap().0;
        for literal in lists.split('"').skip(1).step_by(2) {
            found.extend([("get".to_owned(), literal.to_owned()), ("get".to_owned(), format!("{literal}/{{id}}"))]);
        }
        // The paths that lead down the hall, each also without its version.
        let hall = source.split_once("fn inference(").unwrap().1.split_once("\n}\n").unwrap().0;
        for literal in hall.split('"').skip(1).step_by(2).filter(|text| text.starts_with('/') && *text != "/" && *text != "/v1") {
            let has_version = literal.contains("/v1/");
            found.insert(("post".to_owned(), literal.to_owned()));
            if !has_version {
                found.insert(("post".to_owned(), format!("/v1{literal}")));
            }
        }
        let media = source.split_once("const MEDIA").unwrap().1.split_once("];").unwrap().0;
        for literal in media.split('"').skip(1).step_by(2) {
            found.extend([("post".to_owned(), literal.to_owned()), ("post".to_owned(), format!("/v1{literal}"))]);
        }
        found.insert(("post".to_owned(), "/v2/rerank".to_owned()));
        found
    }

    fn operations(whole: &Value) -> impl Iterator<Item = (&String, &String, &Value)> {
        let paths = whole["paths"].as_object().unwrap();
        paths.iter().flat_map(|(path, verbs)| verbs.as_object().unwrap().iter().map(move |(verb, operation)| (path, verb, operation)))
    }

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let whole = description();
        let described: BTreeSet<_> = operations(&whole).map(|(path, verb, _)| (verb.clone(), path.clone())).collect();
        let routes = routes();
        let missing: Vec<_> = routes.difference(&described).collect();
        assert!(missing.is_empty(), "not described: {missing:?}");
        // Paths with a model in them and the one for all others are no entries of the list.
        let by_pattern = |path: &str| path.contains("{model}") || path == "/v1/{path}";
        let invented: Vec<_> = described.difference(&routes).filter(|(_, path)| !by_pattern(path)).collect();
        assert!(invented.is_empty(), "described, but not there: {invented:?}");
    }

    #[test]
    fn the_description_is_whole() {
        let whole = description();
        assert!(whole["openapi"].as_str().unwrap().starts_with("3.1"), "{}", whole["openapi"]);
        let mut names = HashSet::new();
        for (path, verb, operation) in operations(&whole) {
            assert!(names.insert(operation["operationId"].clone()), "{verb} {path}: {}", operation["operationId"]);
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{verb} {path} has no summary");
            assert!(operation["responses"]["default"].is_object() && operation["security"].is_array(), "{verb} {path}");
            let named = path.split('{').skip(1).map(|part| part.split('}').next().unwrap());
            for name in named {
                let is_there = operation["parameters"].as_array().unwrap().iter().any(|p| p["name"] == name && p["in"] == "path");
                assert!(is_there, "{verb} {path}: `{name}` is no parameter");
            }
        }
        // Every reference leads somewhere.
        let text = whole.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1).map(|part| part.split('"').next().unwrap()) {
            assert!(whole.pointer(reference).is_some(), "{reference} leads nowhere");
        }
        for schema in text.split("\"security\":[{\"").skip(1).map(|part| part.split('"').next().unwrap()) {
            assert!(whole["components"]["securitySchemes"][schema].is_object(), "{schema}");
        }
    }

    /// Of two types with one name the description would have only one.
    #[test]
    fn every_schema_has_a_name_of_its_own() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin");
        let mut names = HashSet::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            for derived in text.split("ToSchema)]\n").skip(1) {
                let attribute = derived.trim_start().strip_prefix("#[schema(as = ");
                let named = attribute.and_then(|rest| rest.split(')').next());
                let name = named
                    .or_else(|| {
                        derived
                            .split_once("pub struct ")
                            .or_else(|| derived.split_once("pub enum "))
                            .map(|(_, rest)| rest.split([' ', '<', '(']).next().unwrap())
                    })
                    .unwrap();
                assert!(names.insert(name.to_owned()), "{name} of {} is taken: give it `#[schema(as = …)]`", path.display());
            }
        }
        assert!(names.len() > 10, "{names:?}");
    }

    #[test]
    fn the_pages_load_nothing_from_elsewhere() {
        for text in [PAGE, SCRIPT, STYLE] {
            assert!(!text.contains("http://") && !text.contains("https://") && !text.contains("=\"//"), "{text}");
        }
    }
}
