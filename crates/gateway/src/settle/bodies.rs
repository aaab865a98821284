//! Texts of requests as they are written down: streams put together, secrets masked, or only their shape. Behind the path.

use std::{borrow::Cow, sync::LazyLock};

use config::{Secret, config::HistoryBodies};
use journey::{BODY_BYTES_MAX, Kept, Operation, Receipt, Said};
use memchr::{
    memchr2_iter,
    memmem::{self, Finder},
};
use serde_json::Value;
use store::bodies::Bodies;
use wire::{Dialect, dialect::Decoder, ir::Event};

use crate::{
    render,
    snapshot::{House, MASTER},
};

/// Members whose words say of which kind something is, not what somebody said: redacted texts keep them if they are short.
const KINDS: [&str; 10] = ["model", "role", "type", "object", "id", "name", "finish_reason", "stop_reason", "finishReason", "status"];
const KIND_BYTES_MAX: usize = 128;

/// What keys begin with, each with a sign of its own at its end, longer ones first; how many letters more make one.
const SIGNED: [&[u8]; 8] = [b"gsk_", b"xai-", b"ghp_", b"sk_", b"sk-", b"nt_", b"jt_", b"hf_"];
/// One without a sign.
const UNSIGNED: &[u8] = b"AIza";
static UNSIGNED_FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(UNSIGNED));
const SECRET_LETTERS: usize = 16;

/// Shorter credentials are words like any other.
const SECRET_BYTES_MIN: usize = 8;

/// The texts of a request and of its answer, of what was kept of them.
pub fn of(receipt: &Receipt, kept: &Kept, house: &House) -> Option<Bodies> {
    let wire = kept.far.as_ref().map(|far| far.wire);
    let (answer, is_told_cut) = match &kept.far.as_ref().map(|far| far.kept()) {
        Some(far) if let Said::Told(story) = &far.answer => {
            (Cow::Owned(told(receipt, wire, story.events(), &kept.answer)), far.is_answer_cut)
        }
        _ => (answer(kept, receipt.operation, &receipt.request_id), false),
    };
    let secrets = Secrets::of(receipt, kept, house);
    let written = |bytes: &[u8], goes_on| match kept.is_redacted {
        _ if bytes.is_empty() => None,
        true => shape(bytes),
        false => Some(secrets.masked(cut(bytes, goes_on)).into_owned()),
    };
    let (upstream_request, upstream_response) = match &kept.far {
        None => (None, None),
        Some(far) => {
            let kept = far.kept();
            let answer = self::answer(&kept, Operation::Generate(far.wire), &receipt.request_id);
            (written(&kept.request, kept.is_request_cut), written(&answer, goes_on(&kept)))
        }
    };
    Some(Bodies {
        request: written(&kept.request, kept.is_request_cut),
        response: written(&answer, goes_on(kept)),
        upstream_request,
        upstream_response,
        is_request_cut: kept.is_request_cut,
        is_response_cut: kept.is_answer_cut || is_told_cut || answer.len() > BODY_BYTES_MAX,
    })
}

/// Whether a sign says that there was more of an answer. A stream that was cut has become a whole, so that none fits into it.
fn goes_on(kept: &Kept) -> bool {
    kept.is_answer_cut && !matches!(kept.answer, Said::Stream(_) | Said::Told(_))
}

/// A text that was kept elsewhere, as this router would keep it.
pub fn kept_elsewhere(text: &str, bodies: HistoryBodies) -> Option<String> {
    match bodies {
        HistoryBodies::None => None,
        HistoryBodies::Redacted => shape(text.as_bytes()),
        HistoryBodies::Full => Some(without_keys(cut(text.as_bytes(), false)).into_owned()),
    }
}

/// A text of a person, with everything that looks like a key masked.
pub fn without_keys(text: Cow<'_, str>) -> Cow<'_, str> {
    let found = keys(text.as_bytes());
    if found.is_empty() {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = 0;
    for (start, end) in found {
        out.push_str(&text[rest..start]);
        out.push('…');
        rest = end;
    }
    out.push_str(&text[rest..]);
    out.into()
}

fn answer<'k>(kept: &'k Kept, operation: Operation, request_id: &str) -> Cow<'k, [u8]> {
    match &kept.answer {
        Said::Nothing => Cow::Borrowed(&[]),
        Said::Whole(bytes) => Cow::Borrowed(bytes),
        Said::Stream(frames) => assembled(frames, operation).map_or(Cow::Borrowed(frames), Cow::Owned),
        Said::Told(story) => Cow::Owned(render::whole(operation, story.events()).to_vec()),
        Said::Failure(failure) => Cow::Owned(operation.dialect().failure(failure, request_id).to_string().into_bytes()),
    }
}

/// What a translated stream told its caller, with the error that may have ended it.
fn told(receipt: &Receipt, wire: Option<Dialect>, events: &[Event], end: &Said) -> Vec<u8> {
    let mut events = events.to_vec();
    for event in &mut events {
        // Not every dialect says when it began.
        if let Event::Start { created: created @ 0, .. } = event {
            *created = receipt.received_at.as_second();
        }
    }
    if let (Some(wire), Some(model)) = (wire, &receipt.model_served) {
        let account = receipt.target.as_deref().filter(|_| receipt.node.is_none());
        dispatch::seal_as_sent((receipt.operation.dialect(), receipt.shape.thinks), wire, account, model, &mut events);
    }
    if let (Said::Stream(frames), Operation::Generate(dialect)) = (end, receipt.operation) {
        events.extend(read(frames, dialect).unwrap_or_default());
    }
    render::whole(receipt.operation, &events).to_vec()
}

/// The answer that a stream tells, as if it had not been streamed; `None` where it tells none.
fn assembled(frames: &[u8], operation: Operation) -> Option<Vec<u8>> {
    if operation == Operation::Completions {
        return Some(wire::completions::stream::assembled(frames)?.to_string().into_bytes());
    }
    let Operation::Generate(dialect) = operation else { return None };
    let events = read(frames, dialect)?;
    (!events.is_empty()).then(|| render::whole(operation, &events).to_vec())
}

/// `None`: they can't be read.
fn read(frames: &[u8], dialect: Dialect) -> Option<Vec<Event>> {
    let mut events = Vec::new();
    let mut decoder = Decoder::new(dialect);
    decoder.feed(frames, &mut events).ok()?;
    decoder.finish(&mut events);
    Some(events)
}

/// As much as is written down, with a sign where there was more.
fn cut(bytes: &[u8], goes_on: bool) -> Cow<'_, str> {
    let part = &bytes[..bytes.len().min(BODY_BYTES_MAX)];
    // Checked in words of the machine first: nearly all of it is sound.
    let text = std::str::from_utf8(part).map_or_else(|_| String::from_utf8_lossy(part), Cow::Borrowed);
    if goes_on || part.len() < bytes.len() { Cow::Owned(text.trim_end_matches('\u{fffd}').to_owned() + "…") } else { text }
}

/// JSON with its words taken out; `None` for anything else.
fn shape(bytes: &[u8]) -> Option<String> {
    let mut value = serde_json::from_slice(bytes).ok()?;
    redact(&mut value);
    Some(value.to_string())
}

/// Members whose objects are the caller's own all through: what a call was given, and what it came to.
const FREE: [&str; 6] = ["input", "args", "arguments", "response", "metadata", "labels"];

fn redact(value: &mut Value) {
    match value {
        Value::String(text) => *text = format!("[{} characters]", text.chars().count()),
        // Tokens and vectors say what was said as well as words do.
        Value::Array(all) if all.len() > 1 && all.iter().all(Value::is_number) => *value = format!("[{} numbers]", all.len()).into(),
        Value::Array(all) => all.iter_mut().for_each(redact),
        Value::Object(members) => {
            // A message's name is a person's; a function's is not.
            let is_message = members.contains_key("role");
            let is_kind = |name: &str, value: &Value| {
                value.as_str().is_some_and(|v| v.len() <= KIND_BYTES_MAX) && KINDS.contains(&name) && !(is_message && name == "name")
            };
            for (name, value) in members.iter_mut().filter(|(name, value)| !is_kind(name, value)) {
                if value.is_object() && FREE.contains(&&**name) { hide(value) } else { redact(value) }
            }
        }
        _ => {}
    }
}

/// Takes everything out but the names of members.
fn hide(value: &mut Value) {
    match value {
        Value::Number(_) => *value = "[a number]".into(),
        Value::Object(members) => members.iter_mut().for_each(|(_, value)| hide(value)),
        Value::Array(all) => all.iter_mut().for_each(hide),
        _ => redact(value),
    }
}

/// The credentials that a request and its answer may hold.
struct Secrets<'a> {
    /// The account that answered.
    account: Option<&'a upstream::Account>,
    /// The caller's own: a key that stands in the settings, or what it brought for the account.
    callers: Vec<&'a str>,
}

impl<'a> Secrets<'a> {
    fn of(receipt: &Receipt, kept: &'a Kept, house: &'a House) -> Self {
        let name = receipt.key.as_ref().map(|key| &*key.name);
        let auth = &house.config.auth;
        let fixed = auth.keys.iter().filter(|key| Some(&*key.name) == name).map(|key| key.secret.expose());
        // Which of them it was is not known any more.
        let master = auth.master_keys.iter().filter(|_| name == Some(MASTER)).map(Secret::expose);
        Self {
            account: receipt
                .target
                .as_ref()
                .or_else(|| Some(&receipt.attempts.last()?.target))
                .and_then(|name| house.accounts.get(name))
                .map(|a| &**a),
            callers: fixed.chain(master).chain(kept.lent.as_deref()).collect(),
        }
    }

    fn masked<'t>(&self, text: Cow<'t, str>) -> Cow<'t, str> {
        let mut text = without_keys(text);
        let own = match self.account.map(|account| account.masked(&text)) {
            Some(Cow::Owned(masked)) => Some(masked),
            _ => None,
        };
        text = own.map_or(text, Cow::Owned);
        for secret in self.callers.iter().filter(|secret| secret.len() >= SECRET_BYTES_MIN) {
            if memmem::find(text.as_bytes(), secret.as_bytes()).is_some() {
                text = Cow::Owned(text.replace(secret, "***"));
            }
        }
        text
    }
}

/// Where the letters of keys begin and end, what tells their kind left out. In order.
fn keys(text: &[u8]) -> Vec<(usize, usize)> {
    let is_letter = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let mut found: Vec<(usize, usize)> = Vec::new();
    let mut look = |start: usize, letters: usize| {
        // After an escape such as `\n` a word begins, though its last letter is one.
        let is_inside = start > 0 && is_letter(&text[start - 1]) && (start < 2 || text[start - 2] != b'\\');
        if is_inside {
            return;
        }
        let run = text[letters..].iter().take_while(|b| is_letter(b)).count();
        if run >= SECRET_LETTERS {
            found.push((letters, letters + run));
        }
    };
    for sign in memchr2_iter(b'_', b'-', text) {
        let before = &text[..=sign];
        if let Some(prefix) = SIGNED.iter().find(|prefix| before.ends_with(prefix)) {
            look(sign + 1 - prefix.len(), sign + 1);
        }
    }
    for start in UNSIGNED_FINDER.find_iter(text) {
        look(start, start + UNSIGNED.len());
    }
    found.sort_unstable();
    found.dedup_by(|next, before| next.0 < before.1);
    found
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use journey::Room;

    use super::*;

    fn text(frames: &[u8], operation: Operation) -> Option<String> {
        Some(String::from_utf8(assembled(frames, operation)?).unwrap())
    }

    #[test]
    fn streams_are_put_together() {
        let mut kept = Kept::of(Box::leak(Box::new(Room::new(1 << 20))), &Bytes::from_static(b"{}"), false).unwrap();
        kept.sent(b"data: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"Hel\"}}]}\n\n");
        kept.sent(b"data: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"lo\"}}]}\n\n");
        let Said::Stream(frames) = &kept.answer else { panic!("{kept:?}") };
        let chat: Value = serde_json::from_str(&text(frames, Operation::Generate(Dialect::Chat)).unwrap()).unwrap();
        assert_eq!(chat["choices"][0]["message"]["content"], "Hello", "{chat}");
        assert_eq!(text(frames, Operation::Other), None);
        let frames = b"data: {\"choices\":[{\"index\":0,\"text\":\"a\"}]}\n\ndata: {\"choices\":[{\"index\":0,\"text\":\"b\"}]}\n\n";
        assert!(text(frames, Operation::Completions).unwrap().contains("\"ab\""));
    }

    #[test]
    fn shapes_hold_no_words() {
        let asked = r#"{"model":"m","messages":[{"role":"user","content":"my secret"}],"n":2,"type":["odd"],"input":[[1,2,3],[4]]}"#;
        let expected = r#"{"model":"m","messages":[{"role":"user","content":"[9 characters]"}],"n":2,"type":["[3 characters]"],"input":["[3 numbers]",[4]]}"#;
        let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(parsed(&shape(asked.as_bytes()).unwrap()), parsed(expected));
        assert!(!shape(format!("{{\"id\":\"{}\"}}", "long ".repeat(99)).as_bytes()).unwrap().contains("long"));
        assert_eq!(shape(b"no JSON"), None);
        let call = r#"{"content":[{"type":"tool_use","id":"t","name":"look","input":{"name":"Robert","age":44,"status":["ill"]}}],"messages":[{"role":"user","name":"Robert"}]}"#;
        let hidden = r#"{"content":[{"type":"tool_use","id":"t","name":"look","input":{"name":"[6 characters]","age":"[a number]","status":["[3 characters]"]}}],"messages":[{"role":"user","name":"[6 characters]"}]}"#;
        assert_eq!(parsed(&shape(call.as_bytes()).unwrap()), parsed(hidden));
    }

    #[test]
    fn keys_are_masked_and_other_words_are_not() {
        let letters = "0123456789abcdefABCDEF0123456789";
        let masked = |text: &str| without_keys(Cow::Borrowed(text)).into_owned();
        for kind in ["sk_", "sk-", "nt_", "jt_", "gsk_", "hf_", "xai-", "ghp_", "AIza"] {
            let key = format!("{kind}{letters}");
            assert_eq!(masked(&format!("a {key}, \"{key}\" é\\n{key}")), format!("a {kind}…, \"{kind}…\" é\\n{kind}…"));
        }
        assert_eq!(masked(&format!("sk-nt_{letters}")), "sk-…");
        for same in ["task-force-of-very-long-words", "sk-short", "sk_", "", "risk_0123456789abcdefABCDEF", "sk-sk-sk_nt_"] {
            assert_eq!(masked(same), same);
        }
    }

    #[test]
    fn a_long_text_ends_with_a_sign() {
        let long = "é".repeat(BODY_BYTES_MAX);
        let kept = kept_elsewhere(&long, HistoryBodies::Full).unwrap();
        assert!(kept.ends_with("é…") && kept.len() <= BODY_BYTES_MAX + '…'.len_utf8(), "{}", kept.len());
        assert_eq!(kept_elsewhere("words", HistoryBodies::None), None);
    }
}
