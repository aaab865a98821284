use proptest::prelude::*;

use super::*;
use crate::catalog::{provider, providers};

fn fitted(name: &str, wire: Dialect, mut body: Value) -> (Value, Losses, Vec<Fitted>) {
    let mut losses = Losses::default();
    let done = fit(&provider(name), wire, &Reasoning::default(), &mut body, &mut losses);
    (body, losses, done)
}

#[test]
fn a_plain_body_is_left_alone() {
    for row in providers() {
        let body =
            json!({"model": "m", "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "hi"}], "temperature": 0.5});
        let (after, losses, done) = fitted(row.name, Dialect::Chat, body.clone());
        assert_eq!((after, losses.is_exact(), done), (body, true, vec![]), "{}", row.name);
    }
}

#[test]
fn openai_gets_its_own_words() {
    let body = json!({"model": "gpt-5.2", "messages": [{"role": "assistant", "content": "a", "reasoning_content": "hm"}],
        "max_tokens": 9, "top_k": 4, "temperature": 0.2, "top_p": 1.0, "stop": ["1", "2", "3", "4", "5"]});
    let (after, losses, done) = fitted("openai", Dialect::Chat, body.clone());
    assert_eq!(after, json!({"model": "gpt-5.2", "messages": [{"role": "assistant", "content": "a"}], "max_completion_tokens": 9}));
    assert_eq!(losses.dropped, ["top_k", "temperature", "stop", "messages[0].reasoning_content"]);
    assert_eq!(done.iter().filter(|d| d.how == How::Same).map(|d| d.path.as_str()).collect::<Vec<_>>(), ["top_p", "max_tokens"]);
    let many = json!({"model": "gpt-4.1", "messages": [], "stop": ["1", "2", "3", "4", "5"]});
    let (after, losses, _) = fitted("openai", Dialect::Chat, many);
    assert_eq!((&after["stop"], losses.dropped), (&json!(["1", "2", "3", "4"]), vec!["stop[4..]".to_owned()]));
    // Without thinking, and by models that do not think, sampling may be steered.
    for (model, effort) in [("gpt-5.2", json!("none")), ("gpt-5-chat-latest", json!("none")), ("gpt-4.1", json!("none"))] {
        let mut body = body.clone();
        body["model"] = model.into();
        body["reasoning_effort"] = effort;
        assert_eq!(fitted("openai", Dialect::Chat, body).0["temperature"], 0.2, "{model}");
    }
    // Who cannot think is not told how much to.
    for model in ["gpt-4.1", "gpt-4o-mini", "gpt-3.5-turbo", "chatgpt-4o-latest", "gpt-5-chat-latest"] {
        for (effort, dropped) in [("high", vec!["reasoning_effort"]), ("none", vec![])] {
            let (after, losses, _) = fitted("openai", Dialect::Chat, json!({"model": model, "messages": [], "reasoning_effort": effort}));
            assert_eq!(
                (after, losses.dropped),
                (json!({"model": model, "messages": []}), dropped.into_iter().map(str::to_owned).collect())
            );
        }
        let asked = json!({"model": model, "reasoning": {"effort": "low"}, "include": ["reasoning.encrypted_content"]});
        let (after, losses, _) = fitted("openai", Dialect::Responses, asked);
        assert_eq!((after, losses.dropped), (json!({"model": model}), vec!["reasoning".to_owned()]));
    }
    // An OpenAI-compatible server elsewhere gets the body as it is.
    assert_eq!(fitted("openai-compatible", Dialect::Chat, body.clone()).0, body);
}

#[test]
fn an_end_users_name_is_short_and_no_address() {
    let name = |wire, name: &str| {
        let body = if wire == Dialect::Messages { json!({"metadata": {"user_id": name}}) } else { json!({"user": name}) };
        let (after, losses, _) = fitted("openai-compatible", wire, body);
        let after = if wire == Dialect::Messages { &after["metadata"]["user_id"] } else { &after["user"] };
        (after.as_str().unwrap().to_owned(), losses.changed)
    };
    for wire in [Dialect::Chat, Dialect::Responses, Dialect::Messages] {
        assert_eq!(name(wire, "team-7_Bob"), ("team-7_Bob".to_owned(), vec![]));
        let (address, changed) = name(wire, "bob@example.com");
        assert!(!address.contains('@') && !changed.is_empty(), "{address}");
        assert_eq!(name(wire, "bob@example.com").0, address, "the same for the same");
        let (long, _) = name(wire, &"x".repeat(65));
        assert!(long.len() <= 64 && long != address, "{long}");
    }
}

#[test]
fn mistral_gets_ids_of_nine() {
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let body = json!({"model": "mistral-large-latest", "tool_choice": "required", "max_completion_tokens": 5, "reasoning_effort": "medium", "messages": [
        {"role": "developer", "content": "s"},
        {"role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls": [call("call_abc"), call("abcDEF123")]},
        {"role": "tool", "tool_call_id": "call_abc", "content": "1"},
        {"role": "tool", "tool_call_id": "abcDEF123", "content": "2"}]});
    let (after, losses, done) = fitted("mistral", Dialect::Chat, body.clone());
    let messages = &after["messages"];
    let id = messages[1]["tool_calls"][0]["id"].as_str().unwrap();
    assert!(id.len() == 9 && id.bytes().all(|b| b.is_ascii_alphanumeric()), "{id}");
    assert_eq!((&messages[2]["tool_call_id"], &messages[3]["tool_call_id"]), (&json!(id), &json!("abcDEF123")));
    assert_eq!(messages[1]["tool_calls"][1]["id"], "abcDEF123");
    assert_eq!((&messages[0]["role"], &after["tool_choice"], &after["max_tokens"]), (&json!("system"), &json!("any"), &json!(5)));
    assert_eq!(after["reasoning_effort"], "high");
    assert_eq!((losses.changed, losses.dropped), (vec!["reasoning_effort".to_owned()], vec!["messages[1].reasoning_content".to_owned()]));
    let renamed: Vec<&str> = done.iter().filter(|d| d.how == How::Same).map(|d| d.path.as_str()).collect();
    assert_eq!(
        renamed,
        ["max_completion_tokens", "tool_choice", "messages[0].role", "messages[1].tool_calls[0].id", "messages[2].tool_call_id"]
    );
    // The same conversation a turn later has the same ids: prompt caches stay warm.
    assert_eq!(fitted("mistral", Dialect::Chat, body).0, after);
}

#[test]
fn thinking_is_asked_for_in_every_way() {
    let ask = |name: &str, word: &str| {
        let (mut body, losses, _) = fitted(name, Dialect::Chat, json!({"reasoning_effort": word}));
        let body = body.as_object_mut().unwrap();
        (Value::Object(std::mem::take(body)), losses.header())
    };
    for (name, word, body, fidelity) in [
        ("openai", "xhigh", json!({"reasoning_effort": "xhigh"}), "exact"),
        ("openrouter", "xhigh", json!({"reasoning": {"effort": "xhigh"}}), "exact"),
        ("deepseek", "none", json!({"thinking": {"type": "disabled"}}), "exact"),
        ("deepseek", "max", json!({"reasoning_effort": "max"}), "exact"),
        ("groq", "minimal", json!({"reasoning_effort": "low"}), "lossy; changed=reasoning_effort"),
        ("xai", "max", json!({"reasoning_effort": "high"}), "lossy; changed=reasoning_effort"),
        ("mistral", "minimal", json!({"reasoning_effort": "none"}), "lossy; changed=reasoning_effort"),
        ("mistral", "low", json!({"reasoning_effort": "high"}), "lossy; changed=reasoning_effort"),
        ("mistral", "unheard", json!({"reasoning_effort": "unheard"}), "exact"),
    ] {
        assert_eq!(ask(name, word), (body, fidelity.to_owned()), "{name} {word}");
    }
}

#[test]
fn a_budget_of_thinking_has_a_place_at_some() {
    for (name, budget, want) in [
        ("openrouter", 2048, json!({"reasoning": {"max_tokens": 2048}})),
        ("openrouter", 0, json!({"reasoning": {"enabled": false}})),
        ("deepseek", 0, json!({"thinking": {"type": "disabled"}})),
    ] {
        let asked = Reasoning { budget_tokens: Some(budget), ..Reasoning::default() };
        let mut losses = Losses { dropped: vec!["reasoning.budget_tokens".to_owned()], changed: vec![] };
        let mut body = json!({});
        fit(&provider(name), Dialect::Chat, &asked, &mut body, &mut losses);
        assert_eq!((body, losses.is_exact()), (want, true), "{name} {budget}");
    }
    let asked = Reasoning { budget_tokens: Some(2048), ..Reasoning::default() };
    let mut losses = Losses { dropped: vec!["reasoning.budget_tokens".to_owned()], changed: vec![] };
    fit(&provider("deepseek"), Dialect::Chat, &asked, &mut json!({}), &mut losses);
    assert!(!losses.is_exact());
}

#[test]
fn other_wires_have_other_rules() {
    let (after, losses, _) = fitted("openai-codex", Dialect::Responses, json!({"model": "m", "max_output_tokens": 5, "store": false}));
    let instructed = json!({"model": "m", "store": false, "instructions": "You are a helpful assistant."});
    assert_eq!((after, losses.dropped), (instructed, vec!["max_output_tokens".to_owned()]));
    let said = json!({"model": "m", "store": true, "instructions": "Be brief."});
    let (after, losses, _) = fitted("openai-codex", Dialect::Responses, said);
    assert_eq!((after, losses.changed), (json!({"model": "m", "store": false, "instructions": "Be brief."}), vec!["store".to_owned()]));
    for (effort, dropped) in [("low", &["temperature"][..]), ("none", &[])] {
        let body = json!({"model": "gpt-5.2", "temperature": 0.5, "reasoning": {"effort": effort}});
        assert_eq!(fitted("openai", Dialect::Responses, body).1.dropped, dropped, "{effort}");
    }
    let messages = json!({"model": "m", "max_tokens": 5, "top_k": 3});
    assert_eq!(fitted("openrouter", Dialect::Messages, messages.clone()).0, messages);
    let (_, losses, _) =
        fitted("groq", Dialect::Chat, json!({"n": 1, "logprobs": false, "messages": [{"role": "user", "name": "ann", "content": ""}]}));
    assert_eq!(losses.dropped, ["messages[0].name"]);
}

/// Any JSON, small.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z]{0,9}".prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let key = prop_oneof!["role", "id", "tool_calls", "tool_call_id", "name", "reasoning_content", "[a-z]{0,4}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..4).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_body_makes_it_panic_and_twice_is_once(
        name in prop::sample::select(providers().map(|row| row.name).collect::<Vec<_>>()),
        wire in prop::sample::select(Dialect::ALL.to_vec()),
        fields in prop::collection::vec((prop::sample::select(vec![
            "model", "messages", "stop", "tool_choice", "max_tokens", "max_completion_tokens", "reasoning_effort", "temperature", "n", "top_k",
        ]), any_json()), 0..8),
        budget in prop::option::of(0_u32..9),
    ) {
        let asked = Reasoning { budget_tokens: budget, ..Reasoning::default() };
        let mut once = Value::Object(fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect());
        let before = once.clone();
        let mut losses = Losses::default();
        let done = fit(&provider(name), wire, &asked, &mut once, &mut losses);
        prop_assert_eq!(done.iter().filter(|d| d.how == How::Dropped).count(), losses.dropped.len());
        prop_assert!(!done.is_empty() || once == before, "changed without a word");
        let mut twice = once.clone();
        fit(&provider(name), wire, &asked, &mut twice, &mut losses);
        prop_assert_eq!(once, twice);
    }
}
