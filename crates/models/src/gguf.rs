//! GGUF headers, read by the node itself: files come from strangers, and C++ parsers stay in the worker.
//!
//! Versions 2 and 3. Every count, length and offset is checked against a bound and against the file's length before it is used;
//! arrays that nobody needs (150,000-word vocabularies) are walked over, not kept.

mod source;
mod tensor;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Seek},
    path::Path,
};

use source::{Array, Source, Value};

/// Most key-value pairs of a header.
pub const PAIRS_MAX: u64 = 65_536;
/// Most tensors of a header.
pub const TENSORS_MAX: u64 = 65_536;
/// Longest chat template that is kept, in bytes.
pub const TEMPLATE_BYTES_MAX: u64 = 1 << 20;
/// Most control tokens that are kept.
pub const CONTROLS_MAX: usize = 16_384;
/// Longest control token that is kept, in bytes; longer ones are no control tokens that a text could spell by accident.
const CONTROL_BYTES_MAX: u64 = 256;
/// Alignment of tensor data where the file names none.
const ALIGNMENT_DEFAULT: u64 = 32;
/// The vocabulary's marks for tokens that text must not spell: unknown and control.
const UNSPELLABLE: [i32; 2] = [2, 3];

/// Why a file is no usable model.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The file can't be read.
    #[error("it can't be read: {0}")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("it is no GGUF file")]
    Magic,
    /// It is GGUF of a kind that is not read.
    #[error("GGUF version {0} is not supported: 2 and 3 are")]
    Version(u32),
    /// It ends before what its header promises.
    #[error("it is cut short: {what} would end at byte {end} of {length}")]
    Truncated {
        /// What would not fit.
        what: &'static str,
        /// Where it would end.
        end: u64,
        /// The file's length.
        length: u64,
    },
    /// Its header contradicts itself or a bound.
    #[error("its header is damaged: {0}")]
    Damaged(String),
}

/// What the header of a model says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    /// `llama`, `qwen3`, …
    pub architecture: String,
    /// `general.name`.
    pub name: Option<String>,
    /// The length in tokens that the model was trained with.
    pub context_train: Option<u64>,
    /// Width of the model.
    pub embedding_length: u64,
    /// Layers.
    pub blocks: u64,
    /// Key and value heads over all layers.
    pub kv_heads_total: u64,
    /// Width of a key head plus width of a value head.
    pub kv_head_width: u64,
    /// Tokens seen by layers with a sliding window.
    pub sliding_window: Option<u64>,
    /// Words of the vocabulary.
    pub vocabulary: u64,
    /// The model's chat template.
    pub template: Option<String>,
    /// Its template for requests with tools, where it has one of its own.
    pub template_tool_use: Option<String>,
    /// How a query and a document are put to it, where it ranks and has a way of its own: text with `{query}` and `{document}` in it.
    pub template_rerank: Option<String>,
    /// Text of the token that begins a text.
    pub bos_token: Option<String>,
    /// Text of the token that ends an answer.
    pub eos_token: Option<String>,
    /// Tokens with a meaning of their own, which text of a user must not spell.
    pub control_tokens: Vec<String>,
    /// Bytes of tensor data in this file.
    pub tensor_bytes: u64,
}

impl Header {
    /// Reads the header of the file at `path`.
    pub fn of_file(path: &Path) -> Result<Self, GgufError> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Self::read(file, length)
    }

    /// Reads a header from the start of `input`, which is `length` bytes long.
    pub fn read(input: impl Read + Seek, length: u64) -> Result<Self, GgufError> {
        let mut source = Source::new(input, length);
        if source.array::<4>("the magic").map_err(|e| if matches!(e, GgufError::Truncated { .. }) { GgufError::Magic } else { e })?
            != *b"GGUF"
        {
            return Err(GgufError::Magic);
        }
        let version = source.u32("the version")?;
        if !(2..=3).contains(&version) {
            return Err(GgufError::Version(version));
        }
        let tensors = source.count("tensors", TENSORS_MAX)?;
        let pairs = source.count("metadata pairs", PAIRS_MAX)?;
        let mut kept = Kept::default();
        for _ in 0..pairs {
            kept.read(&mut source)?;
        }
        let alignment = kept.number("general.alignment").unwrap_or(ALIGNMENT_DEFAULT);
        let tensor_bytes = tensor::check(&mut source, tensors, alignment)?;
        let mut header = kept.header(tensor_bytes);
        kept.vocabulary(&mut source, &mut header)?;
        Ok(header)
    }
}

/// The pairs that matter.
#[derive(Default)]
struct Kept {
    values: BTreeMap<String, Value>,
    tokens: Option<Array>,
    token_types: Option<Array>,
}

impl Kept {
    fn read<R: Read + Seek>(&mut self, source: &mut Source<R>) -> Result<(), GgufError> {
        let key = source.string("a key", u64::from(u16::MAX))?;
        let kind = source.u32("the type of a value")?;
        match key.as_str() {
            "tokenizer.ggml.tokens" => self.tokens = source.skip(kind)?,
            "tokenizer.ggml.token_type" => self.token_types = source.skip(kind)?,
            _ if is_wanted(&key) => {
                if let Some(value) = source.value(kind, TEMPLATE_BYTES_MAX)? {
                    self.values.insert(key, value);
                }
            }
            _ => {
                source.skip(kind)?;
            }
        }
        Ok(())
    }

    fn number(&self, key: &str) -> Option<u64> {
        match self.values.get(key)? {
            Value::Number(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    fn text(&self, key: &str) -> Option<String> {
        match self.values.get(key)? {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }

    fn header(&self, tensor_bytes: u64) -> Header {
        let architecture = self.text("general.architecture").unwrap_or_default();
        let number = |name: &str| self.number(&format!("{architecture}.{name}"));
        let (blocks, embedding) = (number("block_count").unwrap_or(0), number("embedding_length").unwrap_or(0));
        let heads = number("attention.head_count").unwrap_or(0);
        let head_width = embedding.checked_div(heads).unwrap_or(0);
        let kv_heads_total = match self.values.get(&format!("{architecture}.attention.head_count_kv")) {
            Some(Value::Numbers(each)) => each.iter().filter_map(|n| u64::try_from(*n).ok()).fold(0, u64::saturating_add),
            Some(Value::Number(each)) => u64::try_from(*each).unwrap_or(0).saturating_mul(blocks),
            _ => heads.saturating_mul(blocks),
        };
        let (key, value) = (number("attention.key_length").unwrap_or(head_width), number("attention.value_length").unwrap_or(head_width));
        Header {
            name: self.text("general.name"),
            context_train: number("context_length"),
            embedding_length: embedding,
            blocks,
            kv_heads_total,
            kv_head_width: key.saturating_add(value),
            sliding_window: number("attention.sliding_window").filter(|window| *window > 0),
            vocabulary: self.tokens.map_or_else(|| number("vocab_size").unwrap_or(0), |tokens| tokens.count),
            template: self.text("tokenizer.chat_template"),
            template_tool_use: self.text("tokenizer.chat_template.tool_use"),
            template_rerank: self.text("tokenizer.chat_template.rerank"),
            bos_token: None,
            eos_token: None,
            control_tokens: Vec::new(),
            tensor_bytes,
            architecture,
        }
    }

    /// Looks up the texts of the control tokens, of BOS and of EOS.
    fn vocabulary<R: Read + Seek>(&self, source: &mut Source<R>, header: &mut Header) -> Result<(), GgufError> {
        let Some(tokens) = self.tokens.filter(Array::is_text) else { return Ok(()) };
        let mut wanted: Vec<u64> = match self.token_types.filter(Array::is_i32) {
            Some(types) => source.indexes(types, CONTROLS_MAX, |kind| UNSPELLABLE.contains(&kind))?,
            None => Vec::new(),
        };
        let (bos, eos) = (self.number("tokenizer.ggml.bos_token_id"), self.number("tokenizer.ggml.eos_token_id"));
        wanted.extend([bos, eos].into_iter().flatten());
        wanted.sort_unstable();
        wanted.dedup();
        for (index, text) in source.texts(tokens, &wanted, CONTROL_BYTES_MAX)? {
            if bos == Some(index) {
                header.bos_token = Some(text.clone());
            }
            if eos == Some(index) {
                header.eos_token = Some(text.clone());
            }
            header.control_tokens.push(text);
        }
        Ok(())
    }
}

fn is_wanted(key: &str) -> bool {
    const WHOLE: [&str; 8] = [
        "general.architecture",
        "general.name",
        "general.alignment",
        "tokenizer.chat_template",
        "tokenizer.chat_template.tool_use",
        "tokenizer.chat_template.rerank",
        "tokenizer.ggml.bos_token_id",
        "tokenizer.ggml.eos_token_id",
    ];
    const ENDS: [&str; 9] = [
        ".context_length",
        ".embedding_length",
        ".block_count",
        ".attention.head_count",
        ".attention.head_count_kv",
        ".attention.key_length",
        ".attention.value_length",
        ".attention.sliding_window",
        ".vocab_size",
    ];
    WHOLE.contains(&key) || (key.len() <= 128 && ENDS.iter().any(|end| key.ends_with(end)))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    fn text(out: &mut Vec<u8>, text: &str) {
        out.extend((text.len() as u64).to_le_bytes());
        out.extend(text.as_bytes());
    }

    fn pair(out: &mut Vec<u8>, key: &str, kind: u32, value: &[u8]) {
        text(out, key);
        out.extend(kind.to_le_bytes());
        out.extend(value);
    }

    fn texts(values: &[&str]) -> Vec<u8> {
        let mut out = 8u32.to_le_bytes().to_vec();
        out.extend((values.len() as u64).to_le_bytes());
        for value in values {
            text(&mut out, value);
        }
        out
    }

    fn string(value: &str) -> Vec<u8> {
        let mut out = Vec::new();
        text(&mut out, value);
        out
    }

    /// A small, complete file.
    fn sample() -> Vec<u8> {
        let mut pairs = Vec::new();
        pair(&mut pairs, "general.architecture", 8, &string("llama"));
        pair(&mut pairs, "llama.context_length", 4, &2048u32.to_le_bytes());
        pair(&mut pairs, "llama.embedding_length", 4, &64u32.to_le_bytes());
        pair(&mut pairs, "llama.block_count", 4, &2u32.to_le_bytes());
        pair(&mut pairs, "llama.attention.head_count", 4, &4u32.to_le_bytes());
        pair(&mut pairs, "llama.attention.head_count_kv", 4, &2u32.to_le_bytes());
        pair(&mut pairs, "some.float", 6, &1.5f32.to_le_bytes());
        pair(&mut pairs, "tokenizer.ggml.tokens", 9, &texts(&["<unk>", "<s>", "</s>", "a", "b"]));
        let mut kinds = 5u32.to_le_bytes().to_vec();
        kinds.extend(5u64.to_le_bytes());
        kinds.extend([2i32, 3, 3, 1, 1].iter().flat_map(|kind| kind.to_le_bytes()));
        pair(&mut pairs, "tokenizer.ggml.token_type", 9, &kinds);
        pair(&mut pairs, "tokenizer.ggml.eos_token_id", 4, &2u32.to_le_bytes());
        pair(&mut pairs, "tokenizer.chat_template", 8, &string("{{ messages }}"));
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend(1u64.to_le_bytes());
        out.extend(11u64.to_le_bytes());
        out.extend(pairs);
        text(&mut out, "token_embd.weight");
        out.extend(2u32.to_le_bytes());
        out.extend(8u64.to_le_bytes());
        out.extend(4u64.to_le_bytes());
        out.extend(0u32.to_le_bytes());
        out.extend(0u64.to_le_bytes());
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend([7; 128]);
        out
    }

    fn read(bytes: &[u8]) -> Result<Header, GgufError> {
        Header::read(Cursor::new(bytes), bytes.len() as u64)
    }

    #[test]
    fn a_header_says_what_the_node_needs() {
        let header = read(&sample()).unwrap();
        assert_eq!(
            (header.architecture.as_str(), header.context_train, header.vocabulary, header.tensor_bytes),
            ("llama", Some(2048), 5, 128)
        );
        assert_eq!((header.kv_heads_total, header.kv_head_width), (4, 32));
        assert_eq!(header.control_tokens, ["<unk>", "<s>", "</s>"]);
        assert_eq!((header.eos_token.as_deref(), header.bos_token), (Some("</s>"), None));
        assert_eq!(header.template.as_deref(), Some("{{ messages }}"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(matches!(read(b"GGU"), Err(GgufError::Magic)));
        assert!(matches!(read(b"not a model at all"), Err(GgufError::Magic)));
        assert!(matches!(read(b"GGUF\x01\0\0\0"), Err(GgufError::Version(1))));
        let whole = sample();
        let said = read(&whole[..whole.len() - 1]).unwrap_err().to_string();
        assert!(said.contains("cut short") && said.contains("tensor"), "{said}");
        let mut many = whole.clone();
        many[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(read(&many).unwrap_err().to_string().contains("tensors"));
    }

    #[test]
    fn every_shorter_file_is_an_error() {
        let whole = sample();
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "{length} bytes");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        #[test]
        fn damaged_bytes_never_panic(changes in prop::collection::vec((0usize..600, any::<u8>()), 1..8), cut in 0usize..900) {
            let mut bytes = sample();
            for (at, value) in changes {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            bytes.truncate(cut.max(4));
            let _ = read(&bytes);
        }

        #[test]
        fn any_bytes_after_the_magic_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut file = b"GGUF\x03\0\0\0".to_vec();
            file.extend(bytes);
            let _ = read(&file);
        }
    }
}
