//! What a request says, one line per fact, each under the path that a loss of it would name.
//!
//! Two requests say the same if their lines are the same. The lines leave out what means nothing: borders of messages, empty texts, labels
//! (ids of calls and items, a schema's name, the name that a result repeats), members that say a default, and whether thoughts are shown.

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use wire::{
    Dialect,
    ir::{Block, Family, Format, Media, Request, Role, Source, State, Tool, ToolChoice},
    losses::Losses,
};

#[derive(Debug, Clone)]
pub(crate) struct Fact {
    pub(crate) path: String,
    pub(crate) line: String,
}

#[derive(Default)]
struct Facts {
    out: Vec<Fact>,
    /// Id of a call → its number in the conversation.
    calls: HashMap<String, usize>,
    count: usize,
}

impl Facts {
    fn say(&mut self, path: impl Into<String>, line: impl Into<String>) {
        self.out.push(Fact { path: path.into(), line: line.into() });
    }
}

/// The request with its functions' names as the caller gave them: an encoder may have had to escape them, and answers bring them back.
fn with_plain_names(wire: Dialect, sent: &Request, request: &Request) -> Request {
    let mut out = request.clone();
    let is_escaped = wire == Dialect::Messages || sent.family.is_some_and(|f| f != wire.family());
    let plain = |name: &str| match wire {
        Dialect::Gemini => name.strip_prefix("x__").and_then(|rest| bytes_of(rest, ':')),
        _ => name.strip_prefix("esc_").filter(|_| is_escaped).and_then(|rest| bytes_of(rest, '_')),
    };
    let restore = |name: &mut String| *name = plain(name).unwrap_or_else(|| name.clone());
    out.tools.iter_mut().for_each(|tool| restore(&mut tool.name));
    if let ToolChoice::Function(name) = &mut out.tool_choice {
        restore(name);
    }
    for block in out.messages.iter_mut().flat_map(|m| &mut m.blocks) {
        if let Block::ToolCall { name, .. } = block {
            restore(name);
        }
    }
    out
}

/// Undoes escapes of a sign and two hex digits.
fn bytes_of(text: &str, sign: char) -> Option<String> {
    let mut parts = text.split(sign);
    let mut out = parts.next()?.as_bytes().to_vec();
    for part in parts {
        out.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        out.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(out).ok()
}

/// All facts of a request.
pub(crate) fn facts(request: &Request) -> Vec<Fact> {
    let mut facts = Facts::default();
    facts.say("model", format!("model {}", request.model));
    facts.say("stream", format!("stream {}", request.stream));
    let mut begun = false;
    for (index, message) in request.messages.iter().enumerate() {
        let path = format!("messages[{index}]");
        let role = match message.role {
            Role::System | Role::Developer if begun => "late system",
            Role::System | Role::Developer => "system",
            Role::User | Role::Tool => "user",
            Role::Assistant => "assistant",
        };
        begun |= !matches!(message.role, Role::System | Role::Developer);
        if let Some(name) = message.name.as_ref().filter(|_| message.role != Role::Tool) {
            facts.say(format!("{path}.name"), format!("name {name}"));
        }
        for (at, block) in message.blocks.iter().enumerate() {
            facts.block(role, block, &format!("{path}.blocks[{at}]"));
        }
    }
    facts.tools(request);
    facts.generation(request);
    facts.reasoning(request);
    match &request.format {
        Format::Text => {}
        Format::Json => facts.say("format", "format json"),
        Format::Schema { schema, .. } => facts.say("format.schema", format!("format {}", canonical(schema))),
    }
    if let Some(user) = &request.user {
        facts.say("user", format!("user {user}"));
    }
    for (key, value) in request.extra.iter().filter(|(key, value)| !says_nothing(request.family, key, value)) {
        facts.say(key, format!("own {} {}", twin(key), canonical(&own_form(key, value))));
    }
    facts.out
}

impl Facts {
    fn block(&mut self, role: &str, block: &Block, path: &str) {
        match block {
            Block::Text { text } if text.is_empty() => {}
            Block::Text { text } => self.say(path, format!("{role} text {text}")),
            Block::Refusal { text } if text.is_empty() => {}
            Block::Refusal { text } => self.say(path, format!("refusal {text}")),
            Block::Reasoning { text, state } => {
                if !text.is_empty() {
                    self.say(path, format!("thought {text}"));
                }
                self.state(state.as_ref(), path);
            }
            Block::ToolCall { id, name, arguments, state } => {
                let number = self.count;
                self.count += 1;
                self.calls.insert(id.clone(), number);
                self.say(path, format!("call {number} {name}"));
                self.say(format!("{path}.arguments"), format!("arguments of {number} {}", arguments_of(arguments)));
                self.state(state.as_ref(), path);
            }
            Block::ToolResult { call_id, blocks, is_error, .. } => {
                let call = self.calls.get(call_id).map_or_else(|| "?".to_owned(), ToString::to_string);
                self.say(path, format!("result of {call}"));
                if *is_error {
                    self.say(format!("{path}.is_error"), format!("error of {call}"));
                }
                for (at, block) in blocks.iter().enumerate() {
                    self.block(&format!("result of {call}"), block, &format!("{path}.blocks[{at}]"));
                }
            }
            Block::CacheMark { ttl } => self.say(format!("{path}.cache_control"), format!("mark {}", ttl.as_deref().unwrap_or_default())),
            Block::Media(media) => self.media(role, media, path),
            Block::Opaque { family, value } => self.say(path, format!("opaque {family:?} {}", canonical(&without_labels(value)))),
        }
    }

    fn state(&mut self, state: Option<&State>, path: &str) {
        if let Some(State { family, signature, encrypted, .. }) = state.filter(|s| s.signature.is_some() || s.encrypted.is_some()) {
            self.say(format!("{path}.state"), format!("state {family:?} {signature:?} {encrypted:?}"));
        }
    }

    fn media(&mut self, role: &str, media: &Media, path: &str) {
        let source = match &media.source {
            Source::Base64(data) => format!("{} {data}", kind_of(media)),
            Source::Url(url) | Source::File(url) => url.clone(),
        };
        self.say(path, format!("{role} media {source}"));
        if let Some(detail) = media.detail.as_ref().filter(|d| *d != "auto") {
            self.say(format!("{path}.detail"), format!("detail {detail} of {source}"));
        }
        if let Some(name) = &media.file_name {
            self.say(format!("{path}.file_name"), format!("file name {name} of {source}"));
        }
    }

    fn tools(&mut self, request: &Request) {
        for (at, Tool { name, description, parameters, strict, cache }) in request.tools.iter().enumerate() {
            let path = format!("tools[{at}]");
            self.say(format!("{path}.name"), format!("tool {name}"));
            self.say(format!("{path}.description"), format!("tool {name} does {description:?}"));
            let schema = if is_empty_schema(parameters) { "nothing".to_owned() } else { canonical(parameters) };
            self.say(format!("{path}.parameters"), format!("tool {name} takes {schema}"));
            if *strict == Some(true) {
                self.say(format!("{path}.strict"), format!("tool {name} is strict"));
            }
            if let Some(ttl) = cache {
                self.say(format!("{path}.cache_control"), format!("mark {ttl}"));
            }
        }
        match &request.tool_choice {
            ToolChoice::Unset | ToolChoice::Auto => {}
            ToolChoice::None if request.tools.is_empty() => {}
            choice => self.say("tool_choice", format!("choose {choice:?}")),
        }
        if request.parallel_tool_calls == Some(false) && !request.tools.is_empty() && request.tool_choice != ToolChoice::None {
            self.say("parallel_tool_calls", "one call at a time");
        }
    }

    fn generation(&mut self, request: &Request) {
        let g = &request.generation;
        let other = |value: Option<f64>, default: f64| value.filter(|v| (v - default).abs() > f64::EPSILON);
        for (name, value) in [
            ("max_tokens", g.max_tokens.map(|n| n.to_string())),
            ("temperature", other(g.temperature, 1.0).map(|n| n.to_string())),
            ("top_p", other(g.top_p, 1.0).map(|n| n.to_string())),
            ("top_k", g.top_k.map(|n| n.to_string())),
            ("presence_penalty", other(g.presence_penalty, 0.0).map(|n| n.to_string())),
            ("frequency_penalty", other(g.frequency_penalty, 0.0).map(|n| n.to_string())),
            ("seed", g.seed.map(|n| n.to_string())),
            ("stop", (!g.stop.is_empty()).then(|| format!("{:?}", g.stop))),
            ("n", g.n.filter(|n| *n != 1).map(|n| n.to_string())),
            ("logprobs", g.logprobs.map(|n| n.to_string())),
        ] {
            if let Some(value) = value {
                self.say(name, format!("{name} {value}"));
            }
        }
    }

    fn reasoning(&mut self, request: &Request) {
        let wish = &request.reasoning;
        match (wish.effort.as_deref(), wish.budget_tokens) {
            (Some("none"), _) | (None, Some(0)) => self.say("reasoning.effort", "thinking off"),
            (effort, budget) => {
                if let Some(effort) = effort {
                    self.say("reasoning.effort", format!("thinking {effort}"));
                }
                if let Some(budget) = budget {
                    self.say("reasoning.budget_tokens", format!("thinking {budget} tokens"));
                }
            }
        }
    }
}

/// The kind of a file, as far as all dialects know it.
fn kind_of(media: &Media) -> String {
    let ending = media.file_name.as_deref().and_then(|n| n.rsplit_once('.')).map(|(_, e)| e);
    match media.mime.as_str() {
        "image/jpg" => "image/jpeg",
        "audio/mp3" => "audio/mpeg",
        "application/octet-stream" if ending == Some("pdf") => "application/pdf",
        // One kind of document in Messages.
        "application/json" | "application/xml" => "text",
        text if text.starts_with("text/") => "text",
        "application/octet-stream" if matches!(ending, Some("txt" | "md" | "csv" | "json" | "html")) => "text",
        other => other,
    }
    .to_owned()
}

fn is_empty_schema(schema: &Value) -> bool {
    let members = schema.as_object();
    members.is_none_or(|m| m.iter().all(|(k, v)| (k == "type" && v == "object") || (k == "properties" && *v == json!({}))))
}

/// Arguments as JSON with its members in order, or the text where it is none.
fn arguments_of(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(value) => canonical(&value),
        Err(_) if text.trim().is_empty() => "{}".to_owned(),
        Err(_) => text.to_owned(),
    }
}

/// JSON with members in order.
pub(crate) fn canonical(value: &Value) -> String {
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Object(members) => {
                let mut pairs: Vec<_> = members.iter().collect();
                pairs.sort_by_key(|(k, _)| k.as_str());
                Value::Object(pairs.into_iter().map(|(k, v)| (k.clone(), sorted(v))).collect::<Map<_, _>>())
            }
            Value::Array(all) => all.iter().map(sorted).collect(),
            other => other.clone(),
        }
    }
    sorted(value).to_string()
}

/// Ids and the status of items are the server's labels.
fn without_labels(value: &Value) -> Value {
    let mut value = value.clone();
    if let Some(members) = value.as_object_mut().filter(|m| m.contains_key("call_id")) {
        members.shift_remove("id");
        members.shift_remove("status");
    }
    value
}

/// Members that ask for nothing. Kept apart from the product's own list, which it must agree with.
fn says_nothing(family: Option<Family>, key: &str, value: &Value) -> bool {
    let openai = matches!(family, Some(Family::Chat | Family::Responses));
    match (key, value) {
        ("models" | "provider" | "route" | "cache" | "timeout_ms" | "guardrails", _) | (_, Value::Null) => true,
        (_, Value::Array(all)) if all.is_empty() => true,
        ("metadata" | "labels" | "logit_bias" | "chat_template_kwargs", Value::Object(members)) => members.is_empty(),
        ("store" | "background" | "stream_options.include_obfuscation", Value::Bool(false)) => openai,
        ("service_tier", Value::String(tier)) => tier == "auto" && family != Some(Family::Gemini),
        ("verbosity" | "text.verbosity", Value::String(word)) => word == "medium",
        ("truncation", Value::String(word)) => word == "disabled",
        ("reasoning.context", Value::String(word)) => word == "auto",
        ("reasoning.mode", Value::String(word)) => word == "standard",
        ("include", value) => *value == json!(["reasoning.encrypted_content"]),
        ("modalities", value) => *value == json!(["text"]),
        ("generationConfig.responseModalities", value) => *value == json!(["TEXT"]),
        ("generationConfig.thinkingConfig.thinkingBudget", value) => *value == json!(-1),
        ("thinking", Value::Object(members)) => members.keys().all(|k| k == "type" || k == "display"),
        _ => false,
    }
}

/// The name that a member has in OpenAI's other dialect too.
fn twin(key: &str) -> &str {
    match key {
        "text.verbosity" => "verbosity",
        "response_format.json_schema.description" => "text.format.description",
        other => other,
    }
}

/// A custom tool in one form.
fn own_form(key: &str, value: &Value) -> Value {
    let Some(custom) = value.get("custom").filter(|c| c.is_object() && (key.starts_with("tools[") || key == "tool_choice")) else {
        return value.clone();
    };
    let mut out = custom.clone();
    out["type"] = "custom".into();
    if let Some(Value::Object(grammar)) = out["format"].get("grammar").cloned() {
        let mut format = json!({"type": "grammar"});
        grammar.into_iter().for_each(|(k, v)| format[k] = v);
        out["format"] = format;
    } else if out["format"].is_null() {
        out.as_object_mut().map(|m| m.shift_remove("format"));
    }
    out
}

/// Whether what is said of one path is said of another: the same or one that it belongs to.
fn covers(said: &str, path: &str) -> bool {
    path.strip_prefix(said).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Compares what went in with what came out: every difference is named, and every name is a difference.
pub(crate) fn compare(wire: Dialect, sent: &Request, got: &Request, losses: &Losses) -> Result<(), String> {
    let (mut before, mut after) = (facts(sent), facts(&with_plain_names(wire, sent, got)));
    let mut gone = Vec::new();
    let said: Vec<&String> = losses.dropped.iter().chain(&losses.changed).collect();
    // A member of the caller's own, such as its `tools[0]`, is no part of the inner language's tool of that number.
    // `messages` alone is the user's first word that was put in.
    let covers_of = |said: &str, path: &str| {
        if said == "messages" || path == "messages" || sent.extra.contains_key(said) || sent.extra.contains_key(path) {
            said == path
        } else {
            covers(said, path)
        }
    };
    // Of two facts alike, the one that is called lost is lost.
    before.sort_by_key(|fact| said.iter().any(|s| covers_of(s, &fact.path)));
    for fact in before {
        // Dialects with instructions anywhere keep their order.
        let is_moved = matches!(wire, Dialect::Chat | Dialect::Responses) && fact.line.starts_with("late ");
        let same = |f: &Fact| {
            f.line == fact.line
                || (is_moved && f.line == fact.line[5..])
                || (fact.line.starts_with("thought ") && f.line.starts_with("thought ") && f.line.contains(&fact.line[8..]))
        };
        match after.iter().position(same) {
            // Several thoughts may have become one.
            Some(at) if !fact.line.starts_with("thought ") || after[at].line == fact.line => drop(after.remove(at)),
            Some(_) => {}
            None => gone.push(fact),
        }
    }
    after.retain(|f| !f.line.starts_with("thought ") || gone.iter().any(|g| g.line.starts_with("thought ")));
    for fact in &gone {
        if is_equal_schema(wire, sent, got, fact) {
            continue;
        }
        if !said.iter().any(|s| covers_of(s, &fact.path)) {
            return Err(format!("{} ({}) is gone without a word; said: {said:?}", fact.path, fact.line));
        }
    }
    for path in &said {
        let is_real = gone.iter().any(|g| covers_of(path, &g.path) || covers_of(&g.path, path));
        if !is_real && !is_warning(wire, sent, got, path, &after) {
            return Err(format!("{path} is called a loss, but nothing differs; said: {said:?}; gone: {gone:?}; new: {after:?}"));
        }
    }
    added(sent, &after, &gone, losses)
}

/// What is new must stand for something that is gone.
fn added(sent: &Request, after: &[Fact], gone: &[Fact], losses: &Losses) -> Result<(), String> {
    let kind = |fact: &Fact| fact.path.split(['[', '.']).next().unwrap_or_default().to_owned();
    // A name that an encoder had to make up is a label, and a signature a stand-in.
    // And OpenAI wants the word JSON beside the format.
    let is_wish = |line: &str| sent.format == Format::Json && line.ends_with("Answer with one JSON object and nothing else.");
    let is_made_up = |fact: &&Fact| {
        fact.line.starts_with("file name file.") || fact.line.contains("skip_thought_signature_validator") || is_wish(&fact.line)
    };
    for fact in after.iter().filter(|f| !is_made_up(f)) {
        let stands_for = gone.iter().any(|g| kind(g) == kind(fact));
        let is_said =
            losses.changed.iter().any(|s| covers(s, &fact.path) || *s == kind(fact) || (s == "format" && kind(fact) == "messages"));
        let is_free = match kind(fact).as_str() {
            // Messages needs a limit.
            "max_tokens" => sent.generation.max_tokens.is_none(),
            // In Messages, thinking without an effort is thinking with a high one.
            "reasoning" => sent.reasoning.shown == Some(true),
            _ => false,
        };
        if !(stands_for || is_said || is_free) {
            return Err(format!("{} ({}) came from nowhere", fact.path, fact.line));
        }
    }
    Ok(())
}

/// Reduced schemas may have another form with the same meaning.
fn is_equal_schema(wire: Dialect, sent: &Request, got: &Request, fact: &Fact) -> bool {
    let reduced = |schema: &Value| canonical(&wire::gemini::schema::to_openapi(schema).0);
    if wire != Dialect::Gemini {
        return false;
    }
    match (&sent.format, &got.format) {
        (Format::Schema { schema: a, .. }, Format::Schema { schema: b, .. }) if fact.path == "format.schema" => reduced(a) == reduced(b),
        _ => {
            let of = |request: &Request| {
                let at: usize = fact.path.strip_prefix("tools[")?.strip_suffix("].parameters")?.parse().ok()?;
                request.tools.get(at).map(|t| reduced(&t.parameters))
            };
            of(sent).is_some() && of(sent) == of(got)
        }
    }
}

/// What is named although both say it.
fn is_warning(wire: Dialect, sent: &Request, got: &Request, path: &str, after: &[Fact]) -> bool {
    let block = |request: &Request| -> Option<Block> {
        let (message, rest) = path.strip_prefix("messages[")?.split_once("].blocks[")?;
        let (block, rest) = rest.split_once(']')?;
        let mut found = request.messages.get(message.parse::<usize>().ok()?)?.blocks.get(block.parse::<usize>().ok()?)?.clone();
        if let (Some(inner), Block::ToolResult { blocks, .. }) = (rest.strip_prefix(".blocks["), &found) {
            found = blocks.get(inner.trim_end_matches(']').parse::<usize>().ok()?)?.clone();
        }
        Some(found)
    };
    match path {
        // A first word of the user's was put in.
        "messages" => !after.is_empty(),
        // The effort stays, thinking itself is off.
        "reasoning" => got.reasoning.shown != Some(true) && sent.reasoning.shown != Some(false),
        _ => match block(sent) {
            // Google opens some addresses itself, others not.
            Some(Block::Media(Media { source: Source::Url(_), .. })) => wire == Dialect::Gemini,
            // Messages shortens what the model is to go on with.
            Some(Block::ToolResult { blocks, .. }) => {
                wire == Dialect::Gemini && blocks.iter().any(|b| matches!(b, Block::Media(Media { source: Source::Url(_), .. })))
            }
            _ => false,
        },
    }
}
