use std::collections::HashMap;

use wire::{Code, fleet::endpoint::Maker};

use super::*;
use crate::{Adoption, Kind, Presence, Status};

/// A server with some pages; others are 404. It can change its mind.
struct Pages {
    server: Server,
    pages: Arc<Mutex<HashMap<&'static str, (u16, String)>>>,
}

impl Pages {
    async fn start(pages: &[(&'static str, &str)]) -> Self {
        let all: HashMap<_, _> = pages.iter().map(|(path, body)| (*path, (200, (*body).to_owned()))).collect();
        let pages = Arc::new(Mutex::new(all));
        let shared = pages.clone();
        let server = Server::saying(move |head| {
            let path = head.split_whitespace().nth(1).unwrap_or_default();
            let (status, body) = shared.lock().expect("no panic").get(path).cloned().unwrap_or((404, "{}".to_owned()));
            format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        })
        .await;
        Self { server, pages }
    }

    fn set(&self, path: &'static str, status: u16, body: &str) {
        self.pages.lock().expect("no panic").insert(path, (status, body.to_owned()));
    }

    fn adoption(&self, kind: Option<&str>) -> Adoption {
        Adoption {
            endpoint: format!("{}/v1/", self.server.url()),
            kind: kind.map(str::to_owned),
            name: Some("box".to_owned()),
            api_key: None,
        }
    }
}

const VLLM_METRICS: &str = "vllm:num_requests_running{model_name=\"m\"} 2.0\nvllm:num_requests_waiting{model_name=\"m\"} 3.0\nvllm:kv_cache_usage_perc{model_name=\"m\"} 0.5\n";

fn list_by(owner: &str) -> String {
    serde_json::json!({"object": "list", "data": [{"id": "m", "object": "model", "owned_by": owner}]}).to_string()
}

#[tokio::test]
async fn every_kind_of_server_is_known_by_its_list_and_read_by_its_pages() {
    // Its owner, its maker, the kind that is said, its pages, requests there, models on its disk.
    type Case<'a> = (&'a str, Maker, &'a str, Vec<(&'static str, &'a str)>, u32, usize);
    let (tags, ps) = (r#"{"models":[{"name":"m"},{"name":"n"}]}"#, r#"{"models":[{"name":"m"}]}"#);
    let studio = r#"{"data":[{"id":"m","type":"llm","state":"loaded"},{"id":"n","type":"llm","state":"not-loaded"}]}"#;
    let cases: [Case; 7] = [
        ("vllm", Maker::Vllm, "", vec![("/health", ""), ("/metrics", VLLM_METRICS)], 5, 0),
        (
            "sglang",
            Maker::Sglang,
            "",
            vec![("/health", ""), ("/metrics", "sglang:num_running_reqs{} 1\nsglang:num_queue_reqs{} 0\n")],
            1,
            0,
        ),
        ("library", Maker::Ollama, "", vec![("/api/tags", tags), ("/api/ps", ps)], 0, 2),
        ("llamacpp", Maker::LlamaServer, "", vec![("/health", ""), ("/props", r#"{"total_slots":4}"#)], 0, 0),
        ("organization_owner", Maker::LmStudio, "", vec![("/api/v0/models", studio)], 0, 1),
        ("vllm", Maker::LlmD, "llm-d", vec![("/metrics", "inference_pool_average_queue_size{name=\"p\"} 2\n")], 2, 0),
        ("somebody", Maker::Openai, "", vec![], 0, 0),
    ];
    for (owner, maker, said, mut pages, active, available) in cases {
        let list = list_by(owner);
        pages.push(("/v1/models", &list));
        let (world, server) = (World::new().await, Pages::start(&pages).await);
        let kind = Some(said).filter(|kind| !kind.is_empty());
        let (view, is_new) = world.fleet.adopt(server.adoption(kind)).await.unwrap_or_else(|e| panic!("{maker:?}: {e:?}"));
        assert_eq!((view.maker, view.kind, view.status, is_new), (Some(maker), Kind::Endpoint, Status::Online, true), "{maker:?}");
        assert_eq!((view.loaded_models.len(), view.active_requests, view.available_models.len()), (1, active, available), "{maker:?}");
        let first = world.fleet.view().candidates("m", 1).remove(0);
        assert_eq!((&*first.peer.url, &*first.peer.name), (server.server.url().as_str(), "box"));
        let slots = world.fleet.instances().0.iter().find(|i| &*i.model == "m").and_then(|i| i.slots);
        assert_eq!(slots, (maker == Maker::LlamaServer).then_some(4), "{maker:?}");
    }
}

#[tokio::test]
async fn an_endpoint_is_asked_again_and_again() {
    let mut world = World::new().await;
    let server = Pages::start(&[("/v1/models", &list_by("vllm")), ("/health", ""), ("/metrics", VLLM_METRICS)]).await;
    let (view, _) = world.fleet.adopt(server.adoption(None)).await.expect("it is there");
    let shown = |world: &World| world.fleet.get(&view.id).expect("it is known");
    let presence = |world: &World| world.fleet.view().presence("m");
    assert_eq!((shown(&world).active_requests, world.fleet.history(&view.id).expect("known").len()), (5, 1));
    assert_eq!(world.fleet.metrics()[0]["gpu_memory_usage"], 50.0);

    server.set("/health", 503, "");
    world.fleet.pull_all().await;
    assert_eq!((shown(&world).initializing, presence(&world)), (true, Presence::Warming), "it is loading");

    server.set("/health", 200, "");
    server.set("/v1/models", 200, r#"{"data":[{"id":"m"},{"id":"other"}]}"#);
    world.fleet.pull_all().await;
    assert_eq!((shown(&world).loaded_models.len(), presence(&world)), (2, Presence::Ready));

    server.set("/health", 500, "");
    world.fleet.pull_all().await;
    assert_eq!((shown(&world).state, world.order("m")), ("suspect", vec!["box".to_owned()]), "the last resort");
    world.fleet.clock.advance(std::time::Duration::from_secs(61));
    assert_eq!((shown(&world).status, presence(&world)), (Status::Offline, Presence::Down));

    server.set("/health", 200, "");
    world.restart().await;
    world.fleet.pull_all().await;
    assert_eq!((shown(&world).status, shown(&world).state, presence(&world)), (Status::Online, "ready", Presence::Ready));
}

#[tokio::test]
async fn what_is_no_server_is_not_adopted() {
    let world = World::new().await;
    let server = Pages::start(&[("/v1/models", "<html>"), ("/health", "")]).await;
    for kind in [None, Some("vllm"), Some("ollama")] {
        assert_eq!(world.fleet.adopt(server.adoption(kind)).await.expect_err("no list").code, Code::UpstreamError, "{kind:?}");
    }
    for (bad, param) in [
        (Adoption { kind: Some("tgi".to_owned()), ..server.adoption(None) }, "kind"),
        (Adoption { endpoint: "http://169.254.169.254".to_owned(), ..server.adoption(None) }, "endpoint"),
        (Adoption { name: Some("a\nb".to_owned()), ..server.adoption(None) }, "name"),
        (Adoption { api_key: Some("a\nb".to_owned()), ..server.adoption(None) }, "api_key"),
    ] {
        assert_eq!(world.fleet.adopt(bad).await.expect_err(param).param.as_deref(), Some(param));
    }
    // A name for 169.254.169.254, as far as the system is concerned.
    let hidden = Adoption { endpoint: "http://2852039166".to_owned(), ..server.adoption(Some("openai")) };
    let said = world.fleet.adopt(hidden).await.expect_err("a cloud's credentials").message;
    assert!(said.contains("nothing may be sent there"), "{said}");
    assert!(world.fleet.list().is_empty());
}

#[tokio::test]
async fn an_endpoint_comes_with_its_key_and_goes_when_it_is_removed() {
    let world = World::new().await;
    let server = Pages::start(&[("/v1/models", &list_by("vllm")), ("/health", "")]).await;
    let adoption = || Adoption { api_key: Some("the-key".to_owned()), ..server.adoption(Some("vllm")) };
    let (view, _) = world.fleet.adopt(adoption()).await.expect("it is there");
    assert!(server.server.asked().iter().all(|head| head.contains("authorization: Bearer the-key")), "{:?}", server.server.asked());
    assert_eq!(&*world.fleet.view().candidates("m", 1)[0].peer.router_secret, "the-key");
    assert!(!serde_json::to_string(&world.fleet.list()).expect("plain").contains("the-key"));
    let (again, is_new) = world.fleet.adopt(adoption()).await.expect("it is there");
    assert_eq!((again.id.as_str(), is_new, world.fleet.list().len()), (view.id.as_str(), false, 1));
    world.fleet.drain(&view.id, true).await.expect("known");
    world.fleet.pull_all().await;
    assert!(world.order("m").is_empty(), "its answers do not end the drain");
    world.fleet.drain(&view.id, false).await.expect("known");
    assert_eq!(world.order("m"), ["box"]);
    world.fleet.delete(&view.id).await.expect("known");
    world.fleet.pull_all().await;
    assert_eq!(world.fleet.view().presence("m"), Presence::Unknown);
}
