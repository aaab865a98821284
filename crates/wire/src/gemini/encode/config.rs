//! Tools, the choice among them, and how the answer is generated.

use serde_json::{Map, Value, json};

use super::{generation_of, is_own};
use crate::{
    gemini::{names::write_name, schema},
    ir::{Format, Request, Tool, ToolChoice},
    json_wish,
    losses::Losses,
    thinking::tokens_of,
};

/// Most stop strings that Gemini takes.
const STOP_MAX: usize = 5;

/// One entry with all functions, then the caller's own kinds of tools.
pub(super) fn tools(request: &Request, losses: &mut Losses) -> Vec<Value> {
    let mut out = Vec::new();
    let mut declared: Vec<Value> = request.tools.iter().enumerate().map(|(at, t)| declaration(request, at, t, losses)).collect();
    let mut own = Vec::new();
    if is_own(request) {
        for (key, value) in &request.extra {
            let Some(path) = key.strip_prefix("tools.") else { continue };
            match path.strip_prefix("functionDeclarations.").and_then(|p| p.rsplit_once('.')) {
                None => own.push(json!({path: value})),
                Some((name, member)) => match request.tools.iter().position(|t| t.name == name) {
                    Some(at) => declared[at][member] = value.clone(),
                    None => losses.drop(key),
                },
            }
        }
    }
    if !declared.is_empty() {
        out.push(json!({"functionDeclarations": declared}));
    }
    out.extend(own);
    out
}

fn declaration(request: &Request, at: usize, tool: &Tool, losses: &mut Losses) -> Value {
    let (name, is_cut) = write_name(&tool.name);
    if is_cut {
        losses.change(format!("tools[{at}].name"));
    }
    if tool.strict == Some(true) {
        losses.drop(format!("tools[{at}].strict"));
    }
    if tool.cache.is_some() {
        losses.drop(format!("tools[{at}].cache_control"));
    }
    let mut out = json!({"name": name});
    if let Some(text) = &tool.description {
        out["description"] = text.as_str().into();
    }
    if takes_json_schema(request) {
        out["parametersJsonSchema"] = tool.parameters.clone();
        return out;
    }
    let (reduced, lossy) = schema::to_openapi(&tool.parameters);
    if lossy {
        losses.change(format!("tools[{at}].parameters"));
    }
    // Older models refuse an object without properties; no parameters mean the same.
    if reduced.get("properties").is_some() || reduced["type"] != "OBJECT" {
        out["parameters"] = reduced;
    }
    out
}

/// Models before 2.5 read only the reduced schema.
fn takes_json_schema(request: &Request) -> bool {
    generation_of(&request.model).is_none_or(|g| g >= (2, 5))
}

/// `functionCallingConfig`; it may only stand beside functions.
pub(super) fn tool_choice(request: &Request, losses: &mut Losses) -> Option<Value> {
    if request.parallel_tool_calls == Some(false) && !request.tools.is_empty() && request.tool_choice != ToolChoice::None {
        losses.drop("parallel_tool_calls");
    }
    if request.tools.is_empty() {
        if matches!(request.tool_choice, ToolChoice::Required | ToolChoice::Function(_)) {
            losses.drop("tool_choice");
        }
        return None;
    }
    match &request.tool_choice {
        ToolChoice::Unset => None,
        ToolChoice::Auto => Some(json!({"mode": "AUTO"})),
        ToolChoice::None => Some(json!({"mode": "NONE"})),
        ToolChoice::Required => Some(json!({"mode": "ANY"})),
        ToolChoice::Function(name) => Some(json!({"mode": "ANY", "allowedFunctionNames": [write_name(name).0]})),
    }
}

/// `generationConfig`.
pub(super) fn generation(request: &Request, losses: &mut Losses) -> Map<String, Value> {
    let g = &request.generation;
    let mut out = Map::new();
    let mut put = |key: &str, value: Option<Value>| out.extend(value.map(|v| (key.to_owned(), v)));
    put("temperature", g.temperature.map(Into::into));
    put("topP", g.top_p.map(Into::into));
    put("topK", g.top_k.map(Into::into));
    put("candidateCount", g.n.map(Into::into));
    put("maxOutputTokens", g.max_tokens.map(Into::into));
    let seed = g.seed.filter(|s| i32::try_from(*s).is_ok());
    if seed != g.seed {
        losses.drop("seed");
    }
    put("seed", seed.map(Into::into));
    put("presencePenalty", g.presence_penalty.map(Into::into));
    put("frequencyPenalty", g.frequency_penalty.map(Into::into));
    let stop = &g.stop[..g.stop.len().min(STOP_MAX)];
    if stop.len() < g.stop.len() {
        losses.change("stop");
    }
    put("stopSequences", (!stop.is_empty()).then(|| stop.to_vec().into()));
    put("responseLogprobs", g.logprobs.map(|_| true.into()));
    put("logprobs", g.logprobs.filter(|n| *n > 0).map(Into::into));
    match &request.format {
        // Said in words, where it may not be said so.
        _ if format_wish(request).is_some() => losses.change("format"),
        Format::Text => {}
        Format::Json => put("responseMimeType", Some("application/json".into())),
        Format::Schema { schema, .. } => {
            put("responseMimeType", Some("application/json".into()));
            if takes_json_schema(request) {
                put("responseJsonSchema", Some(schema.clone()));
            } else {
                let (reduced, lossy) = schema::to_openapi(schema);
                if lossy {
                    losses.change("format.schema");
                }
                put("responseSchema", Some(reduced));
            }
        }
    }
    let thinking = thinking(request, losses);
    put("thinkingConfig", (!thinking.is_empty()).then_some(Value::Object(thinking)));
    out
}

/// JSON asked for in words: models before the third generation refuse the field beside functions.
pub(super) fn format_wish(request: &Request) -> Option<String> {
    let is_refused = !is_own(request) && !request.tools.is_empty() && generation_of(&request.model).is_some_and(|g| g < LEVELS);
    match &request.format {
        Format::Json if is_refused => Some(json_wish::ANY.to_owned()),
        Format::Schema { schema, .. } if is_refused => Some(json_wish::of_schema(schema)),
        _ => None,
    }
}

/// The first generation whose thinking has levels.
const LEVELS: (u32, u32) = (3, 0);

/// The budget that is the least where thinking cannot be switched off (Gemini API, "Thinking": 2.5 Pro).
const BUDGET_MIN: u32 = 128;

/// A level for models since the third generation, a budget for those before; never both, which Gemini refuses.
fn thinking(request: &Request, losses: &mut Losses) -> Map<String, Value> {
    let wish = &request.reasoning;
    let mut out = Map::new();
    let knows_levels = generation_of(&request.model).is_none_or(|g| g >= LEVELS);
    // Pro models cannot leave thinking.
    let always = generation_of(&request.model).is_some() && request.model.contains("-pro");
    let off = wish.effort.as_deref() == Some("none") || (wish.effort.is_none() && wish.budget_tokens == Some(0));
    match (wish.effort.as_deref(), wish.budget_tokens) {
        (None, None) => {}
        _ if off && always && !is_own(request) => {
            losses.change("reasoning");
            if knows_levels {
                out.insert("thinkingLevel".to_owned(), "LOW".into());
            } else {
                out.insert("thinkingBudget".to_owned(), BUDGET_MIN.into());
            }
        }
        (None, Some(tokens)) => {
            out.insert("thinkingBudget".to_owned(), tokens.into());
        }
        (Some(effort), budget) if knows_levels => {
            if budget.is_some() && !off {
                losses.drop("reasoning.budget_tokens");
            }
            let (level, exact) = match level(effort) {
                ("MINIMAL", _) if always && !is_own(request) => ("LOW", false),
                as_it_is => as_it_is,
            };
            if !exact {
                losses.change("reasoning.effort");
            }
            out.insert("thinkingLevel".to_owned(), level.into());
        }
        (Some("none"), _) => {
            out.insert("thinkingBudget".to_owned(), 0.into());
        }
        (Some(effort), budget) => {
            losses.change("reasoning.effort");
            out.insert("thinkingBudget".to_owned(), budget.unwrap_or_else(|| tokens_of(effort)).into());
        }
    }
    // Chat and Messages show what was thought unless told otherwise; Gemini only when asked.
    let by_default = !is_own(request) && request.family != Some(crate::ir::Family::Responses) && !out.is_empty() && !off;
    if let Some(shown) = wish.shown.or(by_default.then_some(true)) {
        out.insert("includeThoughts".to_owned(), shown.into());
    }
    out
}

/// Gemini's level, and whether it means the same.
fn level(effort: &str) -> (&'static str, bool) {
    match effort {
        "none" => ("MINIMAL", false),
        "minimal" => ("MINIMAL", true),
        "low" => ("LOW", true),
        "medium" => ("MEDIUM", true),
        "high" => ("HIGH", true),
        _ => ("HIGH", false),
    }
}
