//! Small files for tests.

/// A complete GGUF file with a chat template (none where empty) and control tokens.
pub(crate) fn gguf(template: &str, controls: &[&str]) -> Vec<u8> {
    fn text(out: &mut Vec<u8>, text: &str) {
        out.extend((text.len() as u64).to_le_bytes());
        out.extend(text.as_bytes());
    }
    let (mut out, mut pairs) = (Vec::new(), 0u64);
    let mut pair = |key: &str, kind: u32, value: &[u8]| {
        text(&mut out, key);
        out.extend(kind.to_le_bytes());
        out.extend(value);
        pairs += 1;
    };
    let string = |value: &str| {
        let mut bytes = Vec::new();
        text(&mut bytes, value);
        bytes
    };
    pair("general.architecture", 8, &string("llama"));
    pair("llama.context_length", 4, &2048u32.to_le_bytes());
    if !template.is_empty() {
        pair("tokenizer.chat_template", 8, &string(template));
    }
    let mut tokens = [8u32.to_le_bytes().as_slice(), &(controls.len() as u64).to_le_bytes()].concat();
    let mut kinds = [5u32.to_le_bytes().as_slice(), &(controls.len() as u64).to_le_bytes()].concat();
    for control in controls {
        text(&mut tokens, control);
        kinds.extend(3i32.to_le_bytes());
    }
    pair("tokenizer.ggml.tokens", 9, &tokens);
    pair("tokenizer.ggml.token_type", 9, &kinds);
    [b"GGUF".as_slice(), &3u32.to_le_bytes(), &0u64.to_le_bytes(), &pairs.to_le_bytes(), &out].concat()
}
