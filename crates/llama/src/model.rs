//! A loaded GGUF file: its facts and its vocabulary.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::OnceLock;

use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::{LlamaBackendDeviceType, list_llama_ggml_backend_devices};

use crate::{Error, Pooling, Token, log};

/// More layers than any model has: "all of them".
const ALL_LAYERS: u32 = 9_999;
/// llama.cpp as vendored by the bindings, for fingerprints.
const ENGINE_BUILD: &str = "llama-cpp-2/0.1.160";
/// Pieces are read into a buffer of at least this capacity, so that the common case needs one call.
const PIECE_BYTES: usize = 64;

/// Accelerators, and whether this build is made for them.
const FEATURES: [(&str, bool); 4] = [
    ("cuda", cfg!(feature = "cuda")),
    ("metal", cfg!(feature = "metal")),
    ("rocm", cfg!(feature = "rocm")),
    ("vulkan", cfg!(feature = "vulkan")),
];

/// Accelerators that this build is made for.
pub fn accelerators() -> Vec<&'static str> {
    FEATURES.iter().filter(|(_, is_in)| *is_in).map(|(name, _)| *name).collect()
}

/// What a loaded model is.
#[derive(Debug, Clone)]
pub struct Facts {
    pub architecture: String,
    pub name: Option<String>,
    /// Tokens that the model was trained with.
    pub context_train: u32,
    /// Tokens in the vocabulary.
    pub vocabulary: u32,
    /// Width of an embedding.
    pub embedding_length: u32,
    pub parameters: u64,
    /// Bytes of the tensors.
    pub size_bytes: u64,
    /// Text of the token that begins a sequence, if there is one.
    pub bos_token: Option<String>,
    /// Text of the token that ends a sequence, if there is one.
    pub eos_token: Option<String>,
    /// Id of the token that begins a sequence, if there is one.
    pub bos: Option<Token>,
    /// Id of the token that ends a sequence, if there is one.
    pub eos: Option<Token>,
    /// Whether plain text gets a BOS token in front.
    pub add_bos: bool,
    /// Id of the token between two texts, if there is one.
    pub sep: Option<Token>,
    /// Whether plain text gets an EOS token at its end.
    pub add_eos: bool,
    /// Whether two texts in one get that token between them.
    pub add_sep: bool,
    pub chat_template: Option<String>,
    /// Whether it predicts the next token; encoders (BERT) only embed.
    pub generates: bool,
    /// How it embeds; `None` if that is not known.
    pub pooling: Option<Pooling>,
    /// Whether the file itself says how it pools.
    pub names_pooling: bool,
    /// Whether a cached sequence can be cut in its middle; recurrent models keep only the end state.
    pub cuts_sequences: bool,
    /// Tokens that end an answer.
    pub end_tokens: Vec<Token>,
    /// Longest text of one token, in bytes.
    pub piece_bytes_max: u32,
    /// Engine build, features and model, as one short text.
    pub fingerprint: String,
    /// GPUs used; empty on CPU.
    pub devices: Vec<String>,
}

/// A loaded model. Immutable; shared between threads by reference.
pub struct Model {
    inner: LlamaModel,
    facts: Facts,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("facts", &self.facts).finish_non_exhaustive()
    }
}

pub(crate) fn backend() -> Result<&'static LlamaBackend, Error> {
    static BACKEND: OnceLock<Result<LlamaBackend, String>> = OnceLock::new();
    log::send_logs_to_tracing();
    BACKEND.get_or_init(|| LlamaBackend::init().map_err(|e| e.to_string())).as_ref().map_err(|e| Error::Engine(e.clone()))
}

impl Model {
    /// Loads a GGUF file (the first shard of a sharded one), mapped into memory.
    ///
    /// `gpu_layers` is the number of layers to put on a GPU, negative for all; it means nothing in a CPU build.
    ///
    /// # Errors
    /// [`Error::Unloadable`] in words when the file is missing, damaged or of an unknown kind.
    pub fn load(path: &Path, gpu_layers: i32) -> Result<Self, Error> {
        let backend = backend()?;
        let file = std::fs::metadata(path).map_err(|e| Error::Unloadable(format!("cannot open {}: {e}", path.display())))?;
        if !file.is_file() {
            return Err(Error::Unloadable(format!("{} is not a file", path.display())));
        }
        log::take_errors();
        let layers = u32::try_from(gpu_layers).unwrap_or(ALL_LAYERS);
        let params = LlamaModelParams::default().with_n_gpu_layers(layers).with_use_mmap(true);
        let inner = LlamaModel::load_from_file(backend, path, &params).map_err(|e| {
            let said = log::take_errors();
            let why = if said.is_empty() { e.to_string() } else { said };
            Error::Unloadable(format!("cannot load {}: {why}", path.display()))
        })?;
        let facts = read_facts(&inner, file.len(), layers > 0);
        Ok(Self { inner, facts })
    }

    /// What the file says about itself.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Tokens of a text. `special` recognises control tokens in it; `add_special` puts BOS and EOS where the vocabulary asks
    /// for them.
    pub fn tokenize(&self, text: &str, add_special: bool, special: bool) -> Vec<Token> {
        self.inner.vocab().tokenize(text.as_bytes(), add_special, special).into_iter().map(|token| token.0).collect()
    }

    /// Appends the text of a token, which need not be whole characters. Control tokens have a text only with `special`.
    /// An id outside the vocabulary has none.
    pub fn piece_into(&self, token: Token, special: bool, out: &mut Vec<u8>) {
        if self.has_token(token) {
            out.reserve(PIECE_BYTES);
            self.inner.vocab().token_to_piece_into(LlamaToken(token), out, special, None);
        }
    }

    /// Whether the id is in the vocabulary.
    pub fn has_token(&self, token: Token) -> bool {
        u32::try_from(token).is_ok_and(|id| id < self.facts.vocabulary)
    }

    /// Whether the token ends an answer.
    pub fn ends_answer(&self, token: Token) -> bool {
        self.facts.end_tokens.binary_search(&token).is_ok()
    }

    pub(crate) fn raw(&self) -> &LlamaModel {
        &self.inner
    }
}

fn read_facts(model: &LlamaModel, file_bytes: u64, wants_gpu: bool) -> Facts {
    let meta = |key: &str| model.meta_val_str(key).ok();
    let architecture = meta("general.architecture").unwrap_or_default();
    let of_arch = |key: &str| meta(&format!("{architecture}.{key}"));
    let number = |key: &str| of_arch(key).and_then(|text| text.parse::<u32>().ok());
    let vocab = model.vocab();
    let vocabulary = u32::try_from(vocab.n_tokens()).unwrap_or(0);
    let text_of = |token: LlamaToken| String::from_utf8_lossy(&vocab.token_to_piece(token, true, None)).into_owned();
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    let mut piece_bytes_max = 0;
    let mut end_tokens = Vec::new();
    for token in vocab.tokens() {
        piece.clear();
        vocab.token_to_piece_into(token, &mut piece, true, None);
        piece_bytes_max = piece_bytes_max.max(piece.len() as u32);
        if vocab.is_eog(token) {
            end_tokens.push(token.0);
        }
    }
    let generates = of_arch("attention.causal").is_none_or(|text| text != "false");
    let known = |token: LlamaToken| u32::try_from(token.0).is_ok_and(|id| id < vocabulary).then_some(token);
    Facts {
        name: meta("general.name"),
        context_train: number("context_length").unwrap_or(0),
        vocabulary,
        embedding_length: u32::try_from(model.n_embd_out()).unwrap_or(0),
        parameters: model.n_params(),
        size_bytes: model.size(),
        bos_token: known(vocab.bos()).map(text_of),
        eos_token: known(vocab.eos()).map(text_of),
        bos: known(vocab.bos()).map(|token| token.0),
        eos: known(vocab.eos()).map(|token| token.0),
        add_bos: vocab.should_add_bos(),
        sep: known(vocab.sep()).map(|token| token.0),
        add_eos: vocab.should_add_eos(),
        add_sep: vocab.should_add_sep(),
        chat_template: model.chat_template(None).ok().map(|template| template.as_c_str().to_string_lossy().into_owned()),
        generates,
        pooling: Pooling::from_gguf(number("pooling_type")),
        names_pooling: number("pooling_type").is_some(),
        cuts_sequences: !(model.is_recurrent() || model.is_hybrid()),
        end_tokens,
        piece_bytes_max,
        fingerprint: fingerprint(model, &architecture, file_bytes),
        devices: if wants_gpu { gpu_names() } else { Vec::new() },
        architecture,
    }
}

/// Short and stable for the same engine and file: what `system_fingerprint` is for.
fn fingerprint(model: &LlamaModel, architecture: &str, file_bytes: u64) -> String {
    let mut hasher = DefaultHasher::new();
    (ENGINE_BUILD, architecture, file_bytes, model.n_params(), model.size()).hash(&mut hasher);
    for key in ["general.name", "general.file_type", "general.quantization_version", "tokenizer.ggml.pre", "tokenizer.chat_template"] {
        model.meta_val_str(key).ok().hash(&mut hasher);
    }
    FEATURES.hash(&mut hasher);
    format!("fp_{:012x}", hasher.finish() & 0xffff_ffff_ffff)
}

/// GPUs that this build can use on this machine, by name.
pub fn gpu_names() -> Vec<String> {
    list_llama_ggml_backend_devices()
        .into_iter()
        .filter(|device| matches!(device.device_type, LlamaBackendDeviceType::Gpu | LlamaBackendDeviceType::IntegratedGpu))
        .map(|device| format!("{} ({})", device.description, device.name))
        .collect()
}
