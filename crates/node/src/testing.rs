//! Small files for tests.

use testkit::Gguf;

/// A complete GGUF file with a chat template (none where empty) and control tokens.
pub(crate) fn gguf(template: &str, controls: &[&str]) -> Vec<u8> {
    let file = if template.is_empty() { Gguf::new() } else { Gguf::with_template(template) };
    file.number("llama.context_length", 2048).controls(controls).build()
}
