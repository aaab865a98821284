//! Model files: a header, no tensors. Enough for everything but an engine that computes.

/// Kinds of values in the format.
const U32: u32 = 4;
const I32: u32 = 5;
const TEXT: u32 = 8;
const LIST: u32 = 9;

/// A GGUF file in the making.
#[derive(Debug, Clone, Default)]
pub struct Gguf {
    count: u64,
    pairs: Vec<u8>,
}

impl Gguf {
    /// Of the architecture `llama`, with nothing else.
    pub fn new() -> Self {
        Self::default().text("general.architecture", "llama")
    }

    /// With this chat template.
    pub fn with_template(template: &str) -> Self {
        Self::new().text("tokenizer.chat_template", template)
    }

    #[must_use]
    pub fn text(self, key: &str, value: &str) -> Self {
        self.pair(key, TEXT, &string(value))
    }

    #[must_use]
    pub fn number(self, key: &str, value: u32) -> Self {
        self.pair(key, U32, &value.to_le_bytes())
    }

    /// A vocabulary of control tokens only.
    #[must_use]
    pub fn controls(self, tokens: &[&str]) -> Self {
        let count = (tokens.len() as u64).to_le_bytes();
        let texts: Vec<u8> = tokens.iter().flat_map(|token| string(token)).collect();
        let kinds: Vec<u8> = tokens.iter().flat_map(|_| 3i32.to_le_bytes()).collect();
        let list = |kind: u32, values: &[u8]| [&kind.to_le_bytes()[..], &count, values].concat();
        self.pair("tokenizer.ggml.tokens", LIST, &list(TEXT, &texts)).pair("tokenizer.ggml.token_type", LIST, &list(I32, &kinds))
    }

    fn pair(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        self.count += 1;
        self.pairs.extend(string(key));
        self.pairs.extend(kind.to_le_bytes());
        self.pairs.extend(value);
        self
    }

    /// The bytes of the file.
    pub fn build(&self) -> Vec<u8> {
        [b"GGUF".as_slice(), &3u32.to_le_bytes(), &0u64.to_le_bytes(), &self.count.to_le_bytes(), &self.pairs].concat()
    }

    /// The bytes of the file, and behind them noise up to `size`, of which no two stretches are alike.
    pub fn padded(&self, size: usize) -> Vec<u8> {
        let mut bytes = self.build();
        let mut state = 7u64;
        bytes.resize_with(size.max(bytes.len()), || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_le_bytes()[7]
        });
        bytes
    }
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}
