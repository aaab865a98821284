//! The inner language → Messages JSON.

mod answer;
mod generation;
mod history;
mod part;
mod schema;
mod thinking;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

pub(super) use self::answer::stop;
pub use self::answer::{count, failure, kind_of_status, model, models, response};
use self::{history::History, part::Marks};
use crate::{
    extra,
    ir::{Block, Family, Format, Request, Tool, ToolChoice},
    json_wish,
    losses::Losses,
    names,
};

/// What `max_tokens` is where the request names no limit: room for a long answer that every model in service takes.
pub const MAX_TOKENS_DEFAULT: u32 = 8192;
/// Least `thinking.budget_tokens` that the API takes.
pub const THINKING_BUDGET_MIN: u32 = 1024;
/// What counting takes of a request.
pub(crate) const COUNTED: [&str; 7] = ["model", "messages", "system", "tools", "tool_choice", "thinking", "output_config"];
/// Most cache marks in one request.
pub const CACHE_MARKS_MAX: usize = 4;

/// Writes a request; what Messages cannot carry is noted (API reference, "Create a Message").
///
/// A schema's name and `strict: false` are no losses: the name is a label, and every schema is strict here.
pub fn request(request: &Request, losses: &mut Losses) -> Value {
    request_within(request, None, losses)
}

/// As [`request`], for a model that is known to write `max_output_tokens` at most: they are the limit where the request names none, and
/// thinking has to fit into them.
pub fn request_within(request: &Request, max_output_tokens: Option<u32>, losses: &mut Losses) -> Value {
    let mut out = Map::new();
    out.insert("model".into(), request.model.clone().into());
    let mut marks = Marks::new(count_marks(request));
    let tools = tools(request, &mut marks, losses);
    let mut history = History::new(request.family == Some(Family::Messages), marks, losses);
    request.messages.iter().enumerate().for_each(|(i, m)| history.message(i, m));
    if request.format == Format::Json {
        history.system_text(json_wish::ANY);
    }
    let (system, turns) = history.finish();
    thinking::write(request, max_output_tokens, thinking::may_begin(&turns), &mut out, losses);
    out.extend(system.map(|s| ("system".to_owned(), s)));
    out.insert("messages".into(), turns.into());
    let has_tools = !tools.is_empty();
    if has_tools {
        out.insert("tools".into(), tools.into());
    }
    tool_choice(request, has_tools, &mut out, losses);
    if !request.generation.stop.is_empty() {
        out.insert("stop_sequences".into(), request.generation.stop.clone().into());
    }
    if let Some(user) = &request.user {
        out.insert("metadata".into(), json!({"user_id": user}));
    }
    format(request, &mut out, losses);
    if request.stream {
        out.insert("stream".into(), true.into());
    }
    put_extra(request, &mut out, losses);
    let g = &request.generation;
    for (name, is_asked) in [
        ("n", g.n.is_some_and(|n| n != 1)),
        ("logprobs", g.logprobs.is_some()),
        ("seed", g.seed.is_some()),
        ("presence_penalty", g.presence_penalty.is_some_and(|p| p != 0.0)),
        ("frequency_penalty", g.frequency_penalty.is_some_and(|p| p != 0.0)),
    ] {
        if is_asked {
            losses.drop(name);
        }
    }
    Value::Object(out)
}

/// Writes the body of `/v1/messages/count_tokens`: the members of the request that it takes.
pub fn count_request(request: &Request, losses: &mut Losses) -> Value {
    const TAKEN: [&str; 9] =
        ["model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control", "mcp_servers"];
    let mut whole = self::request(request, losses);
    if let Value::Object(members) = &mut whole {
        members.retain(|key, _| TAKEN.contains(&key.as_str()));
    }
    whole
}

/// Whether the `extra` members are of this dialect.
fn is_own(request: &Request) -> bool {
    request.family.is_none_or(|f| f == Family::Messages)
}

/// Cache marks that the request asks for, the automatic one included.
fn count_marks(request: &Request) -> usize {
    fn within(blocks: &[Block]) -> usize {
        blocks
            .iter()
            .map(|block| match block {
                Block::CacheMark { .. } => 1,
                Block::ToolResult { blocks, .. } => within(blocks),
                _ => 0,
            })
            .sum()
    }
    let automatic = usize::from(is_own(request) && request.extra.contains_key("cache_control"));
    let of_tools = request.tools.iter().filter(|t| t.cache.is_some()).count();
    automatic + of_tools + request.messages.iter().map(|m| within(&m.blocks)).sum::<usize>()
}

/// What `extra` says of one place in the list of tools.
#[derive(Default)]
struct Place<'a> {
    /// A tool that runs at the provider.
    whole: Option<&'a Value>,
    /// Members of a function that have no place in the inner language.
    members: Vec<(&'a str, &'a Value)>,
}

/// Reads the keys `tools[0]` and `tools[0].defer_loading`.
fn places(request: &Request) -> BTreeMap<usize, Place<'_>> {
    let mut out: BTreeMap<usize, Place<'_>> = BTreeMap::new();
    for (key, value) in request.extra.iter().filter(|_| is_own(request)) {
        let Some((at, rest)) = key.strip_prefix("tools[").and_then(|k| k.split_once(']')) else { continue };
        let Ok(at) = at.parse() else { continue };
        let place = out.entry(at).or_default();
        match rest.strip_prefix('.') {
            Some(member) => place.members.push((member, value)),
            None => place.whole = Some(value),
        }
    }
    out
}

/// The functions, and at their places the tools that run at the provider.
fn tools(request: &Request, marks: &mut Marks, losses: &mut Losses) -> Vec<Value> {
    let mut places = places(request);
    let mut out = Vec::new();
    for (i, function) in request.tools.iter().enumerate() {
        while let Some(whole) = places.get(&out.len()).and_then(|p| p.whole) {
            out.push(whole.clone());
        }
        let path = format!("tools[{i}]");
        let mut written = tool(function, &path, losses);
        let members = places.remove(&out.len()).unwrap_or_default().members;
        written.extend(members.into_iter().map(|(key, v)| (key.to_owned(), v.clone())));
        let mut written = Value::Object(written);
        if let Some(ttl) = &function.cache {
            marks.put(Some(ttl), Some(&mut written), &path, losses);
        }
        out.push(written);
    }
    // What is left belongs to no function: tools that run at the provider, or members of a tool that is not there.
    for (at, place) in places {
        out.extend(place.whole.filter(|_| at >= out.len()).cloned());
        place.members.iter().for_each(|(member, _)| losses.drop(format!("tools[{at}].{member}")));
    }
    out
}

fn tool(tool: &Tool, path: &str, losses: &mut Losses) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("name".into(), names::escape(&tool.name).into());
    out.extend(tool.description.clone().map(|text| ("description".to_owned(), text.into())));
    let (parameters, is_changed) = schema::of_arguments(&tool.parameters);
    if is_changed {
        losses.change(format!("{path}.parameters"));
    }
    out.insert("input_schema".into(), parameters);
    out.extend(tool.strict.filter(|s| *s).map(|s| ("strict".to_owned(), s.into())));
    out
}

/// A choice is only legal beside tools.
fn tool_choice(request: &Request, has_tools: bool, out: &mut Map<String, Value>, losses: &mut Losses) {
    let is_single = request.parallel_tool_calls == Some(false);
    let mut choice = match &request.tool_choice {
        ToolChoice::Unset if is_single => json!({"type": "auto"}),
        ToolChoice::Unset => return,
        ToolChoice::Auto => json!({"type": "auto"}),
        ToolChoice::None => json!({"type": "none"}),
        ToolChoice::Required => json!({"type": "any"}),
        ToolChoice::Function(name) => json!({"type": "tool", "name": names::escape(name)}),
    };
    if !has_tools {
        if matches!(request.tool_choice, ToolChoice::Required | ToolChoice::Function(_)) {
            losses.drop("tool_choice");
        }
        return;
    }
    if let Some(parallel) = request.parallel_tool_calls.filter(|_| request.tool_choice != ToolChoice::None) {
        choice["disable_parallel_tool_use"] = (!parallel).into();
    }
    out.insert("tool_choice".into(), choice);
}

fn format(request: &Request, out: &mut Map<String, Value>, losses: &mut Losses) {
    match &request.format {
        Format::Text => {}
        Format::Json => losses.change("format"),
        Format::Schema { schema, .. } => {
            let (schema, is_changed) = schema::of_answer(schema);
            if is_changed {
                losses.change("format.schema");
            }
            let config = out.entry("output_config").or_insert_with(|| json!({}));
            config["format"] = json!({"type": "json_schema", "schema": schema});
        }
    }
}

/// Members of the caller's own dialect; objects that have been written already are completed. What belongs to a block that is
/// written anew has lost its place.
fn put_extra(request: &Request, out: &mut Map<String, Value>, losses: &mut Losses) {
    for (key, value) in &request.extra {
        if !is_own(request) {
            if extra::is_wish(request.family, key, value) {
                losses.drop(key);
            }
        } else if key.starts_with("tools[") {
            // Written with the tools.
        } else if key.contains(['[', '.']) {
            losses.drop(key);
        } else {
            match (out.get_mut(key), value) {
                (Some(Value::Object(written)), Value::Object(more)) => {
                    more.iter().for_each(|(k, v)| {
                        written.entry(k).or_insert_with(|| v.clone());
                    });
                }
                (Some(_), _) => losses.drop(key),
                (None, _) => {
                    out.insert(key.clone(), value.clone());
                }
            }
        }
    }
}
