//! Tools with a form of their own: each is one request to the router.

use std::{sync::Arc, time::Duration};

use http::Method;
use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::router::{Router, Trouble};

/// What a tool does to the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    Reads,
    /// It adds something, or uses something up.
    Adds,
    /// It takes something away that does not come back by itself.
    Destroys,
}

impl Effect {
    pub(super) fn hints(self, title: &str) -> ToolAnnotations {
        // Only models are a world outside; what they say is data.
        let hints = ToolAnnotations::with_title(title).read_only(self == Self::Reads).open_world(false);
        if self == Self::Reads { hints } else { hints.destructive(self == Self::Destroys).idempotent(self == Self::Destroys) }
    }
}

/// A request to the router as a tool says it.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    /// Below the router's address, with its query.
    pub(super) path: String,
    pub(super) body: Option<Value>,
    /// Instead of the usual time.
    pub(super) timeout: Option<Duration>,
}

impl Call {
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), body: None, timeout: None }
    }

    pub(super) fn send(method: Method, path: impl Into<String>, body: Option<Value>) -> Self {
        Self { method, path: path.into(), body, timeout: None }
    }
}

/// A tool: its arguments are the type itself.
pub(super) trait Typed: DeserializeOwned + JsonSchema + Send + 'static {
    const NAME: &'static str;
    const TITLE: &'static str;
    const DESCRIPTION: &'static str;
    const EFFECT: Effect;
    /// Its result holds a new secret, which is what it was called for.
    const SHOWS_SECRET: bool = false;

    /// The request.
    fn call(&self) -> Result<Call, Trouble>;

    /// The JSON Schema of the result: always an object.
    fn output() -> Value;

    /// The result, from what the router said.
    fn shape(self, said: Value) -> Result<Value, Trouble> {
        Ok(said)
    }
}

/// A tool in the list.
pub(super) struct Entry {
    pub(super) name: &'static str,
    shows_secret: bool,
    list: fn() -> Tool,
    prepare: fn(JsonObject) -> Result<Prepared, Trouble>,
}

/// A call whose arguments are read, and what makes the result of the answer.
type Prepared = (Call, Box<dyn FnOnce(Value) -> Result<Value, Trouble> + Send>);

impl Entry {
    pub(super) const fn of<T: Typed>() -> Self {
        Self { name: T::NAME, shows_secret: T::SHOWS_SECRET, list: listed::<T>, prepare: prepared::<T> }
    }

    /// As it stands in the list of tools.
    pub(super) fn listed(&self) -> Tool {
        (self.list)()
    }

    /// Calls it.
    pub(super) async fn run(&self, router: &Router, arguments: JsonObject) -> Result<Value, Trouble> {
        let (call, shape) = (self.prepare)(arguments)?;
        let mut ask = router.ask(call.method, &call.path, call.body.as_ref())?;
        ask.timeout = call.timeout.unwrap_or(ask.timeout);
        let said = router.send(ask).await?;
        if !said.is_success() {
            return Err(said.trouble());
        }
        if said.is_cut {
            let message = "the answer is too long: ask for less (a filter, a smaller page)".to_owned();
            return Err(Trouble { status: Some(said.status), code: "answer_too_long".to_owned(), message, is_retryable: false });
        }
        let shaped = shape(said.value())?;
        Ok(if self.shows_secret { shaped } else { router.mask(shaped) })
    }
}

fn listed<T: Typed>() -> Tool {
    Tool::new(T::NAME, T::DESCRIPTION, input::<T>())
        .with_title(T::TITLE)
        .with_raw_output_schema(object(T::output()))
        .with_annotations(T::EFFECT.hints(T::TITLE))
}

fn prepared<T: Typed>(arguments: JsonObject) -> Result<Prepared, Trouble> {
    let arguments: T = read(arguments)?;
    let call = arguments.call()?;
    Ok((call, Box::new(move |said| arguments.shape(said))))
}

/// Reads a tool's arguments.
pub(super) fn read<T: DeserializeOwned>(arguments: JsonObject) -> Result<T, Trouble> {
    serde_json::from_value(Value::Object(arguments)).map_err(|error| Trouble::invalid(format!("the arguments do not fit: {error}")))
}

/// The JSON Schema of a tool's arguments.
pub(super) fn input<T: JsonSchema>() -> Arc<JsonObject> {
    let mut schema = schemars::generate::SchemaSettings::draft2020_12()
        .with(|s| s.inline_subschemas = true)
        .into_generator()
        .into_root_schema_for::<T>();
    for name in ["title", "description", "$schema"] {
        schema.remove(name);
    }
    // A tool without arguments says so.
    schema.insert("type".to_owned(), "object".into());
    object(schema.to_value())
}

/// A schema as the library wants it.
pub(super) fn object(schema: Value) -> Arc<JsonObject> {
    Arc::new(if let Value::Object(members) = schema { members } else { JsonObject::new() })
}
