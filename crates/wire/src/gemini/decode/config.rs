//! `tools`, `toolConfig` and `generationConfig` → the inner language.
//!
//! What has no place there is kept in `extra` under its dotted path, so that it is found again, or noted as dropped by its name.

use serde_json::{Value, json};

use crate::{
    error::Failure,
    gemini::{
        fields::{Fields, wrong},
        schema,
    },
    ir::{Format, Reasoning, Request, Tool, ToolChoice},
};

/// Function declarations become tools; other kinds of tools stay Gemini's own.
pub(super) fn tools(list: Vec<Value>, path: &str, request: &mut Request) -> Result<(), Failure> {
    for (index, one) in list.into_iter().enumerate() {
        let mut fields = Fields::of(one, format!("{path}[{index}]"))?;
        let place = fields.at("functionDeclarations");
        for (at, declared) in fields.list("functionDeclarations")?.unwrap_or_default().into_iter().enumerate() {
            let mut declared = Fields::of(declared, format!("{place}[{at}]"))?;
            let tool = tool(&mut declared)?;
            let rest = declared.rest().map(|(k, v)| (format!("tools.functionDeclarations.{}.{k}", tool.name), v));
            request.extra.extend(rest);
            request.tools.push(tool);
        }
        request.extra.extend(fields.rest().map(|(k, v)| (format!("tools.{k}"), v)));
    }
    Ok(())
}

fn tool(declared: &mut Fields) -> Result<Tool, Failure> {
    let path = declared.at("name");
    let name = declared.text("name")?.filter(|n| !n.is_empty()).ok_or_else(|| wrong(&path, "the function's name"))?;
    let description = declared.text("description")?;
    let written = declared.take("parametersJsonSchema");
    let older = declared.take("parameters").map(|p| schema::from_openapi(&p));
    let parameters = written.or(older).unwrap_or_else(|| json!({"type": "object", "properties": {}}));
    if !parameters.is_object() {
        return Err(wrong(&format!("{}parameters", path.trim_end_matches("name")), "a schema object"));
    }
    Ok(Tool { name, description, parameters, strict: None, cache: None })
}

/// The calling mode. A list of allowed functions leaves only those tools.
pub(super) fn tool_config(mut config: Fields, request: &mut Request) -> Result<(), Failure> {
    if let Some(mut calling) = config.object("functionCallingConfig")? {
        let path = calling.at("mode");
        let mode = calling.text("mode")?.map(|m| m.to_ascii_uppercase());
        let allowed = allowed(&mut calling)?;
        request.tool_choice = match mode.as_deref() {
            None | Some("MODE_UNSPECIFIED") => ToolChoice::Unset,
            Some("AUTO") => ToolChoice::Auto,
            Some("NONE") => ToolChoice::None,
            Some("ANY") if allowed.len() == 1 => ToolChoice::Function(allowed[0].clone()),
            Some("ANY") => ToolChoice::Required,
            Some("VALIDATED") => {
                request.extra.insert("toolConfig.functionCallingConfig.mode".to_owned(), "VALIDATED".into());
                ToolChoice::Auto
            }
            Some(other) => {
                return Err(Failure::invalid(path.clone(), format!("`{path}` is {other:?}: AUTO, ANY, NONE and VALIDATED are allowed")));
            }
        };
        if !allowed.is_empty() && !matches!(request.tool_choice, ToolChoice::Function(_)) {
            request.tools.retain(|t| allowed.contains(&t.name));
        }
        request.extra.extend(calling.rest().map(|(k, v)| (format!("toolConfig.functionCallingConfig.{k}"), v)));
    }
    request.extra.extend(config.rest().map(|(k, v)| (format!("toolConfig.{k}"), v)));
    Ok(())
}

fn allowed(calling: &mut Fields) -> Result<Vec<String>, Failure> {
    let path = calling.at("allowedFunctionNames");
    texts(calling.take("allowedFunctionNames"), &path)
}

/// A list of strings; a single string stands for a list of one.
fn texts(value: Option<Value>, path: &str) -> Result<Vec<String>, Failure> {
    let text = |v: Value| match v {
        Value::String(text) => Ok(text),
        _ => Err(wrong(path, "a list of strings")),
    };
    match value {
        None => Ok(Vec::new()),
        Some(Value::Array(list)) => list.into_iter().map(text).collect(),
        Some(one) => Ok(vec![text(one)?]),
    }
}

/// Sampling, limits, the answer's form, thinking.
pub(super) fn generation(mut config: Fields, request: &mut Request) -> Result<(), Failure> {
    let g = &mut request.generation;
    g.temperature = config.number("temperature")?;
    g.top_p = config.number("topP")?;
    g.top_k = config.whole("topK")?;
    g.n = config.whole("candidateCount")?;
    g.max_tokens = config.whole("maxOutputTokens")?;
    g.seed = config.whole("seed")?;
    g.presence_penalty = config.number("presencePenalty")?;
    g.frequency_penalty = config.number("frequencyPenalty")?;
    let stop_path = config.at("stopSequences");
    g.stop = texts(config.take("stopSequences"), &stop_path)?.into_iter().filter(|s| !s.is_empty()).collect();
    let alternatives = config.whole::<u8>("logprobs")?.unwrap_or(0);
    g.logprobs = config.flag("responseLogprobs")?.unwrap_or(false).then_some(alternatives);
    format(&mut config, request)?;
    if let Some(thinking) = config.object("thinkingConfig")? {
        request.reasoning = reasoning(thinking, request)?;
    }
    request.extra.extend(config.rest().map(|(k, v)| (format!("generationConfig.{k}"), v)));
    Ok(())
}

fn format(config: &mut Fields, request: &mut Request) -> Result<(), Failure> {
    let mime = config.text("responseMimeType")?;
    let written = config.take("responseJsonSchema");
    let older = config.take("responseSchema");
    request.format = match (mime.as_deref(), written, older) {
        // A bare word of an enumeration: no other dialect has it.
        (Some("text/x.enum"), written, older) => {
            for (key, value) in [("responseMimeType", mime.map(Value::from)), ("responseJsonSchema", written), ("responseSchema", older)] {
                request.extra.extend(value.map(|v| (format!("generationConfig.{key}"), v)));
            }
            Format::Text
        }
        (_, Some(schema), _) => named(schema),
        (_, None, Some(schema)) => named(schema::from_openapi(&schema)),
        (Some("application/json"), None, None) => Format::Json,
        (None | Some("text/plain" | ""), None, None) => Format::Text,
        (Some(other), None, None) => {
            request.extra.insert("generationConfig.responseMimeType".to_owned(), other.into());
            Format::Text
        }
    };
    Ok(())
}

fn named(schema: Value) -> Format {
    Format::Schema { name: "answer".to_owned(), schema, strict: None }
}

fn reasoning(mut thinking: Fields, request: &mut Request) -> Result<Reasoning, Failure> {
    let shown = thinking.flag("includeThoughts")?;
    let level_path = thinking.at("thinkingLevel");
    let effort = match thinking.text("thinkingLevel")?.map(|l| l.to_ascii_lowercase()).as_deref() {
        None | Some("thinking_level_unspecified") => None,
        Some(level @ ("minimal" | "low" | "medium" | "high")) => Some(level.to_owned()),
        Some(other) => {
            return Err(Failure::invalid(
                level_path.clone(),
                format!("`{level_path}` is {other:?}: MINIMAL, LOW, MEDIUM and HIGH are allowed"),
            ));
        }
    };
    let budget = thinking.whole::<i64>("thinkingBudget")?;
    let budget_tokens = budget.and_then(|n| u32::try_from(n).ok());
    if let (Some(n), None) = (budget, budget_tokens) {
        // -1: the model decides.
        request.extra.insert("generationConfig.thinkingConfig.thinkingBudget".to_owned(), n.into());
    }
    let rest = thinking.rest().map(|(k, v)| (format!("generationConfig.thinkingConfig.{k}"), v));
    request.extra.extend(rest);
    Ok(Reasoning { effort, budget_tokens, shown })
}
