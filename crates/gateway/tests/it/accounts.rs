//! How accounts are opened: by OAuth with renewal, and by the caller's own credential.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use testkit::{FakeUpstream, Reply, Script};

use crate::router::{KEY, MASTER, Router, Setup};

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// Members of an account that is opened by OAuth; its token ends in so many seconds.
fn oauth(tokens: &FakeUpstream, ends_in: i64) -> Value {
    json!({
        "auth_mode": "oauth", "api_key": null, "oauth_access_token": "token-0", "oauth_refresh_token": "refresh-0",
        "oauth_expires_at": now() + ends_in, "oauth_token_url": format!("{}/token", tokens.url()), "oauth_client_id": "client",
    })
}

/// Gives `token-n` and `refresh-n`.
fn giving(n: u32) -> Script {
    let answer = json!({"access_token": format!("token-{n}"), "refresh_token": format!("refresh-{n}"), "expires_in": 3600});
    Script::default().on("/token", Reply::json(&answer))
}

fn shown(upstream: &FakeUpstream) -> Vec<String> {
    let chats = upstream.requests().into_iter().filter(|request| request.method == "POST");
    chats.map(|request| request.header("authorization").unwrap_or_default().to_owned()).collect()
}

async fn status(router: &Router, model: &str) -> u16 {
    router.chat(model, json!({})).send().await.status
}

#[tokio::test]
async fn an_ended_token_is_renewed_once_and_known_after_a_restart() {
    let (upstream, tokens) = (FakeUpstream::start(Script::default()), FakeUpstream::start(giving(1)));
    let setup = || Setup::new().account("sso", &upstream.base_url(), &["gpt-mock"], oauth(&tokens, -10));
    let mut router = setup().start();
    let all = futures_util::future::join_all((0..12).map(|_| status(&router, "gpt-mock"))).await;
    assert_eq!(all, [200; 12]);
    assert_eq!(shown(&upstream), ["Bearer token-1"; 12]);
    assert_eq!(tokens.requests().len(), 1, "one renewal for all");
    router.stop();
    let config = router.config();
    let again = Setup::new().in_home_of(&router).set("accounts", config["accounts"].clone()).start();
    assert_eq!(status(&again, "gpt-mock").await, 200);
    assert_eq!((shown(&upstream).last().unwrap().as_str(), tokens.requests().len()), ("Bearer token-1", 1), "it was kept");
    // The token that replaced the first one renews the next.
    tokens.set_script(giving(2));
    upstream.set_script(Script::sequence([Reply::error(401), Reply::ok()]));
    assert_eq!(status(&again, "gpt-mock").await, 200, "a refused token is renewed, once");
    assert_eq!(shown(&upstream).last().unwrap(), "Bearer token-2");
    assert!(String::from_utf8_lossy(&tokens.requests()[1].body).contains("refresh_token=refresh-1"));
}

#[tokio::test]
async fn an_account_that_refuses_every_token_is_not_asked_for_ever() {
    let (upstream, tokens) = (FakeUpstream::start(Script::always(Reply::error(401))), FakeUpstream::start(giving(1)));
    let router = Setup::new().account("sso", &upstream.base_url(), &["gpt-mock"], oauth(&tokens, 3600)).start();
    let answer = router.chat("gpt-mock", json!({})).send().await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_credentials"));
    assert_eq!(shown(&upstream), ["Bearer token-0", "Bearer token-1"]);
}

#[tokio::test]
async fn an_account_that_cannot_be_renewed_stands_aside_with_its_reason() {
    let tokens = FakeUpstream::start(Script::default().on("/token", Reply::json(&json!({"error": "invalid_grant"})).status(400)));
    let (upstream, other) = (FakeUpstream::start(Script::default()), FakeUpstream::start(Script::default()));
    let router = Setup::new()
        .account("sso", &upstream.base_url(), &["gpt-mock", "alone"], oauth(&tokens, -10))
        .account("other", &other.base_url(), &["gpt-mock"], json!({"priority": 1}))
        .start();
    for _ in 0..3 {
        assert_eq!(status(&router, "gpt-mock").await, 200);
        let answer = router.chat("alone", json!({})).send().await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "provider_key_missing"));
        assert!(answer.text().contains("`sso`") && answer.text().contains("invalid_grant"), "{}", answer.text());
    }
    assert_eq!((shown(&upstream).len(), shown(&other).len(), tokens.requests().len()), (0, 3, 1));
    let health = router.get("/router/health").key(MASTER).send().await.json();
    assert!(health["services"]["sso"]["trouble"].as_str().unwrap().contains("invalid_grant"), "{health}");
}

#[tokio::test]
async fn a_subscription_is_spoken_to_as_its_own_client_does() {
    let claims = json!({"https://api.openai.com/auth": {"chatgpt_account_id": "acc-1"}, "exp": now() + 3600});
    let token = format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let events = [
        json!({"type": "response.created", "response": {"id": "r", "object": "response", "created_at": 1, "model": "gpt-5", "status": "in_progress", "output": []}}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": {"type": "message", "id": "m", "role": "assistant", "content": []}}),
        json!({"type": "response.content_part.added", "item_id": "m", "output_index": 0, "content_index": 0, "part": {"type": "output_text", "text": ""}}),
        json!({"type": "response.output_text.delta", "item_id": "m", "output_index": 0, "content_index": 0, "delta": "Hello"}),
        json!({"type": "response.completed", "response": {"id": "r", "object": "response", "created_at": 1, "model": "gpt-5", "status": "completed",
            "output": [{"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": "Hello", "annotations": []}]}],
            "usage": {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4}}}),
    ];
    let pieces = events.iter().map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()));
    let upstream = FakeUpstream::start(Script::default().on("/codex/responses", Reply::events(pieces)));
    let account = json!({"provider": "openai-codex", "auth_mode": "oauth", "api_key": null, "oauth_access_token": token});
    let router = Setup::new().account("chatgpt", &upstream.url(), &["gpt-5"], account).start();
    let whole = router.chat("gpt-5", json!({"max_tokens": 9})).send().await;
    assert_eq!((whole.status, whole.json()["choices"][0]["message"]["content"].as_str()), (200, Some("Hello")), "{}", whole.text());
    let raw = router.post("/v1/responses", &json!({"model": "gpt-5", "input": "hi", "stream": true, "store": true})).send().await;
    assert!(raw.text().contains("response.completed"), "{}", raw.text());
    for request in upstream.requests() {
        let body = request.json();
        assert_eq!((body["stream"].as_bool(), body["store"].as_bool()), (Some(true), Some(false)), "{body}");
        assert!(!body["instructions"].as_str().unwrap().is_empty() && body.get("max_output_tokens").is_none(), "{body}");
        assert_eq!(request.header("chatgpt-account-id"), Some("acc-1"));
        assert_eq!(request.header("authorization"), Some(format!("Bearer {token}").as_str()));
    }
}

#[tokio::test]
async fn a_callers_credential_goes_only_where_the_account_says_so() {
    let (lent, keyed, open) =
        (FakeUpstream::start(Script::default()), FakeUpstream::start(Script::default()), FakeUpstream::start(Script::default()));
    let router = Setup::new()
        .account("lent", &lent.base_url(), &["lent"], json!({"auth_mode": "passthrough", "api_key": null}))
        .account("keyed", &keyed.base_url(), &["keyed"], json!({}))
        .account("open", &open.base_url(), &["open"], json!({"auth_mode": "api_key", "api_key": null}))
        .start();
    let theirs = |model: &str| router.chat(model, json!({})).key("their-own-key").header("x-litellm-api-key", KEY);
    for model in ["lent", "keyed", "open"] {
        assert_eq!(theirs(model).send().await.status, 200, "{model}");
    }
    assert_eq!(shown(&lent), ["Bearer their-own-key"]);
    assert_eq!(shown(&keyed), ["Bearer upstream-key-of-keyed"]);
    assert_eq!(shown(&open), [""]);
    // What opens this router never leaves, wherever it stands.
    let (_, made) = router.new_key(json!({})).await;
    let revoked = {
        let (id, key) = router.new_key(json!({})).await;
        router.ask(http::Method::DELETE, &format!("/api/api-keys/{id}")).key(MASTER).send().await;
        key
    };
    for own in [KEY, MASTER, &made, &revoked] {
        let answer = router.chat("lent", json!({})).key(own).header("x-litellm-api-key", KEY).send().await;
        assert_eq!(answer.code(), "invalid_api_key", "{}", answer.text());
        assert!(answer.text().contains("`lent`"));
    }
    assert_eq!(shown(&lent).len(), 1);
    for upstream in [&lent, &keyed, &open] {
        assert!(upstream.requests().iter().all(|request| request.headers.iter().all(|(_, value)| !value.contains(KEY))));
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_lent_credential_is_its_owners_to_hear() {
    let upstream = FakeUpstream::start(Script::always(Reply::error(401)));
    let router =
        Setup::new().account("lent", &upstream.base_url(), &["lent"], json!({"auth_mode": "passthrough", "api_key": null})).start();
    let answer = router.chat("lent", json!({})).key("their-own-key").header("x-litellm-api-key", KEY).send().await;
    assert_eq!((answer.status, answer.json()["error"]["message"].as_str()), (401, Some("scripted 401")));
}

#[cfg(unix)]
#[tokio::test]
async fn kept_tokens_are_sealed() {
    let (upstream, tokens) = (FakeUpstream::start(Script::default()), FakeUpstream::start(giving(1)));
    let mut router = Setup::new().account("sso", &upstream.base_url(), &["gpt-mock"], oauth(&tokens, -10)).start();
    assert_eq!(status(&router, "gpt-mock").await, 200);
    router.stop();
    for entry in std::fs::read_dir(router.data_dir()).unwrap().map(Result::unwrap).filter(|e| e.file_type().unwrap().is_file()) {
        let bytes = std::fs::read(entry.path()).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("token-1") && !text.contains("refresh-1"), "{}", entry.path().display());
    }
}
