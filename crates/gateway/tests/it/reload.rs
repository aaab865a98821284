//! A configuration that is read again, and one that must not be.

use http::Method;
use serde_json::json;
use testkit::{FakeUpstream, Script};

use crate::router::{KEY, MASTER, Router, Setup, eventually};

async fn reloads(router: &Router, path: &str) -> crate::client::Answer {
    router.ask(Method::POST, path).key(MASTER).send().await
}

async fn chats(router: &Router, model: &str) -> u16 {
    router.chat(model, json!({})).send().await.status
}

#[tokio::test]
async fn a_new_configuration_takes_effect_on_demand() {
    let upstream = FakeUpstream::start(Script::default());
    let router = Setup::new().upstream("mock", &upstream).start();
    assert_eq!(chats(&router, "new-model").await, 404);
    let mut config = router.config();
    for (round, path) in ["/config/reload", "/router/reload"].into_iter().enumerate() {
        let model = format!("new-model-{round}");
        config["accounts"][0]["models"] = json!(["gpt-mock", model]);
        router.write_config(&config.to_string());
        assert_eq!(chats(&router, &model).await, 404, "not before it is asked for");
        let answer = reloads(&router, path).await;
        assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("success")), "{}", answer.text());
        assert_eq!(chats(&router, &model).await, 200);
    }
    config["accounts"][0]["models"] = json!(["by-signal"]);
    router.write_config(&config.to_string());
    router.signal("HUP");
    eventually("the signal's model", || async { (chats(&router, "by-signal").await == 200).then_some(()) }).await;
    assert_eq!(chats(&router, "gpt-mock").await, 404);
}

#[tokio::test]
async fn a_broken_configuration_changes_nothing() {
    let upstream = FakeUpstream::start(Script::default());
    let router = Setup::new().upstream("mock", &upstream).start();
    let good = router.config();
    let mut unsendable = good.clone();
    unsendable["accounts"][0]["api_key"] = json!("two\nlines");
    let broken = [
        ("accounts: [".to_owned(), "line 1"),
        ("accounts: []\nacounts: []\n".to_owned(), "accounts"),
        ("server: {max_body: much}".to_owned(), "server.max_body"),
        (unsendable.to_string(), "mock"),
    ];
    for (round, (text, word)) in broken.into_iter().enumerate() {
        router.write_config(&text);
        let answer = reloads(&router, "/config/reload").await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"), "{text}");
        assert!(answer.text().contains(word), "{text}: {}", answer.text());
        assert_eq!(chats(&router, "gpt-mock").await, 200, "{text}");
        router.signal("HUP");
        eventually("the signal is heard", || async {
            (router.said.all().matches("the old one stays in force").count() > round).then_some(())
        })
        .await;
        assert_eq!(chats(&router, "gpt-mock").await, 200, "{text}");
    }
    router.write_config(&good.to_string());
    assert_eq!(reloads(&router, "/config/reload").await.status, 200);
}

#[tokio::test]
async fn open_access_does_not_come_in_by_a_reload() {
    let router = Setup::new().env("LLM_ROUTER_LISTEN", "").set("server", json!({"listen": ["0.0.0.0:0"]})).start();
    // The file is right for a router that starts with it; this one already listens to the world.
    for auth in [json!({"mode": "off"}), json!({"management": "open"})] {
        router.write_config(&json!({"auth": auth, "server": {"listen": ["127.0.0.1:8080"]}}).to_string());
        let answer = reloads(&router, "/config/reload").await;
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert_eq!(router.chat("dummy", json!({})).nobody().send().await.status, 401);
        assert_eq!(router.get("/api/nodes").nobody().send().await.status, 401);
    }
    let home = Setup::new().start();
    home.write_config(&json!({"auth": {"mode": "off"}}).to_string());
    assert_eq!(reloads(&home, "/config/reload").await.status, 200, "on loopback it may");
    assert_eq!(home.chat("dummy", json!({})).nobody().send().await.status, 200);
}

#[tokio::test]
async fn keys_and_reloads_do_not_undo_each_other() {
    let upstream = FakeUpstream::start(Script::default());
    let router = Setup::new().upstream("mock", &upstream).start();
    let mut config = router.config();
    for round in 0..10 {
        let model = format!("model-{round}");
        config["accounts"][0]["models"] = json!([model]);
        router.write_config(&config.to_string());
        let (reloaded, made) = tokio::join!(reloads(&router, "/config/reload"), router.new_key(json!({})));
        assert_eq!(reloaded.status, 200);
        let answer = router.chat(&model, json!({})).key(&made.1).send().await;
        assert_eq!(answer.status, 200, "the new key and the new model: {}", answer.text());
    }
    assert_eq!(router.chat("model-9", json!({})).key(KEY).send().await.status, 200);
}
