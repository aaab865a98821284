//! Who may call what: every path of the control plane with every kind of caller. A path that is missing here fails.

use std::collections::BTreeSet;

use http::Method;
use serde_json::json;

use crate::router::{KEY, MASTER, Router, Setup};

/// Who is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Public,
    /// Any valid key that may infer or read.
    Key,
    /// Any valid key at all.
    Any,
    Read,
    Ops,
    Admin,
    /// Only a node with its token.
    Node,
    /// A node with its token, or an administrator.
    NodeOrAdmin,
    /// A join token; no key stands for it.
    Join,
    /// A join token, or any valid key.
    JoinOrKey,
    /// A key that may read, or the one that is asked about; of anybody else's it is told nothing.
    ReadOrOwn,
    /// Only the token of a log-in.
    Session,
}

const TABLE: &[(&str, &str, Class)] = &[
    ("GET", "/", Class::Public),
    ("GET", "/health", Class::Public),
    ("GET", "/health/liveliness", Class::Public),
    ("GET", "/health/readiness", Class::Public),
    ("GET", "/_health/live", Class::Public),
    ("GET", "/_health/ready", Class::Public),
    ("GET", "/metrics", Class::Public),
    ("GET", "/metrics/cloud", Class::Public),
    ("GET", "/v1/models", Class::Key),
    ("GET", "/models", Class::Key),
    ("GET", "/v1/models/{*id}", Class::Key),
    ("GET", "/models/{*id}", Class::Key),
    ("GET", "/anthropic/v1/models", Class::Key),
    ("GET", "/anthropic/v1/models/{*id}", Class::Key),
    ("GET", "/v1beta/models", Class::Key),
    ("GET", "/v1beta/models/{*id}", Class::Key),
    ("GET", "/gemini/v1beta/models", Class::Key),
    ("GET", "/gemini/v1beta/models/{*id}", Class::Key),
    ("POST", "/register", Class::JoinOrKey),
    ("POST", "/heartbeat", Class::JoinOrKey),
    ("GET", "/api/nodes", Class::Read),
    ("POST", "/api/nodes", Class::Join),
    ("POST", "/api/health", Class::Node),
    ("GET", "/api/nodes/metrics", Class::Read),
    ("GET", "/api/metrics/summary", Class::Read),
    ("DELETE", "/api/nodes/{id}", Class::Admin),
    ("PUT", "/api/nodes/{id}/settings", Class::Admin),
    ("POST", "/api/nodes/{id}/disconnect", Class::Admin),
    ("POST", "/api/nodes/{id}/drain", Class::Admin),
    ("GET", "/api/nodes/{id}/logs", Class::Read),
    ("POST", "/api/nodes/{id}/approve", Class::Admin),
    ("POST", "/api/nodes/adopt", Class::Admin),
    ("GET", "/api/nodes/join-tokens", Class::Admin),
    ("POST", "/api/nodes/join-tokens", Class::Admin),
    ("DELETE", "/api/nodes/join-tokens/{id}", Class::Admin),
    ("GET", "/api/dashboard/overview", Class::Read),
    ("GET", "/api/dashboard/nodes", Class::Read),
    ("GET", "/api/dashboard/stats", Class::Read),
    ("GET", "/api/dashboard/request-history", Class::Read),
    ("GET", "/api/dashboard/metrics/{node_id}", Class::Read),
    ("GET", "/api/dashboard/request-responses", Class::Read),
    ("GET", "/api/dashboard/request-responses/export", Class::Read),
    ("GET", "/api/dashboard/request-responses/stream", Class::Read),
    ("GET", "/api/dashboard/request-responses/{id}", Class::Read),
    ("GET", "/api/dashboard/logs/router", Class::Read),
    ("GET", "/api/models/available", Class::Read),
    ("POST", "/api/models/discover-gguf", Class::Read),
    ("POST", "/api/models/register", Class::Admin),
    ("POST", "/api/models/load", Class::Admin),
    ("POST", "/api/models/unload", Class::Admin),
    ("GET", "/api/models/registered", Class::Read),
    ("GET", "/api/models/convert", Class::Read),
    ("POST", "/api/models/convert", Class::Admin),
    ("GET", "/api/models/convert/{id}", Class::Read),
    ("DELETE", "/api/models/convert/{id}", Class::Admin),
    ("GET", "/api/models/blob/{id}", Class::NodeOrAdmin),
    ("GET", "/api/models/blob/{id}/manifest", Class::NodeOrAdmin),
    ("DELETE", "/api/models/{*id}", Class::Admin),
    ("POST", "/api/auth/login", Class::Public),
    ("GET", "/api/auth/me", Class::Session),
    ("GET", "/api/auth/oidc/login", Class::Public),
    ("GET", "/api/auth/oidc/callback", Class::Public),
    ("GET", "/api/users", Class::Admin),
    ("POST", "/api/users", Class::Admin),
    // Everybody may choose another password for themselves; of others only an administrator changes anything.
    ("PUT", "/api/users/{id}", Class::Admin),
    ("DELETE", "/api/users/{id}", Class::Admin),
    ("GET", "/api/api-keys", Class::Admin),
    ("POST", "/api/api-keys", Class::Admin),
    ("PUT", "/api/api-keys/{id}", Class::Admin),
    ("DELETE", "/api/api-keys/{id}", Class::Admin),
    ("POST", "/api/api-keys/{id}/rotate", Class::Admin),
    ("GET", "/api/config", Class::Admin),
    ("PUT", "/api/config", Class::Admin),
    ("GET", "/api/config/versions", Class::Admin),
    ("GET", "/api/config/versions/{id}", Class::Admin),
    ("POST", "/config/reload", Class::Admin),
    ("POST", "/router/reload", Class::Admin),
    ("GET", "/config/sync/status", Class::Any),
    ("GET", "/router/info", Class::Any),
    ("POST", "/router/route", Class::Any),
    ("GET", "/router/stats", Class::Any),
    ("POST", "/router/reset-stats", Class::Ops),
    ("GET", "/router/health", Class::Any),
    ("GET", "/router/rate-limits", Class::Any),
    ("GET", "/backend/info", Class::Any),
    ("GET", "/v1/router/policy", Class::Any),
    ("GET", "/v1/router/live-metrics", Class::Any),
    ("GET", "/auth/status", Class::Any),
    ("GET", "/auth/metrics", Class::Any),
    ("POST", "/auth/reset-metrics", Class::Ops),
    ("POST", "/auth/reload-keys", Class::Ops),
    ("GET", "/api/audit", Class::Admin),
    ("GET", "/api/audit/export", Class::Admin),
    ("POST", "/api/cache/flush", Class::Admin),
    // About others' requests it says nothing: they are not there for it.
    ("POST", "/api/feedback", Class::Any),
    // A key that may not read sees its own use.
    ("GET", "/api/usage", Class::Any),
    ("GET", "/api/ledger", Class::Any),
    ("GET", "/api/ledger/verify", Class::Read),
    ("POST", "/api/ledger/recompute", Class::Admin),
    ("GET", "/api/requests/{id}/explain", Class::ReadOrOwn),
    ("GET", "/openapi.json", Class::Public),
    ("GET", "/docs", Class::Public),
    ("GET", "/redoc", Class::Public),
    ("GET", "/docs/viewer.js", Class::Public),
    ("GET", "/docs/viewer.css", Class::Public),
    ("GET", "/dashboard", Class::Public),
    ("GET", "/dashboard/{*path}", Class::Public),
    ("GET", "/playground", Class::Public),
    ("GET", "/playground/{*path}", Class::Public),
    // The last: it ends the session that asks.
    ("POST", "/api/auth/logout", Class::Public),
];

/// Every method and path of the list in the source.
pub(crate) fn routes() -> BTreeSet<(String, String)> {
    let source = include_str!("../../src/routes.rs");
    let mut found = BTreeSet::new();
    for route in source.split(".route(\"").skip(1) {
        let (path, rest) = route.split_once('"').unwrap();
        let handlers = rest.split_once(")\n").map_or(rest, |(line, _)| line);
        let verbs = ["get", "post", "put", "delete", "patch"];
        for verb in verbs.into_iter().filter(|v| handlers.contains(&format!(" {v}(")) || handlers.contains(&format!(".{v}("))) {
            found.insert((verb.to_uppercase(), path.to_owned()));
        }
    }
    let lists = source.split_once("const MODEL_LISTS").unwrap().1.split_once("];").unwrap().0;
    for list in lists.split('"').skip(1).step_by(2) {
        found.extend([("GET".to_owned(), list.to_owned()), ("GET".to_owned(), format!("{list}/{{*id}}"))]);
    }
    found
}

#[test]
fn the_table_has_every_route() {
    let known: BTreeSet<_> = TABLE.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(known.len(), TABLE.len(), "a line is there twice");
    assert_eq!(known, routes());
}

struct Callers {
    inference: String,
    read: String,
    files: String,
    ops: String,
    admin: String,
    session: String,
}

impl Callers {
    async fn of(router: &Router) -> Self {
        let key = async |scope: &str| router.new_key(json!({"scopes": [scope]})).await.1;
        let login = json!({"username": "admin", "password": "the-password"});
        let session = router.post("/api/auth/login", &login).nobody().send().await.json()["token"].as_str().unwrap().to_owned();
        Self {
            inference: key("inference").await,
            read: key("read").await,
            files: key("files").await,
            ops: key("ops").await,
            admin: key("admin").await,
            session,
        }
    }

    /// Each caller's name and key, and the refusal that a class has for it.
    fn expected(&self, class: Class) -> Vec<(&'static str, Option<&str>, Option<u16>)> {
        use Class::{Admin, Any, Join, JoinOrKey, Key, Node, NodeOrAdmin, Ops, Public, Read, ReadOrOwn, Session};
        const MAY: Option<u16> = None;
        const NOT: Option<u16> = Some(403);
        const WHO: Option<u16> = Some(401);
        // (nobody, a wrong key, inference, read, files, ops, admin, master, session)
        let refusals = match class {
            Public => [MAY; 9],
            Key => [WHO, WHO, MAY, MAY, NOT, NOT, MAY, MAY, MAY],
            Any | JoinOrKey => [WHO, WHO, MAY, MAY, MAY, MAY, MAY, MAY, MAY],
            Read | ReadOrOwn => [WHO, WHO, NOT, MAY, NOT, NOT, MAY, MAY, MAY],
            Ops => [WHO, WHO, NOT, NOT, NOT, MAY, MAY, MAY, MAY],
            Admin | NodeOrAdmin => [WHO, WHO, NOT, NOT, NOT, NOT, MAY, MAY, MAY],
            Node | Join => [WHO; 9],
            Session => [WHO, WHO, WHO, WHO, WHO, WHO, WHO, WHO, MAY],
        };
        let callers = [
            ("nobody", None),
            ("a wrong key", Some("sk_wrong")),
            ("inference", Some(self.inference.as_str())),
            ("read", Some(&self.read)),
            ("files", Some(&self.files)),
            ("ops", Some(&self.ops)),
            ("admin", Some(&self.admin)),
            ("master", Some(MASTER)),
            ("session", Some(&self.session)),
        ];
        callers.into_iter().zip(refusals).map(|((name, key), refusal)| (name, key, refusal)).collect()
    }
}

#[tokio::test]
async fn every_path_lets_in_whom_it_should() {
    let setup = Setup::new().env("LLM_ROUTER_ADMIN_PASSWORD", "the-password").env("LLM_ROUTER_JOIN_TOKEN", "the-join-token");
    let router = setup.env("HF_BASE_URL", &format!("http://{}", crate::router::closed_port())).start();
    let callers = Callers::of(&router).await;
    for (method, path, class) in TABLE {
        let body = match *path {
            "/register" => json!({"name": "agent", "endpoint": "http://127.0.0.1:1"}),
            "/heartbeat" => json!({"name": "nobody"}),
            "/api/nodes" => json!({"machine_name": "m", "ip_address": "127.0.0.1", "runtime_port": 1, "accelerator": "cpu"}),
            "/api/health" => json!({"node_id": "nobody"}),
            _ => json!({}),
        };
        let path = path.replace("{id}", "nobody").replace("{node_id}", "nobody").replace("{*id}", "nobody").replace("{*path}", "nobody");
        for (who, key, refusal) in callers.expected(*class) {
            let ask = router.ask(method.parse::<Method>().unwrap(), &path).json(&body);
            let ask = key.map_or_else(|| router.ask(method.parse().unwrap(), &path).json(&body).nobody(), |key| ask.key(key));
            if path.ends_with("/stream") && refusal.is_none() {
                assert_eq!(ask.open().await.status, 200, "{method} {path} by {who}: it has no end");
                continue;
            }
            let answer = ask.send().await;
            let refused = [401, 403].contains(&answer.status).then_some(answer.status);
            // A log-in without a name and password is refused for its body, not for its caller.
            assert_eq!(refused, refusal, "{method} {path} by {who}: {} {}", answer.status, answer.text());
            assert_ne!(answer.status, 500, "{method} {path} by {who}: {}", answer.text());
            assert_ne!(answer.status, 405, "{method} {path} by {who}: {}", answer.text());
        }
    }
}

/// What the description says that a class must show.
fn proofs(class: Class) -> serde_json::Value {
    let key = |role: &str| {
        let roles: Vec<&str> = Some(role).filter(|role| !role.is_empty()).into_iter().collect();
        json!([{"bearer": roles}, {"api_key": roles}])
    };
    match class {
        Class::Public => json!([]),
        Class::Key | Class::Any | Class::ReadOrOwn => key(""),
        Class::Read => key("read"),
        Class::Ops => key("ops"),
        Class::Admin => key("admin"),
        Class::Session => key("session"),
        Class::Node => json!([{"node_token": []}]),
        Class::NodeOrAdmin => json!([{"node_token": []}, {"bearer": ["admin"]}, {"api_key": ["admin"]}]),
        Class::Join => json!([{"join_token": []}]),
        Class::JoinOrKey => json!([{"join_token": []}, {"bearer": []}, {"api_key": []}]),
    }
}

#[tokio::test]
async fn the_description_says_who_may_call() {
    let router = Setup::new().start();
    let whole = router.get("/openapi.json").nobody().send().await.json();
    for (method, path, class) in TABLE {
        let operation = &whole["paths"][path.replace("{*", "{")][method.to_lowercase()];
        assert_eq!(operation["security"], proofs(*class), "{method} {path}");
    }
}

#[tokio::test]
async fn inference_needs_its_scope() {
    let router = Setup::new().env("LLM_ROUTER_ADMIN_PASSWORD", "the-password").start();
    let callers = Callers::of(&router).await;
    let body = json!({"model": "dummy", "messages": [{"role": "user", "content": "x"}], "prompt": "x", "input": "x"});
    let media = ["/v1/images/generations", "/audio/speech", "/v1/moderations", "/v2/rerank", "/openai/deployments/dummy/chat/completions"];
    for path in ["/v1/chat/completions", "/completions", "/v1/embeddings"].into_iter().chain(media) {
        for (who, key, refusal) in [
            ("nobody", None, Some(401)),
            ("a wrong key", Some("sk_wrong"), Some(401)),
            ("read", Some(callers.read.as_str()), Some(403)),
            ("files", Some(&callers.files), Some(403)),
            ("inference", Some(&callers.inference), None),
            ("static", Some(KEY), None),
            ("admin", Some(&callers.admin), None),
            ("master", Some(MASTER), None),
        ] {
            let ask = router.post(path, &body);
            let answer = key.map_or_else(|| router.post(path, &body).nobody(), |key| ask.key(key)).send().await;
            let refused = [401, 403].contains(&answer.status).then_some(answer.status);
            assert_eq!(refused, refusal, "{path} by {who}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn open_management_opens_nodes_and_nothing_else() {
    let router = Setup::new().env("LLM_ROUTER_MANAGEMENT_AUTH", "open").start();
    for path in ["/api/nodes", "/api/nodes/metrics", "/api/metrics/summary"] {
        assert_eq!(router.get(path).nobody().send().await.status, 200, "{path}");
    }
    assert_eq!(router.ask(Method::DELETE, "/api/nodes/nobody").nobody().send().await.status, 404);
    for path in ["/api/api-keys", "/api/config", "/v1/models"] {
        assert_eq!(router.get(path).nobody().send().await.status, 401, "{path}");
    }
    assert_eq!(router.ask(Method::POST, "/config/reload").nobody().send().await.status, 401);
    assert_eq!(router.chat("dummy", json!({})).nobody().send().await.status, 401);
}

#[tokio::test]
async fn metrics_can_be_closed() {
    let router = Setup::new().env("METRICS_REQUIRE_AUTH", "true").start();
    for path in ["/metrics", "/metrics/cloud"] {
        assert_eq!(router.get(path).nobody().send().await.status, 401);
        assert_eq!(router.get(path).send().await.status, 200);
    }
}

#[tokio::test]
async fn where_nobody_can_administer_it_is_said() {
    let router = Setup::new().env("LLM_ROUTER_MASTER_KEY", "").env("LLM_ROUTER_AUTH_ADMIN", "none").start();
    for key in [KEY, "sk_wrong"] {
        let answer = router.get("/api/api-keys").key(key).send().await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "control_plane_not_configured"));
    }
}

#[tokio::test]
async fn a_forged_session_is_no_session() {
    let router = Setup::new().env("LLM_ROUTER_JWT_SECRET", "a secret of at least thirty-two bytes").start();
    // {"alg":"none"} and {"sub":"user_1","role":"admin","name":"admin","exp":9999999999}, without and with a signature of nothing.
    let claims = "eyJzdWIiOiJ1c2VyXzEiLCJyb2xlIjoiYWRtaW4iLCJuYW1lIjoiYWRtaW4iLCJleHAiOjk5OTk5OTk5OTl9";
    for forged in [
        format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}."),
        format!("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.{claims}.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
    ] {
        assert_eq!(router.get("/api/api-keys").key(&forged).send().await.status, 401);
        assert_eq!(router.get("/api/auth/me").key(&forged).send().await.status, 401);
    }
}
