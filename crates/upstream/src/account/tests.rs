use std::{path::Path, time::Duration};

use config::{Environment, LoadArgs};
use proptest::prelude::*;

use super::*;
use crate::learn::FORGOTTEN_AFTER;

/// An account of the file; `fields` are YAML's.
pub(crate) fn account(fields: &str) -> Account {
    let text = format!("accounts: [{{name: a, {fields}}}]");
    let none: [(&str, &str); 0] = [];
    let loaded = config::load_text(&LoadArgs::default(), &Environment::from_map(none), &text, Path::new("router.yaml"));
    Account::new(&loaded.unwrap_or_else(|e| panic!("{text}: {e}")).config.accounts[0]).unwrap()
}

fn answer(status: u16, content_type: &str, body: &str) -> (StatusCode, HeaderMap, Vec<u8>) {
    let headers = [(CONTENT_TYPE, content_type.parse().unwrap())].into_iter().collect();
    (StatusCode::from_u16(status).unwrap(), headers, body.as_bytes().to_vec())
}

fn learn(account: &Account, wire: Dialect, answer: &(StatusCode, HeaderMap, Vec<u8>), now: Instant) -> Learned {
    account.learn(wire, answer.0, &answer.1, &answer.2, now)
}

const JSON: &str = "application/json";

#[test]
fn a_possible_wire_is_asked_once_an_hour() {
    let vllm = account("provider: vllm, base_url: 'http://h'");
    let now = Instant::now();
    assert_eq!(vllm.wire_at(Dialect::Messages, now), Dialect::Messages);
    let unknown = answer(404, JSON, r#"{"detail":"Not Found"}"#);
    assert_eq!(learn(&vllm, Dialect::Messages, &unknown, now), Learned::NotSpoken);
    assert_eq!(vllm.wire_at(Dialect::Messages, now), Dialect::Chat);
    // One wire's answer says nothing of another.
    assert_eq!(vllm.wire_at(Dialect::Responses, now), Dialect::Responses);
    assert_eq!(vllm.wire_at(Dialect::Messages, now + Duration::from_secs(FORGOTTEN_AFTER.as_secs() - 1)), Dialect::Chat);
    assert_eq!(vllm.wire_at(Dialect::Messages, now + FORGOTTEN_AFTER), Dialect::Messages);
    let later = now + FORGOTTEN_AFTER;
    assert_eq!(learn(&vllm, Dialect::Messages, &answer(200, JSON, "{}"), later), Learned::Speaks);
    assert_eq!(vllm.wires(later).map(|(_, s)| s), [Standing::Sure, Standing::Possible, Standing::Spoken, Standing::Never]);
    // A server that was exchanged for an older one: what was spoken is so no more.
    assert_eq!(learn(&vllm, Dialect::Messages, &unknown, later), Learned::NotSpoken);
    assert_eq!(vllm.wire_at(Dialect::Messages, later), Dialect::Chat);
}

#[test]
fn answers_teach() {
    let now = Instant::now();
    for (wire, status, content_type, body, want) in [
        (Dialect::Messages, 200, JSON, "{}", Learned::Speaks),
        (Dialect::Messages, 200, "text/event-stream", "", Learned::Speaks),
        (Dialect::Messages, 200, "text/html; charset=utf-8", "<html>", Learned::NotSpoken),
        (Dialect::Messages, 404, "text/plain", "404 page not found", Learned::NotSpoken),
        (Dialect::Messages, 405, JSON, r#"{"detail":"Method Not Allowed"}"#, Learned::NotSpoken),
        (Dialect::Messages, 501, JSON, "", Learned::NotSpoken),
        (Dialect::Messages, 404, JSON, r#"{"type":"error","error":{"type":"not_found_error","message":"model: nope"}}"#, Learned::Speaks),
        // The same words in another dialect's shape come from a server that has no such path for this one.
        (Dialect::Messages, 404, JSON, r#"{"error":{"message":"model not found"}}"#, Learned::NotSpoken),
        (
            Dialect::Messages,
            400,
            JSON,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"max_tokens: missing"}}"#,
            Learned::Speaks,
        ),
        (
            Dialect::Messages,
            400,
            JSON,
            r#"{"error":{"message":"Unknown request URL: POST /v1/messages","code":"unknown_url"}}"#,
            Learned::NotSpoken,
        ),
        (
            Dialect::Responses,
            404,
            JSON,
            r#"{"error":{"message":"The model `m` does not exist","code":"model_not_found"}}"#,
            Learned::Speaks,
        ),
        (Dialect::Responses, 404, JSON, r#"{"error":{"message":"Invalid URL (POST /v1/responses)","code":null}}"#, Learned::NotSpoken),
        (Dialect::Responses, 400, JSON, r#"{"error":{"message":"input: missing"}}"#, Learned::Unclear),
        (Dialect::Responses, 401, JSON, r#"{"error":{"message":"no key"}}"#, Learned::NotSpoken),
        (Dialect::Responses, 429, JSON, "", Learned::Unclear),
        (Dialect::Responses, 500, JSON, "", Learned::Unclear),
        (Dialect::Chat, 404, JSON, "", Learned::Unclear),
        (Dialect::Gemini, 404, JSON, "", Learned::Unclear),
    ] {
        let fresh = account("provider: custom, base_url: 'http://h'");
        assert_eq!(learn(&fresh, wire, &answer(status, content_type, body), now), want, "{} {status} {body}", wire.name());
    }
    // Once it has answered, a wrong key is a wrong key.
    let known = account("provider: custom, base_url: 'http://h'");
    learn(&known, Dialect::Responses, &answer(200, JSON, "{}"), now);
    assert_eq!(learn(&known, Dialect::Responses, &answer(401, JSON, "{}"), now), Learned::Unclear);
}

#[test]
fn the_operators_word_stands() {
    let named = account("provider: vllm, base_url: 'http://h', wire: messages");
    let now = Instant::now();
    for caller in Dialect::ALL {
        assert_eq!(named.wire_at(caller, now), Dialect::Messages);
    }
    assert_eq!(learn(&named, Dialect::Messages, &answer(404, JSON, ""), now), Learned::Unclear);
    assert_eq!(named.wire_at(Dialect::Chat, now), Dialect::Messages);
    assert!(named.counts_tokens(Dialect::Messages) && !named.counts_tokens(Dialect::Chat));
}

#[test]
fn a_new_configuration_remembers() {
    let now = Instant::now();
    let old = account("provider: vllm, base_url: 'http://h'");
    learn(&old, Dialect::Messages, &answer(404, JSON, ""), now);
    learn(&old, Dialect::Responses, &answer(200, JSON, ""), now);
    let new = account("provider: vllm, base_url: 'http://h', priority: 4");
    new.inherit(&old, now + Duration::from_mins(30));
    let of = |account: &Account, minutes| {
        let at = now + Duration::from_mins(minutes);
        (account.wire_at(Dialect::Messages, at), account.wires(at)[1].1)
    };
    assert_eq!(of(&new, 31), (Dialect::Chat, Standing::Spoken));
    // The hour goes on from where it began, but for the instant between the two selves.
    assert_eq!(of(&new, 61), (Dialect::Messages, Standing::Spoken));
    let elsewhere = account("provider: vllm, base_url: 'http://other'");
    elsewhere.inherit(&old, now);
    assert_eq!(of(&elsewhere, 0), (Dialect::Messages, Standing::Possible));
}

#[test]
fn every_caller_finds_a_sure_wire() {
    let now = Instant::now();
    for row in catalog::providers() {
        let own = account(&format!("provider: {}, base_url: 'http://h', api_key: k", row.name));
        for caller in Dialect::ALL {
            own.marks.keep(caller, Learned::NotSpoken, now);
        }
        for caller in Dialect::ALL {
            let wire = own.wire_at(caller, now);
            assert!(own.row.wires.contains(&wire), "{}", row.name);
            assert!(wire == caller || !own.row.wires.contains(&caller), "{}", row.name);
        }
    }
}

#[test]
fn what_the_account_says_stands_over_the_client() {
    let own = account("provider: openai, api_key: k, organization: org-own, headers: {traceparent: own}");
    let client: HeaderMap = [
        ("openai-organization", "org-client"),
        ("openai-beta", "x=1"),
        ("anthropic-beta", "b"),
        ("authorization", "Bearer client"),
        ("x-api-key", "client"),
        ("cookie", "c"),
        ("traceparent", "client"),
        ("tracestate", "s"),
        ("x-client-request-id", "r"),
    ]
    .into_iter()
    .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)))
    .collect();
    let mut request = own.post(Dialect::Chat, "/chat/completions", Bytes::from_static(b"{}"), false).unwrap();
    own.pass(Dialect::Chat, &client, request.headers_mut());
    let seen = |name: &str| request.headers().get(name).map(|v| v.to_str().unwrap_or_default().to_owned());
    assert_eq!(seen("openai-organization").as_deref(), Some("org-own"));
    assert_eq!(seen("authorization").as_deref(), Some("Bearer k"));
    assert_eq!(seen("traceparent").as_deref(), Some("own"));
    assert_eq!(
        (seen("openai-beta").as_deref(), seen("tracestate").as_deref(), seen("x-client-request-id").as_deref()),
        (Some("x=1"), Some("s"), Some("r"))
    );
    assert_eq!((seen("anthropic-beta"), seen("x-api-key"), seen("cookie")), (None, None, None));
    // The client's version of Messages counts, not the usual one.
    let anthropic = account("provider: anthropic, api_key: k");
    let mut request = anthropic.post(Dialect::Messages, "/messages", Bytes::new(), false).unwrap();
    let client = [(HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2027-01-01"))].into_iter().collect();
    anthropic.pass(Dialect::Messages, &client, request.headers_mut());
    assert_eq!(request.headers()["anthropic-version"], "2027-01-01");
}

#[test]
fn azures_deployments_are_named_by_the_model() {
    let uri = |fields: &str, wire, path: &str, body: &'static str| {
        let own = account(&format!("provider: azure, api_key: k, {fields}"));
        own.post(wire, path, Bytes::from_static(body.as_bytes()), false).map(|r| r.uri().to_string()).map_err(|f| f.code)
    };
    let dated = "base_url: 'http://h', api_version: '2024-10-21'";
    let body = r#"{"model": "my dep/1", "messages": []}"#;
    assert_eq!(
        uri(dated, Dialect::Chat, "/chat/completions", body).unwrap(),
        "http://h/openai/deployments/my%20dep%2F1/chat/completions?api-version=2024-10-21"
    );
    assert_eq!(uri(dated, Dialect::Responses, "/responses", body).unwrap(), "http://h/openai/responses?api-version=2024-10-21");
    assert_eq!(uri("base_url: 'http://h'", Dialect::Chat, "/chat/completions", body).unwrap(), "http://h/openai/v1/chat/completions");
    assert_eq!(
        uri("base_url: 'http://h', api_version: preview", Dialect::Chat, "/embeddings", body).unwrap(),
        "http://h/openai/v1/embeddings?api-version=preview"
    );
    let written = "base_url: 'http://h/openai/deployments/d', api_version: '2024-10-21'";
    assert_eq!(
        uri(written, Dialect::Chat, "/chat/completions", body).unwrap(),
        "http://h/openai/deployments/d/chat/completions?api-version=2024-10-21"
    );
    for nameless in ["", "[]", "{}", r#"{"model": 5}"#] {
        assert!(uri(dated, Dialect::Chat, "/chat/completions", nameless).is_err(), "{nameless}");
    }
}

proptest! {
    #[test]
    fn no_answer_makes_it_panic(
        provider in prop::sample::select(catalog::providers().map(|row| row.name).collect::<Vec<_>>()),
        wire in prop::sample::select(Dialect::ALL.to_vec()),
        status in 100_u16..1000,
        kind in "[ -~]{0,20}",
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..80),
            r#"\{"(error|type|message|detail)":[\[\{"a-z0-9:,\]\}]{0,40}\}"#.prop_map(String::into_bytes),
        ],
    ) {
        let own = account(&format!("provider: {provider}, base_url: 'http://h', api_key: k"));
        let answer = (StatusCode::from_u16(status).unwrap(), [(CONTENT_TYPE, kind.parse().unwrap())].into_iter().collect(), body);
        let learned = learn(&own, wire, &answer, Instant::now());
        prop_assert!(own.row.may.contains(&wire) || learned == Learned::Unclear);
        let judgement = own.judge(answer.0, &answer.2, &[]);
        prop_assert_eq!(judgement.kind.is_none(), answer.0.is_success());
        prop_assert!(crate::message_of(&answer.2).is_none_or(|m| m.chars().count() <= 500));
    }

    #[test]
    fn any_model_has_an_address(model in "\\PC{1,40}") {
        let own = account("provider: azure, base_url: 'http://h', api_version: '2024-10-21', api_key: k");
        let body = serde_json::json!({"model": model}).to_string();
        let made = own.post(Dialect::Chat, "/chat/completions", Bytes::from(body), false);
        prop_assert!(made.is_ok(), "{:?}", made.err());
    }
}
