//! The corpus: every case in each dialect that has it, to every wire. One snapshot a case.
//!
//! `golden/<case>/in.<dialect>.json` are requests, `answer.<dialect>.json` whole answers and `stream.<dialect>.sse` streams of upstreams.

use std::{fmt::Write, fs, path::PathBuf};

use serde_json::Value;
use wire::{
    Dialect,
    ir::{Event, Finish},
    losses::Losses,
};

use crate::{answer_facts, answers, facts};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// All files `<kind>.<dialect>.*`: case, dialect, content.
pub(crate) fn files(kind: &str) -> Vec<(String, Dialect, Vec<u8>)> {
    let mut cases: Vec<_> = fs::read_dir(root()).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
    cases.sort();
    let mut out = Vec::new();
    for case in cases {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        for dialect in Dialect::ALL {
            let ending = if kind == "stream" { "sse" } else { "json" };
            if let Ok(bytes) = fs::read(case.join(format!("{kind}.{}.{ending}", dialect.name()))) {
                out.push((name.clone(), dialect, bytes));
            }
        }
    }
    out
}

/// The requests of the corpus.
pub(crate) fn requests() -> Vec<(String, Dialect, Value)> {
    files("in").into_iter().map(|(name, dialect, bytes)| (name, dialect, serde_json::from_slice(&bytes).unwrap())).collect()
}

/// JSON to read in a review: a line for each member, and for each object of a list.
fn lines(value: &Value) -> String {
    let Value::Object(members) = value else { return value.to_string() };
    let mut out = String::new();
    for (key, value) in members {
        match value.as_array().filter(|all| all.iter().any(Value::is_object)) {
            Some(all) => {
                let _ = writeln!(out, "  {key}:");
                for one in all {
                    let _ = writeln!(out, "    {one}");
                }
            }
            None => {
                let _ = writeln!(out, "  {key}: {value}");
            }
        }
    }
    out
}

/// Models whose name decides the form.
fn models(wire: Dialect, caller: Dialect) -> &'static [&'static str] {
    match (wire, caller) {
        (Dialect::Gemini, Dialect::Gemini) | (Dialect::Chat | Dialect::Responses | Dialect::Messages, _) => &["m"],
        (Dialect::Gemini, _) => &["m", "gemini-2.0-flash"],
    }
}

fn by_case<T>(all: Vec<(String, T)>) -> Vec<(String, Vec<T>)> {
    let mut out: Vec<(String, Vec<T>)> = Vec::new();
    for (name, one) in all {
        match out.last_mut() {
            Some((last, list)) if *last == name => list.push(one),
            _ => out.push((name, vec![one])),
        }
    }
    out
}

#[test]
fn requests_to_every_wire() {
    let all = requests().into_iter().map(|(name, dialect, body)| (name, (dialect, body))).collect();
    for (name, bodies) in by_case(all) {
        let mut shown = String::new();
        for (caller, body) in bodies {
            for wire in Dialect::ALL {
                for model in models(wire, caller) {
                    let request =
                        caller.decode_request(body.to_string().as_bytes(), model, false).unwrap_or_else(|e| panic!("{name}: {e}"));
                    let request = wire::ir::Request { model: (*model).to_owned(), ..request };
                    let title = format!(
                        "{} to {}{}",
                        caller.name(),
                        wire.name(),
                        if *model == "m" { String::new() } else { format!(" ({model})") }
                    );
                    if let Err(refused) = wire.check_request(&request) {
                        let _ = writeln!(shown, "== {title}: refused, {refused}\n");
                        continue;
                    }
                    let mut losses = Losses::default();
                    let written = wire.encode_request(&request, &mut losses);
                    let _ = writeln!(shown, "== {title}: {}\n{}", losses.header(), lines(&written));
                    let got = wire
                        .decode_request(written.to_string().as_bytes(), model, request.stream)
                        .unwrap_or_else(|e| panic!("{name}, {title}: {e}"));
                    facts::compare(wire, &request, &got, &losses).unwrap_or_else(|e| panic!("{name}, {title}: {e}\n{written}"));
                }
            }
        }
        insta::with_settings!({snapshot_path => "../snapshots/corpus", prepend_module_to_snapshot => false, omit_expression => true}, {
            insta::assert_snapshot!(name, shown);
        });
    }
}

/// The events, one a line.
fn listed(events: &[Event]) -> String {
    events.iter().map(|e| serde_json::to_string(e).unwrap()).fold(String::new(), |out, line| format!("{out}  {line}\n"))
}

#[test]
fn answers_to_every_client() {
    let all = files("answer").into_iter().map(|(name, dialect, bytes)| (name, (dialect, bytes))).collect();
    for (name, bodies) in by_case(all) {
        let mut shown = String::new();
        for (upstream, body) in bodies {
            let events = match upstream.decode_response(&body) {
                Ok(events) if !matches!(events.last(), Some(Event::Failed { .. })) => events,
                Ok(events) => {
                    let _ = writeln!(shown, "== {}: {}", upstream.name(), listed(&events));
                    continue;
                }
                Err(failure) => {
                    let _ = writeln!(shown, "== {}: {failure}\n", upstream.name());
                    continue;
                }
            };
            answers::check(&events).unwrap_or_else(|e| panic!("{name} of {}: {e}", upstream.name()));
            let _ = writeln!(shown, "== {}\n{}", upstream.name(), listed(&events));
            for client in Dialect::ALL {
                let written = client.encode_response(&events);
                let losses = client.answer_losses(&events);
                let _ = writeln!(shown, "== {} to {}: {}\n{}", upstream.name(), client.name(), losses.header(), lines(&written));
                if client == Dialect::Responses && events.iter().any(|e| matches!(e, Event::Finish { reason: Finish::MalformedCall, .. })) {
                    continue;
                }
                let got =
                    client.decode_response(written.to_string().as_bytes()).unwrap_or_else(|e| panic!("{name} to {}: {e}", client.name()));
                answer_facts::compare(client, &events, &got).unwrap_or_else(|e| panic!("{name} of {}: {e}\n{written}", upstream.name()));
            }
        }
        insta::with_settings!({snapshot_path => "../snapshots/corpus", prepend_module_to_snapshot => false, omit_expression => true}, {
            insta::assert_snapshot!(format!("{name}.answer"), shown);
        });
    }
}

#[test]
fn streams_to_every_client() {
    let all = files("stream").into_iter().map(|(name, dialect, bytes)| (name, (dialect, bytes))).collect();
    for (name, streams) in by_case(all) {
        let mut shown = String::new();
        for (upstream, bytes) in streams {
            let events = answers::read(upstream, [&*bytes]);
            let text = String::from_utf8(bytes.clone()).unwrap();
            let title = format!("{name} of {}", upstream.name());
            assert_eq!(answers::read(upstream, bytes.chunks(1)), events, "{title} per byte");
            assert_eq!(answers::read(upstream, text.split_inclusive("\n\n").map(str::as_bytes)), events, "{title} per frame");
            answers::check(&events).unwrap_or_else(|e| panic!("{title}: {e}\n{}", listed(&events)));
            let _ = writeln!(shown, "== {}\n{}", upstream.name(), listed(&events));
            for client in Dialect::ALL {
                let written = answers::written(client, &events);
                let losses = client.answer_losses(&events);
                let _ = writeln!(
                    shown,
                    "== {} to {}: {}\n{}",
                    upstream.name(),
                    client.name(),
                    losses.header(),
                    String::from_utf8_lossy(&written)
                );
                let got = answers::read(client, [&*written]);
                answers::check(&got).unwrap_or_else(|e| panic!("{title} to {}: {e}", client.name()));
                answer_facts::compare(client, &events, &got).unwrap_or_else(|e| panic!("{title}: {e}"));
            }
        }
        insta::with_settings!({snapshot_path => "../snapshots/corpus", prepend_module_to_snapshot => false, omit_expression => true}, {
            insta::assert_snapshot!(format!("{name}.stream"), shown);
        });
    }
}

#[test]
fn a_stream_and_a_whole_answer_say_the_same() {
    let whole: Vec<_> = files("answer");
    for (name, dialect, bytes) in files("stream") {
        let Some((.., body)) = whole.iter().find(|(n, d, _)| *n == name && *d == dialect) else { continue };
        // What was blocked before is no answer that a stream could begin.
        let Ok(one) = dialect.decode_response(body) else { continue };
        let mut other = answer_facts::facts(&answers::read(dialect, [&*bytes]));
        let mut one = answer_facts::facts(&one);
        one.sort();
        other.sort();
        let differs =
            ["answer-filter", "answer-malformed", "answer-server-tools", "answer-citations", "error-before"].contains(&name.as_str());
        assert!(
            one == other || (dialect == Dialect::Gemini && differs) || name == "error-before",
            "{name} of {}:\n{one:?}\n{other:?}",
            dialect.name()
        );
    }
}

#[test]
fn every_place_where_a_stream_is_cut_off_fails() {
    for (name, dialect, bytes) in files("stream") {
        let whole = answers::read(dialect, [&*bytes]);
        if !matches!(whole.last(), Some(Event::End)) {
            continue;
        }
        // Up to where the last word of the upstream begins.
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let end = match dialect {
            // Behind the last reason some servers leave the end mark out.
            Dialect::Chat => text.rfind("\"finish_reason\":\"").or_else(|| text.rfind("data: [DONE]")).unwrap(),
            Dialect::Responses | Dialect::Messages => text.trim_end().len() - 1,
            Dialect::Gemini => text.rfind("\"finishReason\"").unwrap_or_else(|| text.find("\"blockReason\"").unwrap()),
        };
        for at in 0..end {
            let events = answers::read(dialect, [&bytes[..at]]);
            let has_failed = matches!(events.last(), Some(Event::Failed { code: Some(code), .. }) if code == "stream_truncated");
            assert!(has_failed, "{name} of {} cut at {at}: {:?}", dialect.name(), events.last());
            answers::check(&events).unwrap_or_else(|e| panic!("{name} of {} cut at {at}: {e}", dialect.name()));
        }
    }
}
