//! What came in.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use serde::de::DeserializeOwned;
use wire::{Dialect, Failure, dialect::Encoder, head::Head, ir, preferences::MaxPrice};

use crate::upload::Upload;

/// By which a request is known to the caller, in the logs and to whoever answers it.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

// A name that stands here is read, checked and hashed when the program is built, not with each request.
static MODELS: HeaderName = HeaderName::from_static("x-llm-router-models");
static SORT: HeaderName = HeaderName::from_static("x-llm-router-sort");
static MAX_PRICE: HeaderName = HeaderName::from_static("x-llm-router-max-price");
static DATA_COLLECTION: HeaderName = HeaderName::from_static("x-llm-router-data-collection");
static REQUIRE_PARAMETERS: HeaderName = HeaderName::from_static("x-llm-router-require-parameters");
static TIMEOUT_MS: HeaderName = HeaderName::from_static("x-llm-router-timeout-ms");
static STRICT: HeaderName = HeaderName::from_static("x-llm-router-strict");
static ORDER: HeaderName = HeaderName::from_static("x-llm-router-order");
static ONLY: HeaderName = HeaderName::from_static("x-llm-router-only");
static IGNORE: HeaderName = HeaderName::from_static("x-llm-router-ignore");
static ALLOW_FALLBACKS: HeaderName = HeaderName::from_static("x-llm-router-allow-fallbacks");
static RESUME: HeaderName = HeaderName::from_static("x-resume");

/// What kind of work is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A generation, in the caller's dialect.
    Generate(Dialect),
    /// A text completion.
    Completions,
    Embeddings,
    /// How many tokens a generation's input would have.
    Count(Dialect),
    /// Any other JSON path: forwarded as it is.
    Other,
}

impl Operation {
    /// The dialect in which the caller hears answers and errors.
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::Generate(dialect) | Self::Count(dialect) => dialect,
            Self::Completions | Self::Embeddings | Self::Other => Dialect::Chat,
        }
    }

    /// The name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Generate(dialect) => dialect.name(),
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Count(_) => "count_tokens",
            Self::Other => "other",
        }
    }

    /// The member of the body without which there is nothing to do, and whether `head` has it.
    pub const fn input(self, head: &Head) -> (&'static str, bool) {
        match self {
            Self::Generate(Dialect::Chat | Dialect::Messages) | Self::Count(Dialect::Chat | Dialect::Messages) => {
                ("messages", head.has_messages)
            }
            Self::Generate(Dialect::Responses) | Self::Count(Dialect::Responses) => ("input", head.has_input || head.has_prompt),
            Self::Generate(Dialect::Gemini) => ("contents", head.has_contents),
            Self::Count(Dialect::Gemini) | Self::Other => ("contents", true),
            Self::Completions => ("prompt", head.has_prompt),
            Self::Embeddings => ("input", head.has_input),
        }
    }
}

/// What stands in the path where other dialects have it in the body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InPath {
    pub model: String,
    pub stream: bool,
    /// Without `alt=sse` a Gemini stream is one growing JSON array.
    pub as_array: bool,
}

/// A path that is forwarded, with its query: below the version, beginning with `/`, normal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarded(Arc<str>);

impl Forwarded {
    /// Takes a path below `/v1` and its query; a key in the query stays here.
    ///
    /// # Errors
    /// [`wire::Code::InvalidRequest`] for one that could lead elsewhere: empty or dotted segments, backslashes, escapes of either.
    pub fn new(path: &str, query: &str) -> Result<Self, Failure> {
        let is_plain =
            |segment: &str| !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~:@+=,".contains(&b));
        let segments = path.strip_prefix('/').unwrap_or(path);
        if path.starts_with('/') && segments.split('/').all(|s| is_plain(s) && !s.bytes().all(|b| b == b'.')) {
            let pairs: Vec<&str> = query.split('&').filter(|p| !p.is_empty() && !p.starts_with("key=")).collect();
            return Ok(Self(if pairs.is_empty() { path.into() } else { format!("{path}?{}", pairs.join("&")).into() }));
        }
        Err(Failure::new(wire::Code::InvalidRequest, "this path cannot be forwarded: each part must be letters, digits and -_.~:@+=, only"))
    }

    /// Path and query below the version.
    pub fn path(&self) -> &str {
        &self.0
    }
}

/// An inference call as received: its body in memory, or a form on its way; nothing judged yet.
#[derive(Debug)]
pub struct Call {
    pub operation: Operation,
    /// Gemini's model and form of stream.
    pub in_path: Option<InPath>,
    /// The model that a path of Azure's form names; the body's own name stands behind it.
    pub deployment: Option<String>,
    /// Where [`Operation::Other`] goes.
    pub forwarded: Option<Forwarded>,
    /// A form that is passed on as it comes; the body is empty then.
    pub upload: Option<Upload>,
    /// `?key=`, on Gemini's paths.
    pub query_key: Option<String>,
    /// The caller's own, if sane, else made here.
    pub request_id: Arc<str>,
    /// As the client wrote it, query left out.
    pub path: Arc<str>,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The client's address: the socket's peer, or what a trusted proxy says.
    pub client: IpAddr,
    pub received: Instant,
    pub received_at: jiff::Timestamp,
}

/// A call whose head was read; the body's bytes are kept as they came.
#[derive(Debug)]
pub struct Request {
    pub operation: Operation,
    pub head: Head,
    pub in_path: Option<InPath>,
    /// Where [`Operation::Other`] goes.
    pub forwarded: Option<Forwarded>,
    pub body: Bytes,
    /// A form that is passed on as it comes.
    pub upload: Option<Upload>,
    /// Milliseconds that the caller gives the whole call.
    pub timeout_ms: Option<u64>,
    /// Refuse what a translation would lose.
    pub strict: bool,
    /// `x-resume`: whether a stream whose node is lost goes on elsewhere; `None` where the request says nothing.
    pub resume: Option<bool>,
    inner: OnceLock<Result<ir::Request, Failure>>,
}

impl Request {
    /// Reads the head of a call's body.
    ///
    /// # Errors
    /// What [`Head::scan`] says.
    pub fn read(call: &Call) -> Result<Self, Failure> {
        let mut head = match &call.upload {
            Some(upload) => Head::naming(upload.model()),
            None => Head::scan(&call.body)?,
        };
        if let Some(deployment) = &call.deployment {
            head.rename(deployment);
        }
        if let Some(in_path) = &call.in_path {
            head.model = Some(in_path.model.clone()).filter(|m| !m.is_empty());
            head.stream = in_path.stream;
        }
        let controls = Controls(&call.headers);
        controls.add_to(&mut head)?;
        let resume = controls.text(&RESUME).map(|v| v == "true" || v == "1");
        let requires_all = head.preferences.as_ref().and_then(|p| p.require_parameters) == Some(true);
        Ok(Self {
            operation: call.operation,
            in_path: call.in_path.clone(),
            forwarded: call.forwarded.clone(),
            timeout_ms: head.timeout_ms,
            strict: head.strict || requires_all,
            resume: resume.filter(|_| head.stream),
            head,
            body: call.body.clone(),
            upload: call.upload.clone(),
            inner: OnceLock::new(),
        })
    }

    /// The name that the client asked for; empty if it named none.
    pub fn model(&self) -> &str {
        self.head.model.as_deref().unwrap_or_default()
    }

    /// How many answers are asked for.
    pub fn choices(&self) -> u32 {
        self.head.choices.unwrap_or(1)
    }

    /// The request in the inner language, read at the first need.
    ///
    /// # Errors
    /// What the dialect's decoder says of the body.
    pub fn inner(&self) -> Result<&ir::Request, Failure> {
        let read = || {
            let body = &wire::json::mended(&self.body);
            match self.operation {
                Operation::Completions => wire::completions::decode::request(body),
                Operation::Count(Dialect::Messages) => wire::messages::decode::count_request(body),
                Operation::Count(Dialect::Gemini) => wire::gemini::decode::count_request(body, self.model()),
                operation => operation.dialect().decode_request(body, self.model(), self.head.stream),
            }
        };
        self.inner.get_or_init(read).as_ref().map_err(Clone::clone)
    }

    /// Writes streamed answers for the caller.
    pub fn encoder(&self) -> Encoder {
        match self.operation {
            Operation::Completions => Encoder::Completions(wire::completions::encode::Encoder::new(self.head.include_usage)),
            operation => match operation.dialect() {
                Dialect::Chat => Encoder::Chat(wire::chat::stream::Encoder::new(self.head.include_usage)),
                Dialect::Responses => Encoder::Responses(Box::new(match self.inner() {
                    Ok(asked) => wire::responses::stream::Encoder::for_request(asked),
                    Err(_) => wire::responses::stream::Encoder::new(),
                })),
                Dialect::Messages => Encoder::Messages(Box::new(wire::messages::stream::Encoder::new(self.guessed_tokens()))),
                Dialect::Gemini if self.in_path.as_ref().is_some_and(|p| p.as_array) => {
                    Encoder::Gemini(wire::gemini::stream::Encoder::new_array())
                }
                Dialect::Gemini => Encoder::Gemini(wire::gemini::stream::Encoder::new()),
            },
        }
    }

    /// Tokens of the input, guessed as one for four bytes of text: where nobody counts them.
    pub fn guessed_tokens(&self) -> u64 {
        (self.body.len() as u64).div_ceil(4)
    }
}

/// A caller's controls as headers: those of the body, and the nested ones of `provider` flat by their last word.
struct Controls<'a>(&'a HeaderMap);

impl<'a> Controls<'a> {
    /// An empty one says nothing.
    fn text(&self, name: &HeaderName) -> Option<&'a str> {
        self.0.get(name).and_then(|v| v.to_str().ok()).map(str::trim).filter(|text| !text.is_empty())
    }

    fn list(&self, name: &HeaderName) -> Vec<String> {
        let names = self.text(name).unwrap_or_default().split(',').map(str::trim).filter(|n| !n.is_empty());
        names.map(str::to_owned).collect()
    }

    /// One that cannot be read is refused: a wish that nobody hears is not kept.
    fn read<T>(&self, name: &HeaderName, form: &str, read: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Failure> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let failure = || Failure::invalid(name.as_str(), format!("`{name}` must be {form}, not {text:?}"));
        read(text).map(Some).ok_or_else(failure)
    }

    fn flag(&self, name: &HeaderName) -> Result<Option<bool>, Failure> {
        self.read(name, "true or false", |text| match text {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        })
    }

    fn word<T: DeserializeOwned>(&self, name: &HeaderName, form: &str) -> Result<Option<T>, Failure> {
        self.read(name, form, |text| serde_json::from_value(text.into()).ok())
    }

    /// What the body says wins.
    fn add_to(&self, head: &mut Head) -> Result<(), Failure> {
        // Most callers have none.
        if !self.0.keys().any(|name| name.as_str().starts_with("x-llm-router-")) {
            return Ok(());
        }
        if head.models.is_empty() {
            head.models = self.list(&MODELS);
        }
        let milliseconds = self.read(&TIMEOUT_MS, "a whole number of milliseconds", |text| text.parse().ok())?;
        head.timeout_ms = head.timeout_ms.or(milliseconds);
        head.strict |= self.flag(&STRICT)? == Some(true);
        let mut said = head.preferences.take().unwrap_or_default();
        for (name, place) in [(&ORDER, &mut said.order), (&ONLY, &mut said.only), (&IGNORE, &mut said.ignore)] {
            if place.is_empty() {
                *place = self.list(name);
            }
        }
        said.allow_fallbacks = said.allow_fallbacks.or(self.flag(&ALLOW_FALLBACKS)?);
        said.require_parameters = said.require_parameters.or(self.flag(&REQUIRE_PARAMETERS)?);
        said.sort = said.sort.or(self.word(&SORT, "price, latency or throughput")?);
        said.data_collection = said.data_collection.or(self.word(&DATA_COLLECTION, "allow or deny")?);
        let dollars = "dollars for a million tokens, or an object of `prompt` and `completion`";
        let price = self.read(&MAX_PRICE, dollars, |text| match text.parse::<f64>() {
            Ok(most) => (most >= 0.0).then_some(MaxPrice { prompt: Some(most), completion: Some(most) }),
            Err(_) => serde_json::from_str(text).ok(),
        })?;
        said.max_price = said.max_price.or(price);
        head.preferences = Some(said);
        Ok(())
    }
}
