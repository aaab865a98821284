//! What of a request the typed reading does not take: kept by path, so that nothing is lost without a word.

use serde_json::{Map, Value};

const MESSAGE: [&str; 9] =
    ["role", "content", "name", "tool_calls", "tool_call_id", "refusal", "reasoning_content", "reasoning", "function_call"];

/// Collects into `extra` what `body` says below its top-level members: under paths such as `messages[2].audio`, `tools[0].function.x`.
pub(super) fn collect(body: &Map<String, Value>, extra: &mut Map<String, Value>) {
    let mut keep = Keep { extra };
    for (index, message) in list(body.get("messages")).enumerate() {
        let path = format!("messages[{index}]");
        keep.object(&path, message, &MESSAGE);
        keep.object(&format!("{path}.function_call"), &message["function_call"], &["name", "arguments"]);
        for (at, part) in list(message.get("content")).enumerate() {
            keep.part(&format!("{path}.content[{at}]"), part);
        }
        for (at, call) in list(message.get("tool_calls")).enumerate() {
            keep.call(&format!("{path}.tool_calls[{at}]"), call);
        }
    }
    for (index, tool) in list(body.get("tools")).enumerate().filter(|(_, tool)| is_function(tool)) {
        let path = format!("tools[{index}]");
        keep.object(&path, tool, &["type", "function", "cache_control"]);
        keep.object(&format!("{path}.cache_control"), &tool["cache_control"], &["type", "ttl"]);
        keep.object(&format!("{path}.function"), &tool["function"], &["name", "description", "parameters", "strict"]);
    }
    for (index, function) in list(body.get("functions")).enumerate() {
        keep.object(&format!("functions[{index}]"), function, &["name", "description", "parameters", "strict"]);
    }
    keep.choice(body.get("tool_choice").unwrap_or(&Value::Null));
    let format = body.get("response_format").unwrap_or(&Value::Null);
    keep.object("response_format", format, &["type", "json_schema", "schema"]);
    keep.object("response_format.json_schema", &format["json_schema"], &["name", "schema", "strict"]);
    keep.object("stream_options", body.get("stream_options").unwrap_or(&Value::Null), &["include_usage"]);
}

pub(super) fn is_function(tool: &Value) -> bool {
    tool["type"].is_null() || tool["type"] == "function"
}

fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

struct Keep<'a> {
    extra: &'a mut Map<String, Value>,
}

impl Keep<'_> {
    /// Members besides those that are read; what says nothing (null, an empty list) is left out.
    fn object(&mut self, path: &str, value: &Value, read: &[&str]) {
        let says_something = |v: &Value| !v.is_null() && v.as_array().is_none_or(|a| !a.is_empty());
        for (key, value) in value.as_object().into_iter().flatten() {
            if !read.contains(&key.as_str()) && says_something(value) {
                self.extra.insert(format!("{path}.{key}"), value.clone());
            }
        }
    }

    /// A choice of a custom tool travels whole.
    fn choice(&mut self, choice: &Value) {
        match choice["type"].as_str() {
            Some("custom") => {}
            Some("allowed_tools") => {
                self.object("tool_choice", choice, &["type", "allowed_tools"]);
                self.object("tool_choice.allowed_tools", &choice["allowed_tools"], &["mode", "tools"]);
                for (at, tool) in list(choice["allowed_tools"].get("tools")).enumerate() {
                    let path = format!("tool_choice.allowed_tools.tools[{at}]");
                    let kind = tool["type"].as_str().unwrap_or("function");
                    self.object(&path, tool, &["type", kind]);
                    self.object(&format!("{path}.{kind}"), &tool[kind], &["name"]);
                }
            }
            _ => {
                self.object("tool_choice", choice, &["type", "function", "name"]);
                self.object("tool_choice.function", &choice["function"], &["name"]);
            }
        }
    }

    /// Parts that no one here knows travel whole.
    fn part(&mut self, path: &str, part: &Value) {
        self.object(&format!("{path}.cache_control"), &part["cache_control"], &["type", "ttl"]);
        self.object(&format!("{path}.prompt_cache_breakpoint"), &part["prompt_cache_breakpoint"], &["mode"]);
        let (inner, read): (&str, &[&str]) = match part["type"].as_str() {
            Some("text") => ("text", &[]),
            Some("refusal") => ("refusal", &[]),
            Some("image_url") => ("image_url", &["url", "detail"]),
            Some("input_audio") => ("input_audio", &["data", "format"]),
            Some("file") => ("file", &["file_data", "file_id", "filename"]),
            _ => return,
        };
        self.object(path, part, &["type", inner, "prompt_cache_breakpoint", "cache_control"]);
        self.object(&format!("{path}.{inner}"), &part[inner], read);
    }

    fn call(&mut self, path: &str, call: &Value) {
        if call["type"] == "custom" {
            self.object(&format!("{path}.custom"), &call["custom"], &["name", "input"]);
            return self.object(path, call, &["type", "id", "index", "custom"]);
        }
        self.object(path, call, &["type", "id", "index", "function", "extra_content"]);
        self.object(&format!("{path}.function"), &call["function"], &["name", "arguments"]);
        let google = &call["extra_content"]["google"];
        self.object(&format!("{path}.extra_content"), &call["extra_content"], &["google"]);
        self.object(&format!("{path}.extra_content.google"), google, &["thought_signature"]);
    }
}
