//! Every row as it comes out: addresses and credentials of each wire, what its errors mean, what its limits say.

use std::{fmt::Write, time::SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;
use wire::Dialect;

use crate::{
    Account,
    account::tests::account,
    catalog::{self, Provider},
    limits, message_of,
};

/// Errors and headers as the providers' references show them, by provider.
const SAMPLES: &str = include_str!("goldens/samples.json");

/// When the samples' answers came: Thu, 01 Jan 2026 00:00:00 GMT.
const NOW_S: u64 = 1_767_225_600;

#[test]
fn every_row_comes_out_as_it_should() {
    let samples: Value = serde_json::from_str(SAMPLES).unwrap();
    for row in catalog::providers() {
        let home = config::providers::provider(row.name).is_some_and(|p| !p.default_base.is_empty());
        let base = if home { "" } else { ", base_url: 'https://host.example'" };
        let mut out = String::new();
        addresses(&mut out, row, &account(&format!("provider: {}, api_key: k{base}", row.name)));
        if row.name == "azure" {
            out.push_str("\nwith api_version 2024-10-21\n");
            addresses(&mut out, row, &account(&format!("provider: azure, api_key: k, api_version: '2024-10-21'{base}")));
        }
        let sample = if row.name == "grok" { &samples["groq"] } else { &samples[row.name] };
        errors(&mut out, row, sample);
        limits_said(&mut out, sample);
        insta::assert_snapshot!(row.name, out);
    }
}

#[test]
fn every_sample_is_of_a_row_that_cites_its_sources() {
    let samples: Value = serde_json::from_str(SAMPLES).unwrap();
    let samples = samples.as_object().unwrap();
    for name in samples.keys() {
        assert_eq!(catalog::provider(name).name, name);
    }
    for row in catalog::providers().filter(|row| !["grok", "node", "agent", "backend", "openai-codex"].contains(&row.name)) {
        let errors = samples[row.name]["errors"].as_array().map_or(0, Vec::len);
        assert!(errors >= 2, "{} has {errors} errors", row.name);
    }
}

fn addresses(out: &mut String, row: &Provider, own: &Account) {
    let rebased = row.rebased.iter().map(|r| r.wire);
    for wire in Dialect::ALL.into_iter().filter(|w| row.wires.contains(w) || row.may.contains(w) || rebased.clone().any(|r| r == *w)) {
        let _ = writeln!(out, "{}", wire.name());
        let mut show = |what: &str, path: &str, streams: bool| {
            let request = own.post(wire, path, Bytes::from_static(br#"{"model":"m"}"#), streams).unwrap();
            let _ = writeln!(out, "  {what:<11} POST {}", request.uri());
            request
        };
        let request = show("unary", &wire.path("m", false), false);
        show("stream", &wire.path("m", true), true);
        if own.counts_tokens(wire) {
            let path = if wire == Dialect::Gemini { "/models/m:countTokens" } else { "/messages/count_tokens" };
            show("count", path, false);
        }
        if wire == Dialect::Chat {
            show("completions", "/completions", false);
            show("embeddings", "/embeddings", false);
        }
        for (name, value) in request.headers().iter().filter(|(name, _)| !["accept", "content-type"].contains(&name.as_str())) {
            let _ = writeln!(out, "  {name}: {}", value.to_str().unwrap());
        }
    }
}

fn errors(out: &mut String, row: &Provider, sample: &Value) {
    for error in sample["errors"].as_array().into_iter().flatten() {
        let status = StatusCode::from_u16(error["status"].as_u64().unwrap() as u16).unwrap();
        let body = body_of(&error["body"]);
        let judgement = crate::judge(row, status, &body, &[]);
        let kind = judgement.kind.map_or("", crate::Kind::name);
        let _ = writeln!(out, "\n{} {}", status.as_u16(), String::from_utf8_lossy(&body));
        let _ = writeln!(out, "  {:?}, {kind}: {}", judgement.verdict, message_of(&body).unwrap_or_default());
    }
}

fn limits_said(out: &mut String, sample: &Value) {
    let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(NOW_S);
    for answer in sample["limits"].as_array().into_iter().flatten() {
        let pairs = answer["headers"].as_object().into_iter().flatten();
        let headers: HeaderMap =
            pairs.map(|(n, v)| (n.parse::<HeaderName>().unwrap(), HeaderValue::from_str(v.as_str().unwrap()).unwrap())).collect();
        out.push('\n');
        for (name, value) in &headers {
            let _ = writeln!(out, "{name}: {}", value.to_str().unwrap());
        }
        let body = if answer["body"].is_null() { Vec::new() } else { body_of(&answer["body"]) };
        if !body.is_empty() {
            let _ = writeln!(out, "{}", String::from_utf8_lossy(&body));
        }
        let read = limits(&headers, &body, now);
        let _ = writeln!(
            out,
            "  requests {:?}\n  tokens {:?}\n  retry after {:?}, wait {:?}",
            read.requests,
            read.tokens,
            read.retry_after,
            read.wait()
        );
    }
}

fn body_of(body: &Value) -> Vec<u8> {
    body.as_str().map_or_else(|| body.to_string().into_bytes(), |text| text.as_bytes().to_vec())
}
