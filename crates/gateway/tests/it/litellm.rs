//! Files of LiteLLM: what they say of fallbacks, retries and names is done.

use serde_json::{Value, json};
use testkit::{FakeUpstream, Reply, Script};

use crate::router::{Router, Setup};

/// Refuses a prompt as too long, as OpenAI does.
fn too_long() -> Reply {
    let body = json!({"error": {
        "message": "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
        "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"
    }});
    Reply::json(&body).status(400)
}

/// Refuses a prompt for what it says.
fn against_policy() -> Reply {
    let body =
        json!({"error": {"message": "The response was filtered", "type": "invalid_request_error", "code": "content_policy_violation"}});
    Reply::json(&body).status(400)
}

/// A group for each upstream, named as it is.
fn groups(upstreams: &[(&str, &FakeUpstream)], more: &[(&str, Value)]) -> Router {
    let entry = |(name, upstream): &(&str, &FakeUpstream)| json!({"model_name": name, "litellm_params": {"model": format!("openai/up-{name}"), "api_base": upstream.base_url(), "api_key": "k"}});
    let mut setup = Setup::new().set("model_list", upstreams.iter().map(entry).collect());
    for (key, value) in more {
        setup = setup.set(key, value.clone());
    }
    setup.start()
}

fn upstream(script: Script) -> FakeUpstream {
    FakeUpstream::start(script)
}

/// Who served, and the attempts that it took.
async fn served(router: &Router, model: &str) -> (u16, String, String) {
    let answer = router.chat(model, json!({})).send().await;
    (answer.status, answer.header("x-llm-router-target").to_owned(), answer.header("x-llm-router-attempts").to_owned())
}

#[tokio::test]
async fn a_refusal_goes_to_the_models_that_stand_in_for_it() {
    let (long, policy) = (upstream(Script::always(too_long())), upstream(Script::always(against_policy())));
    let (wide, free, other) = (upstream(Script::default()), upstream(Script::default()), upstream(Script::default()));
    let settings = json!({
        "context_window_fallbacks": [{"small": ["wide"]}, {"strict": ["wide"]}],
        "content_policy_fallbacks": [{"small": ["free"]}, {"strict": ["free"]}],
        "fallbacks": [{"small": ["other"]}]
    });
    for section in ["router_settings", "litellm_settings"] {
        let all = [("small", &long), ("strict", &policy), ("wide", &wide), ("free", &free), ("other", &other)];
        let router = groups(&all, &[(section, settings.clone())]);
        assert_eq!(served(&router, "small").await, (200, "wide".to_owned(), "2".to_owned()), "{section}");
        assert_eq!(served(&router, "strict").await, (200, "free".to_owned(), "2".to_owned()), "{section}");
        assert_eq!(other.requests().len(), 0);
    }
    assert_eq!(wide.requests()[0].json()["model"], "up-wide");
}

#[tokio::test]
async fn who_stands_in_for_a_refusal_is_not_asked_after_a_fault() {
    let (broken, wide, other) = (upstream(Script::always(Reply::error(500))), upstream(Script::default()), upstream(Script::default()));
    let settings = json!({"context_window_fallbacks": [{"m": ["wide"]}], "fallbacks": [{"m": ["other"]}], "num_retries": 0});
    let router = groups(&[("m", &broken), ("wide", &wide), ("other", &other)], &[("router_settings", settings)]);
    assert_eq!(served(&router, "m").await, (200, "other".to_owned(), "2".to_owned()), "no retry is no reason not to fall back");
    assert_eq!((broken.requests().len(), wide.requests().len()), (1, 0));
    // Where nobody stands in, the caller hears the refusal itself.
    broken.set_script(Script::always(against_policy()));
    other.set_script(Script::always(against_policy()));
    let answer = router.chat("m", json!({})).send().await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "content_policy_violation"));
}

#[tokio::test]
async fn every_group_has_its_own_retries() {
    let upstreams: Vec<FakeUpstream> = (0..4).map(|_| upstream(Script::always(Reply::error(500)))).collect();
    let last = upstream(Script::default());
    let names = ["m", "m", "m", "m"];
    let mut all: Vec<(&str, &FakeUpstream)> = names.into_iter().zip(&upstreams).collect();
    all.push(("last", &last));
    let settings = json!({"num_retries": 1, "fallbacks": [{"m": ["last"]}], "retry_after": 0});
    let router = groups(&all, &[("router_settings", settings), ("breaker", json!({"enabled": false}))]);
    assert_eq!(served(&router, "m").await, (200, "last".to_owned(), "3".to_owned()), "two of the group, then the one behind it");
    assert_eq!(upstreams.iter().map(|u| u.requests().len()).sum::<usize>(), 2);
}

#[tokio::test]
async fn a_pattern_reaches_the_model_behind_it() {
    let any = upstream(Script::default());
    let entry = json!({"model_name": "team/*", "litellm_params": {"model": "openai/*", "api_base": any.base_url(), "api_key": "k"}});
    let router = Setup::new().set("model_list", json!([entry])).start();
    assert_eq!(router.chat("team/gpt-9", json!({})).send().await.status, 200);
    assert_eq!(any.requests()[0].json()["model"], "gpt-9");
    assert_eq!(router.get("/v1/models").send().await.json()["data"], json!([]), "a pattern is no model");
}

#[tokio::test]
async fn what_a_file_says_of_costs_is_charged() {
    let any = upstream(Script::always(Reply::ok().prompt_tokens(1000)));
    let entry = |name: &str, params: Value, info: Value| {
        let mut all = json!({"model": "openai/up", "api_base": any.base_url(), "api_key": "k"});
        all.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
        json!({"model_name": name, "litellm_params": all, "model_info": info})
    };
    let costs = json!({"input_cost_per_token": 1e-6, "output_cost_per_token": 0, "cache_read_input_token_cost": 1e-7, "mode": "chat"});
    let list = json!([
        entry("told", json!({}), costs.clone()),
        entry("both", json!({"input_cost_per_token": 2e-6}), costs),
        entry("untold", json!({}), json!({"id": "x"})),
    ]);
    let router = Setup::new().set("model_list", list).start();
    for (model, cost) in [("told", "0.001"), ("both", "0.002"), ("untold", "0")] {
        let answer = router.chat(model, json!({})).send().await;
        assert_eq!((answer.status, answer.header("x-llm-router-cost")), (200, cost), "{model}: {}", answer.text());
        assert_eq!(answer.header("x-llm-router-cost-known") == "false", model == "untold", "{model}");
    }
}
