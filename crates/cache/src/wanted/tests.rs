use std::time::Instant;

use http::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::*;

const RULES: Rules = Rules { ttl: Duration::from_mins(5), streams: false, tools: false };
const CHAT: Operation = Operation::Generate(Dialect::Chat);

fn call(operation: Operation, body: &Value, headers: &[(&str, &str)]) -> Call {
    let headers = headers.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap()));
    Call {
        operation,
        in_path: None,
        forwarded: None,
        deployment: None,
        upload: None,
        query_key: None,
        request_id: "r".into(),
        path: "/v1/chat/completions".into(),
        headers: headers.collect(),
        body: body.to_string().into(),
        client: [127, 0, 0, 1].into(),
        received: Instant::now(),
        received_at: "2026-01-01T00:00:00Z".parse().unwrap(),
    }
}

fn ask_with(
    rules: &Rules,
    tenant: &Tenant,
    operation: Operation,
    body: &Value,
    headers: &[(&str, &str)],
) -> Result<Option<Wanted>, Failure> {
    let call = call(operation, body, headers);
    let beta = HeaderName::from_static("x-beta");
    wanted(rules, tenant, [&beta], &call, &Request::read(&call).unwrap())
}

fn ask(operation: Operation, body: &Value, headers: &[(&str, &str)]) -> Option<Wanted> {
    ask_with(&RULES, &Tenant::EVERYBODY, operation, body, headers).unwrap()
}

fn chat(more: &Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[test]
fn who_takes_part() {
    let takes = |operation, more: Value| ask(operation, &chat(&more), &[]).is_some();
    assert!(takes(CHAT, json!({})) && takes(Operation::Embeddings, json!({})) && takes(Operation::Completions, json!({})));
    assert!(
        !takes(CHAT, json!({"stream": true}))
            && !takes(Operation::Other, json!({}))
            && !takes(Operation::Count(Dialect::Messages), json!({}))
    );
    let streams = Rules { streams: true, ..RULES };
    let streamed = |operation| ask_with(&streams, &Tenant::EVERYBODY, operation, &chat(&json!({"stream": true})), &[]).unwrap();
    assert_eq!(streamed(CHAT), ask(CHAT, &chat(&json!({})), &[]), "both forms have one answer");
    assert_eq!(streamed(Operation::Completions), None);
}

#[test]
fn effects_and_state_are_remembered_where_the_request_asks_for_it() {
    let responses = Operation::Generate(Dialect::Responses);
    let tools = json!({"tools": [{"type": "function"}]});
    for (operation, body) in [
        (CHAT, tools.clone()),
        (CHAT, json!({"store": true})),
        (responses, json!({})),
        (responses, json!({"store": false, "previous_response_id": "r"})),
    ] {
        let body = chat(&body);
        assert_eq!(ask(operation, &body, &[]), None, "{body}");
        assert!(ask(operation, &body, &[("x-llm-router-cache", "exact")]).is_some(), "{body}");
        assert!(ask_with(&Rules { tools: true, ..RULES }, &Tenant::EVERYBODY, operation, &body, &[]).unwrap().is_some());
    }
    assert!(ask(responses, &chat(&json!({"store": false})), &[]).is_some());
    for never in [json!({"conversation": "c", "store": false}), json!({"background": true, "store": false})] {
        assert_eq!(ask(responses, &chat(&never), &[("x-llm-router-cache", "exact")]), None, "{never}");
    }
}

#[test]
fn a_caller_can_refuse_shorten_and_set_apart() {
    let plain = ask(CHAT, &chat(&json!({})), &[]).unwrap();
    let control = |cache: Value| ask(CHAT, &chat(&json!({"cache": cache})), &[]);
    assert_eq!(control(json!({"mode": "off"})), None);
    assert_eq!(control(json!({"ttl": 0})), None);
    assert_eq!(control(json!({"mode": "semantic"})), Some(plain));
    assert_eq!(control(json!(null)), Some(plain));
    let second = Duration::from_secs(1);
    assert_eq!(control(json!({"ttl": 1})), Some(Wanted { ttl: second, age_max: second, ..plain }));
    assert_eq!(control(json!({"ttl": 1e9})), Some(plain), "not longer than the operator says");
    let named = control(json!({"namespace": "a"})).unwrap();
    assert_ne!(named.key, plain.key);
    let by_header = |headers: &[(&str, &str)]| ask(CHAT, &chat(&json!({})), headers);
    assert_eq!(by_header(&[("x-llm-router-namespace", "a"), ("x-llm-router-ttl", "300")]), Some(named));
    assert_eq!(by_header(&[("x-llm-router-cache", "off")]), None);
    assert_eq!(ask(CHAT, &chat(&json!({"cache": {"mode": "exact"}})), &[("x-llm-router-cache", "off")]), Some(plain), "the body wins");
}

#[test]
fn cache_control_means_what_http_says() {
    let of = |name: &str, value: &str| ask(CHAT, &chat(&json!({})), &[(name, value)]);
    let plain = of("accept", "*/*").unwrap();
    let fresh = Some(Wanted { age_max: Duration::ZERO, ..plain });
    assert_eq!((of("cache-control", "No-Cache"), of("cache-control", "max-age=0, private")), (fresh, fresh));
    assert_eq!(of("x-routeiq-cache-control", "no-cache"), fresh);
    assert_eq!((of("cache-control", "no-cache, no-store"), of("cache-control", "private")), (None, Some(plain)));
}

#[test]
fn what_shapes_an_answer_makes_another_entry() {
    let of = |headers: &[(&str, &str)]| ask(CHAT, &chat(&json!({})), headers).unwrap().key;
    let keys = [
        of(&[("traceparent", "x"), ("x-llm-router-timeout-ms", "9")]),
        of(&[("x-beta", "a")]),
        of(&[("x-beta", "b")]),
        of(&[("x-llm-router-only", "b")]),
        of(&[("x-llm-router-strict", "true")]),
        ask(CHAT, &chat(&json!({"provider": {"only": ["b"]}})), &[]).unwrap().key,
        ask(Operation::Completions, &chat(&json!({})), &[]).unwrap().key,
        ask_with(&RULES, &Tenant::of(Some("k"), []), CHAT, &chat(&json!({})), &[]).unwrap().unwrap().key,
    ];
    for (at, key) in keys.iter().enumerate() {
        assert!(!keys[at + 1..].contains(key), "{at}");
    }
    assert_eq!(keys[0], of(&[]));
}

#[test]
fn wrong_controls_are_refused_by_name() {
    for (body, headers, param) in [
        (json!({}), vec![("x-llm-router-cache", "no")], "x-llm-router-cache"),
        (json!({}), vec![("x-llm-router-ttl", "soon")], "x-llm-router-ttl"),
        (json!({"cache": {"ttl": -1}}), vec![], "cache.ttl"),
        (json!({"cache": {"namespace": "n".repeat(300)}}), vec![], "cache.namespace"),
    ] {
        let failure = ask_with(&RULES, &Tenant::EVERYBODY, CHAT, &chat(&body), &headers).unwrap_err();
        assert_eq!((failure.status(), failure.param.as_deref()), (400, Some(param)));
    }
}

#[test]
fn repeated_calls_are_equal_to_the_byte() {
    let of = |tenant: &Tenant, key: &str, body: Value| repeated(tenant, &call(CHAT, &body, &[]), key.as_bytes());
    let (a, b) = (Tenant::of(Some("a"), []), Tenant::of(Some("b"), []));
    let first = of(&a, "k", json!({"x": 1}));
    assert_eq!(first, of(&a, "k", json!({"x": 1})));
    for other in [of(&b, "k", json!({"x": 1})), of(&a, "l", json!({"x": 1})), of(&a, "k", json!({"x": 2}))] {
        assert_ne!(first, other);
    }
}
