//! Chat templates: a conversation becomes the text that the model was trained on.
//!
//! Templates are Jinja as Hugging Face's `transformers` reads it (block trimming, loop controls, Python's methods on texts and
//! dicts, `raise_exception`, `strftime_now`). They come from strangers with the model file: their size, their work and their output are bounded.

mod control;
mod python;

use std::{io, sync::Arc};

use minijinja::{Environment, Error, ErrorKind, Value, value::ValueKind};
use serde_json::{Map, Value as Json, json};
use wire::fleet::worker::{Prompt, Segment};

use crate::speech::Speech;

pub use control::Controls;
use control::Defused;

/// Most instructions of one rendering, and of one that only looks how the template writes.
const FUEL: u64 = 20_000_000;
const FUEL_PROBE: u64 = 1_000_000;
/// Longest rendered text, in bytes.
const RENDERED_BYTES_MAX: usize = 16 << 20;
/// Longest template, in bytes.
const SOURCE_BYTES_MAX: usize = models::gguf::TEMPLATE_BYTES_MAX as usize;
/// For models without a template of their own.
const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + (message.content or '') + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
/// Ends an answer where the fallback is used: such a model need not have that token.
const CHATML_STOP: &str = "<|im_end|>";

/// Why there is no prompt.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The template is no Jinja that is understood.
    #[error("the model's chat template can't be read: {0}")]
    Unreadable(String),
    /// The template refuses this conversation, or fails on it.
    #[error("the model's chat template refuses these messages: {0}")]
    Refused(String),
}

/// What a template is given.
#[derive(Debug, Clone, Default)]
pub struct Conversation {
    /// Objects with `role`, `content` and what else a message has.
    pub messages: Vec<Json>,
    /// The tools offered, as the client sent them.
    pub tools: Option<Json>,
    /// Documents to answer from.
    pub documents: Option<Json>,
    /// `chat_template_kwargs`.
    pub more: Map<String, Json>,
}

/// A model's template, compiled.
#[derive(Debug)]
pub struct ChatTemplate {
    env: Environment<'static>,
    fault: Option<String>,
    is_fallback: bool,
    has_tool_use: bool,
    knows_developer: bool,
    bos_token: String,
    eos_token: String,
    controls: Arc<Controls>,
    speech: Arc<Speech>,
    /// It prints the arguments of calls as they are, and must be given JSON as text.
    wants_text: bool,
}

impl ChatTemplate {
    /// Compiles a template; [`CHATML`] stands in where a model has none. What is wrong with a template is said when it is used.
    pub fn new(source: Option<&str>, tool_use: Option<&str>, bos: Option<&str>, eos: Option<&str>, controls: Arc<Controls>) -> Self {
        let mut env = environment();
        let main = source.filter(|s| !s.trim().is_empty());
        let mut fault = add(&mut env, "chat", main.unwrap_or(CHATML)).err();
        if let Some(tool_use) = tool_use {
            fault = fault.or(add(&mut env, "tool_use", tool_use).err());
        }
        let speech = Arc::new(Speech::of("", ""));
        let template = Self {
            env,
            fault,
            is_fallback: main.is_none(),
            has_tool_use: tool_use.is_some(),
            knows_developer: main.is_some_and(|s| s.contains("developer")),
            bos_token: bos.unwrap_or_default().to_owned(),
            eos_token: eos.unwrap_or_default().to_owned(),
            controls,
            speech,
            wants_text: false,
        };
        template.probed([source, tool_use].into_iter().flatten().collect::<Vec<_>>().join("\n"))
    }

    /// Looks how the template writes a turn that calls a tool.
    fn probed(mut self, source: String) -> Self {
        self.env.set_fuel(Some(FUEL_PROBE));
        let mut turns = probes().into_iter().filter_map(|(wants_text, probe)| Some((wants_text, self.turn(probe)?)));
        let turn = turns.find(|(_, turn)| turn.contains("\"probe_key\"") || turn.contains("probe_value") && !turn.contains("'probe_key'"));
        self.env.set_fuel(Some(FUEL));
        if let Some((wants_text, _)) = &turn {
            self.wants_text = *wants_text;
        }
        self.speech = Arc::new(Speech::of(turn.as_ref().map_or("", |(_, turn)| turn), &source));
        self
    }

    /// What a conversation's last turn becomes.
    fn turn(&self, conversation: Conversation) -> Option<String> {
        let rendered = self.render(conversation, false).ok()?;
        let text = text_of(&rendered);
        text.rfind(PROBE_QUESTION).map(|at| text[at + PROBE_QUESTION.len()..].to_owned())
    }

    /// How its models write thoughts and calls.
    pub const fn speech(&self) -> &Arc<Speech> {
        &self.speech
    }

    /// A string that ends answers besides the model's own end tokens.
    pub fn stop(&self) -> Option<&'static str> {
        self.is_fallback.then_some(CHATML_STOP)
    }

    /// Renders a conversation. `add_bos`: whether the vocabulary wants a BOS token in front of a text; none is put on top of a template's own.
    pub fn render(&self, conversation: Conversation, add_bos: bool) -> Result<Prompt, TemplateError> {
        if let Some(fault) = &self.fault {
            return Err(TemplateError::Unreadable(fault.clone()));
        }
        let mut defused = Defused::new(&self.controls);
        let context = self.context(conversation, &mut defused);
        let name = if self.has_tool_use && context["tools"].is_array() { "tool_use" } else { "chat" };
        let mut out = Bounded(Vec::new());
        self.env
            .get_template(name)
            .and_then(|template| template.render_captured_to(&context, &mut out).map(|_| ()))
            .map_err(|e| TemplateError::Refused(said(&e)))?;
        let rendered = String::from_utf8(out.0).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
        let segments = defused.split(&rendered);
        let writes_bos = !self.bos_token.is_empty()
            && matches!(segments.first(), Some(Segment::Text { text, special: true }) if text.starts_with(&self.bos_token));
        Ok(Prompt { segments, add_special: add_bos && !writes_bos })
    }

    fn context(&self, conversation: Conversation, defused: &mut Defused) -> Json {
        let mut context = conversation.more;
        let mut messages = conversation.messages;
        if !self.knows_developer {
            for message in messages.iter_mut().filter(|m| m["role"] == "developer") {
                message["role"] = "system".into();
            }
        }
        if self.wants_text {
            calls_of(&mut messages).for_each(as_text);
        }
        context.entry("add_generation_prompt").or_insert(true.into());
        context.insert("messages".to_owned(), messages.into());
        context.insert("tools".to_owned(), conversation.tools.unwrap_or_default());
        context.insert("documents".to_owned(), conversation.documents.unwrap_or_default());
        let mut context = Json::Object(context);
        defused.value(&mut context);
        context["bos_token"] = self.bos_token.as_str().into();
        context["eos_token"] = self.eos_token.as_str().into();
        context
    }
}

/// What the user asks in a probe.
const PROBE_QUESTION: &str = "probe question";

/// Conversations that end in a call, in the forms that templates take: arguments as an object or as text (true).
fn probes() -> Vec<(bool, Conversation)> {
    let tool = json!({"type": "function", "function": {"name": "probe_name", "description": "probe", "parameters": {
        "type": "object", "properties": {"probe_key": {"type": "string", "description": "probe"}}, "required": ["probe_key"]}}});
    let one = |wants_text: bool, content: Json| {
        let mut call =
            json!({"id": "callprobe", "type": "function", "function": {"name": "probe_name", "arguments": {"probe_key": "probe_value"}}});
        if wants_text {
            as_text(&mut call);
        }
        let messages = vec![
            json!({"role": "user", "content": PROBE_QUESTION}),
            json!({"role": "assistant", "content": content, "tool_calls": [call]}),
        ];
        let more = Map::from_iter([("add_generation_prompt".to_owned(), false.into())]);
        (wants_text, Conversation { messages, tools: Some(json!([tool])), documents: None, more })
    };
    vec![one(false, Json::Null), one(false, "".into()), one(true, Json::Null), one(true, "".into())]
}

fn calls_of(messages: &mut [Json]) -> impl Iterator<Item = &mut Json> {
    messages.iter_mut().filter_map(|message| message.get_mut("tool_calls")?.as_array_mut()).flatten()
}

fn as_text(call: &mut Json) {
    if let Some(arguments) = call.pointer_mut("/function/arguments").filter(|arguments| arguments.is_object()) {
        *arguments = arguments.to_string().into();
    }
}

/// The text of a prompt, without its marks.
pub fn text_of(prompt: &Prompt) -> String {
    let text = |segment: &Segment| match segment {
        Segment::Text { text, .. } => text.clone(),
        Segment::Tokens { .. } | Segment::Between => String::new(),
    };
    prompt.segments.iter().map(text).collect()
}

fn environment() -> Environment<'static> {
    let mut env = Environment::new();
    env.set_trim_blocks(true);
    env.set_lstrip_blocks(true);
    env.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    env.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    env.set_formatter(python::print);
    env.set_fuel(Some(FUEL));
    env.add_filter("tojson", python::tojson);
    env.add_filter("length", length);
    env.add_filter("count", length);
    env.add_filter("string", python::string);
    env.add_test("iterable", python::is_iterable);
    env.add_test("sequence", python::is_sequence);
    env.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    env.add_function("strftime_now", |format: &str| -> Result<String, Error> {
        jiff::fmt::strtime::format(format, &jiff::Zoned::now())
            .map_err(|e| Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {e}")))
    });
    env
}

/// As Jinja has it: nothing has length 0.
fn length(value: &Value) -> Result<usize, Error> {
    if value.kind() == ValueKind::Undefined {
        return Ok(0);
    }
    value.len().ok_or_else(|| Error::new(ErrorKind::InvalidOperation, format!("a {} has no length", value.kind())))
}

fn add(env: &mut Environment<'static>, name: &'static str, source: &str) -> Result<(), String> {
    if source.len() > SOURCE_BYTES_MAX {
        return Err(format!("it is longer than {SOURCE_BYTES_MAX} bytes"));
    }
    env.add_template_owned(name, without_generation_tags(source)).map_err(|e| said(&e))
}

/// Takes out `{% generation %}` and `{% endgeneration %}`, which mark what training looks at and print nothing.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        let Some(end) = tag.find("%}").map(|end| end + 2) else { break };
        let name = tag[2..end - 2].trim_matches(['-', '+']).trim();
        out.push_str(before);
        if matches!(name, "generation" | "endgeneration") {
            // An empty statement keeps the tag's effect on the blanks around it.
            out.push_str(&tag[..end].replacen(name, "set __generation = 0", 1));
        } else {
            out.push_str(&tag[..end]);
        }
        rest = &tag[end..];
    }
    out + rest
}

/// The first sentence of an error, without template text.
fn said(error: &Error) -> String {
    let what = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    match (error.kind(), error.line()) {
        (ErrorKind::OutOfFuel, _) => "it takes too many steps".to_owned(),
        (ErrorKind::InvalidOperation, _) => what,
        (_, Some(line)) => format!("{what} (line {line} of the template)"),
        _ => what,
    }
}

/// Refuses to grow beyond [`RENDERED_BYTES_MAX`].
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > RENDERED_BYTES_MAX {
            return Err(io::Error::other("the rendered text is too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
