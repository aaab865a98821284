//! Supervisor ↔ worker frames.
//!
//! A worker is a child process that holds exactly one model. Frames travel over its standard input (to the worker) and
//! standard output (from the worker); its standard error is its log. A frame is a little-endian `u32` length followed by that
//! many bytes of JSON, at most [`FRAME_BYTES_MAX`]. The end of standard input ends the worker.

use std::io;

use serde::{Deserialize, Serialize};

/// Largest accepted frame, in bytes.
pub const FRAME_BYTES_MAX: usize = 64 << 20;

/// Names one request between a supervisor and its worker; never used again while both live.
pub type RequestId = u64;

/// What the supervisor asks of the worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "frame", rename_all = "snake_case")]
pub enum ToWorker {
    /// First frame: load the model. Answered by `Loaded` or `LoadFailed`.
    Load(Load),
    /// Generate. Answered by `Accepted`, any number of `Tokens`, and one `Done` or `Failed`.
    Submit(Box<Submit>),
    /// Stop a request before the next decode step; answered by its `Done` with [`Finish::Cancelled`]. Unknown ids are ignored.
    Cancel { id: RequestId },
    /// Embed. Answered by `Embedded` or `Failed`.
    Embed { id: RequestId, inputs: Vec<Prompt> },
    /// Tokenise. Answered by `Tokenized` or `Failed`.
    Tokenize { id: RequestId, prompt: Prompt },
    /// Turn tokens into text. Answered by `Detokenized` or `Failed`.
    Detokenize { id: RequestId, tokens: Vec<i32> },
    /// Answered by `Stats`.
    Stats,
    /// Finish what runs, take nothing new, then answer `Drained` and exit 0.
    Drain,
}

/// What the worker says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "frame", rename_all = "snake_case")]
pub enum FromWorker {
    Loaded(Box<ModelInfo>),
    LoadFailed {
        message: String,
    },
    /// The request has a place; prefill begins.
    Accepted {
        id: RequestId,
        prompt_tokens: u32,
        /// Tokens of the prompt that needed no prefill.
        cached_tokens: u32,
    },
    /// What one decode step brought, for all requests.
    Tokens {
        outputs: Vec<TokenOutput>,
    },
    Done(Done),
    Failed {
        id: RequestId,
        code: WorkerCode,
        message: String,
    },
    Embedded {
        id: RequestId,
        vectors: Vec<Vec<f32>>,
        /// Tokens over all inputs.
        prompt_tokens: u32,
    },
    Tokenized {
        id: RequestId,
        tokens: Vec<i32>,
    },
    Detokenized {
        id: RequestId,
        text: String,
    },
    Stats(EngineStats),
    /// At least once a second, from a thread of its own; `steps` counts decode steps, so a worker that hangs while
    /// `active` > 0 shows the same number again and again.
    Heartbeat {
        steps: u64,
        active: u32,
    },
    Drained,
}

/// How to load the one model of a worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Load {
    /// Absolute path of the GGUF file (of the first shard if sharded).
    pub path: String,
    /// Longest request (prompt and answer), in tokens; the model's own limit if less.
    pub context: u32,
    /// Cells of the unified KV cache shared by all slots.
    pub kv_cells: u32,
    /// Requests that may generate at once.
    pub slots: u32,
    /// Threads for one-token steps.
    pub threads: u32,
    /// Threads for prefill.
    pub threads_batch: u32,
    /// Longest wanted step while others generate, in milliseconds; bounds the prefill chunk.
    pub step_ms: u32,
    /// Layers put on a GPU; -1 for all.
    pub gpu_layers: i32,
    /// Requests that may wait for a place; more are refused with [`WorkerCode::Busy`].
    pub queue_max: u32,
}

/// What the loaded model is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ModelInfo {
    pub architecture: String,
    pub name: Option<String>,
    /// Longest request in tokens, as loaded.
    pub context: u32,
    /// The length that the model was trained with.
    pub context_train: u32,
    pub kv_cells: u32,
    pub slots: u32,
    pub vocabulary: u32,
    pub embedding_length: u32,
    pub parameters: u64,
    /// Bytes of the tensors.
    pub size_bytes: u64,
    pub bos_token: Option<String>,
    pub eos_token: Option<String>,
    /// Whether the vocabulary wants a BOS token before text (templates that write their own get none on top).
    pub add_bos: bool,
    /// The model's own chat template, if the file has one.
    pub chat_template: Option<String>,
    /// Whether it can embed, and with which pooling it does (`mean`, `cls`, `last`). `rank` gives one number per input instead:
    /// how well its two halves fit.
    pub pooling: Option<String>,
    /// Engine build and flags, for `system_fingerprint`.
    pub fingerprint: String,
    /// Devices used, by name; empty for CPU only.
    pub devices: Vec<String>,
}

/// Text to tokenise, in segments; control tokens are recognised only in segments whose `special` is set,
/// so that text from a user can never become a control token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompt {
    pub segments: Vec<Segment>,
    /// Put BOS/EOS where the vocabulary asks for it. False for a rendered chat template.
    pub add_special: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Segment {
    Text {
        text: String,
        /// Whether control tokens are recognised in `text`.
        special: bool,
    },
    /// Tokens as they are (`prompt` of `/v1/completions` may be token ids).
    Tokens { tokens: Vec<i32> },
    /// `null`: where the first half of an input that is ranked ends and the second begins. The vocabulary's marks for that come here.
    Between,
}

impl Segment {
    /// Text without control tokens.
    pub fn plain(text: impl Into<String>) -> Self {
        Self::Text { text: text.into(), special: false }
    }
}

impl Prompt {
    /// Plain text without control tokens.
    pub fn plain(text: impl Into<String>) -> Self {
        Self { segments: vec![Segment::plain(text)], add_special: true }
    }
}

/// One generation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Submit {
    pub id: RequestId,
    pub prompt: Prompt,
    /// Most tokens to generate; the rest of the context if unset.
    pub max_tokens: Option<u32>,
    pub sampling: Sampling,
    pub constraint: Option<Constraint>,
    /// Strings that end the answer and are not part of it.
    pub stop: Vec<String>,
    /// Control tokens whose text belongs to the answer; others have none. What is no single token of the vocabulary is ignored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<String>,
    /// Log-probabilities of the chosen token and of this many alternatives (0..=20); none if unset.
    pub logprobs: Option<u8>,
    /// Go on after an end-of-generation token.
    pub ignore_eos: bool,
    /// Take cells of an earlier prompt with the same beginning and the same `salt`.
    pub cache_prompt: bool,
    /// Prefix sharing never crosses salts.
    pub salt: u64,
    /// Milliseconds that the request may wait for a place before [`WorkerCode::Busy`].
    pub queue_ms: u32,
}

/// Sampling parameters; the defaults sample from the whole distribution at temperature 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 is greedy.
    pub temperature: f32,
    pub top_k: i32,
    pub top_p: f32,
    pub min_p: f32,
    pub repeat_penalty: f32,
    /// Tokens that the penalties look back over.
    pub repeat_last_n: i32,
    pub presence_penalty: f32,
    pub frequency_penalty: f32,
    /// Random if unset.
    pub seed: Option<u32>,
    /// (token, bias) pairs.
    pub logit_bias: Vec<(i32, f32)>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            repeat_last_n: 64,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            seed: None,
            logit_bias: Vec::new(),
        }
    }
}

/// What the generated text must match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Constraint {
    /// A JSON Schema, as text.
    JsonSchema(String),
    /// A GBNF grammar whose start rule is `root`.
    Grammar(String),
    /// Free text up to the first `open`. After it come a document of the schema (JSON, as text) and `close`, perhaps the same
    /// again, and then the end. A schema that can't be kept to leaves the text free.
    Call {
        open: String,
        schema: String,
        close: String,
        /// Within these `open` means nothing.
        thoughts: Option<Thoughts>,
    },
}

/// Marks around what a model thinks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thoughts {
    pub open: String,
    pub close: String,
    /// The prompt ends within them.
    pub has_begun: bool,
}

/// What one step brought for one request. `text` may be empty while bytes of a character or of a possible stop string
/// are held back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenOutput {
    pub id: RequestId,
    pub text: String,
    /// Tokens generated so far.
    pub count: u32,
    /// For the tokens whose text is in `text` (or held back); empty unless asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logprobs: Vec<TokenLogprob>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    pub token: TokenChance,
    pub top: Vec<TokenChance>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenChance {
    pub id: i32,
    /// The token's bytes; not always UTF-8 by themselves.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability before sampling filters.
    pub logprob: f32,
}

/// The end of a generation. `text` is what was held back and belongs to the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Done {
    pub id: RequestId,
    pub finish: Finish,
    pub text: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logprobs: Vec<TokenLogprob>,
    pub prompt_tokens: u32,
    pub cached_tokens: u32,
    pub completion_tokens: u32,
    pub timings: Timings,
}

/// Where the time of a generation went, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    pub queue_ms: f32,
    pub prefill_ms: f32,
    pub decode_ms: f32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// An end-of-generation token.
    Stop,
    /// A stop string.
    StopString,
    /// `max_tokens`, or the context is full.
    Length,
    Cancelled,
}

/// Why a request failed, by what the caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerCode {
    /// Bad schema, grammar, token id or parameter: 400.
    Invalid,
    /// Longer than the context: 400.
    ContextLength,
    /// No place within the queue's bounds: 429.
    Busy,
    /// The model cannot do this: 501.
    Unsupported,
    /// The engine failed: 500.
    Internal,
}

/// Counters and gauges of a worker.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EngineStats {
    pub slots_total: u32,
    pub slots_busy: u32,
    pub queue_len: u32,
    pub kv_total: u32,
    pub kv_used: u32,
    /// Prompt tokens not yet prefilled, over all admitted and queued requests.
    pub backlog_tokens: u64,
    pub prompt_tokens_total: u64,
    pub cached_tokens_total: u64,
    pub completion_tokens_total: u64,
    pub requests_total: u64,
    pub steps_total: u64,
    /// Moving average, tokens per second; 0 until measured.
    pub prefill_tps: f32,
    /// Moving average, milliseconds per token of one sequence; 0 until measured.
    pub tpot_ms: f32,
}

/// Writes one frame.
pub fn write_frame<T: Serialize>(out: &mut impl io::Write, frame: &T) -> io::Result<()> {
    let body = encode_frame(frame)?;
    out.write_all(&body)?;
    out.flush()
}

/// The bytes of one frame, length included.
pub fn encode_frame<T: Serialize>(frame: &T) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, frame)?;
    let length = bytes.len() - 4;
    if length > FRAME_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a frame of {length} bytes; at most {FRAME_BYTES_MAX} are allowed"),
        ));
    }
    let length = u32::try_from(length).map_err(io::Error::other)?;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    Ok(bytes)
}

/// Checks the length in front of a frame.
pub fn frame_length(head: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_le_bytes(head) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a frame of {length} bytes; at most {FRAME_BYTES_MAX} are allowed"),
        ));
    }
    Ok(length)
}

/// Reads one frame; `None` at the end of the stream.
pub fn read_frame<T: for<'de> Deserialize<'de>>(input: &mut impl io::Read) -> io::Result<Option<T>> {
    let mut head = [0; 4];
    match input.read_exact(&mut head) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    }
    let mut body = vec![0; frame_length(head)?];
    input.read_exact(&mut body)?;
    Ok(Some(serde_json::from_slice(&body)?))
}
