//! The built-in model, on every path.

use serde_json::{Value, json};

use crate::{client::Answer, router::Setup};

fn chunks(answer: &Answer) -> Vec<Value> {
    let mut events = answer.events();
    assert_eq!(events.pop().as_deref(), Some("[DONE]"), "{}", answer.text());
    events.iter().map(|event| serde_json::from_str(event).unwrap()).collect()
}

#[tokio::test]
async fn it_chats_on_every_form_of_the_path() {
    let router = Setup::new().start();
    for path in ["/v1/chat/completions", "/chat/completions", "/v1/chat/completions/", "/chat/completions/"] {
        let body = json!({"model": "dummy", "messages": [{"role": "user", "content": "hi"}]});
        let answer = router.post(path, &body).send().await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"), "{path}");
        let said = answer.json();
        assert_eq!((&said["object"], &said["model"]), (&json!("chat.completion"), &json!("dummy")), "{path}");
        assert_eq!(said["choices"][0]["message"]["content"], "Hello world");
        assert_eq!((&said["choices"][0]["message"]["role"], &said["choices"][0]["finish_reason"]), (&json!("assistant"), &json!("stop")));
        let count = |name: &str| said["usage"][name].as_u64().unwrap();
        assert_eq!((count("completion_tokens"), count("total_tokens")), (2, count("prompt_tokens") + 2));
        assert!(said.get("router").is_none(), "nobody asked for it: {said}");
        assert_eq!(answer.header("x-llm-router-target"), "dummy");
    }
}

#[tokio::test]
async fn it_streams_chats_on_every_form_of_the_path() {
    let router = Setup::new().start();
    for path in ["/v1/chat/completions", "/chat/completions", "/v1/chat/completions/", "/chat/completions/"] {
        for asks_usage in [false, true] {
            let mut body = json!({"model": "dummy-7", "stream": true, "messages": [{"role": "user", "content": "hi"}]});
            if asks_usage {
                body["stream_options"] = json!({"include_usage": true});
            }
            let id = format!("{}-{asks_usage}", path.replace('/', "-"));
            let answer = router.post(path, &body).header("x-request-id", &id).send().await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            assert!(answer.header("content-type").starts_with("text/event-stream"));
            assert_eq!((answer.header("cache-control"), answer.header("x-accel-buffering")), ("no-cache, no-transform", "no"));
            let chunks = chunks(&answer);
            let deltas = || chunks.iter().filter_map(|c| c["choices"].get(0)).map(|choice| &choice["delta"]);
            assert_eq!(deltas().filter_map(|d| d["content"].as_str()).collect::<String>(), "Hello world");
            assert_eq!(deltas().filter(|d| d.get("role").is_some()).count(), 1, "the role is said once");
            assert_eq!(chunks.iter().filter(|c| c["choices"][0]["finish_reason"] == "stop").count(), 1);
            assert!(chunks.iter().all(|c| c["id"] == chunks[0]["id"] && c["created"] == chunks[0]["created"] && c["model"] == "dummy-7"));
            let usage: Vec<&Value> = chunks.iter().filter(|c| c["usage"].is_object()).collect();
            assert_eq!(usage.len(), usize::from(asks_usage), "{}", answer.text());
            assert!(usage.iter().all(|c| c["choices"] == json!([]) && c["usage"]["completion_tokens"] == 2));
            assert_eq!(router.record(&id).await.completion_tokens, Some(2), "counted, whether the client asks for it or not");
        }
    }
}

#[tokio::test]
async fn it_completes_texts() {
    let router = Setup::new().start();
    for path in ["/v1/completions", "/completions", "/v1/completions/"] {
        let body = json!({"model": "dummy", "prompt": "say"});
        let said = router.post(path, &body).send().await.json();
        assert_eq!((&said["object"], &said["choices"][0]["text"]), (&json!("text_completion"), &json!("Hello world")), "{path}");
        assert_eq!((&said["choices"][0]["finish_reason"], &said["usage"]["completion_tokens"]), (&json!("stop"), &json!(2)));
        let body = json!({"model": "dummy", "prompt": "say", "stream": true});
        let answer = router.post(path, &body).send().await;
        let text: String = chunks(&answer).iter().filter_map(|c| c["choices"][0]["text"].as_str().map(str::to_owned)).collect();
        assert_eq!(text, "Hello world", "{}", answer.text());
    }
}

#[tokio::test]
async fn it_has_no_embeddings_and_says_so() {
    let router = Setup::new().start();
    for path in ["/v1/embeddings", "/embeddings"] {
        let answer = router.post(path, &json!({"model": "dummy", "input": "x"})).send().await;
        assert_eq!((answer.status, answer.code().as_str()), (501, "unsupported"));
        assert!(answer.text().contains("embeddings"), "{}", answer.text());
    }
}

#[tokio::test]
async fn what_a_router_can_do_is_listed() {
    let setup = Setup::new().set("default_model", json!("m1")).set("aliases", json!({"fast": "m1"}));
    let router = setup.account("one", "http://127.0.0.1:1", &["m1", "org/m2:free", "wild-*"], json!({})).start();
    for path in ["/v1/models", "/models", "/v1/models/"] {
        let said = router.get(path).send().await.json();
        let ids: Vec<&str> = said["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
        assert_eq!((said["object"].as_str(), ids), (Some("list"), vec!["auto", "fast", "m1", "org/m2:free"]), "{path}");
    }
    for path in ["/v1/models/org/m2:free", "/models/org/m2:free"] {
        assert_eq!(router.get(path).send().await.json()["id"], "org/m2:free");
    }
    let missing = router.get("/v1/models/m3").send().await;
    assert_eq!((missing.status, missing.code().as_str()), (404, "model_not_found"));
}
