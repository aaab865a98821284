//! What a model is called: its file's name without what only says how it was quantised.

/// The parts of a model's file name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileName {
    /// The name without `.gguf` and shard number, as it was written.
    pub stem: String,
    /// The model's identifier: lower case, without quantisation.
    pub base: String,
    /// The quantisation in lower case (`q4_k_m`), where the name has one.
    pub quant: Option<String>,
}

/// Splits `name` (without `.gguf` and shard number).
pub fn split(name: &str) -> FileName {
    let bare = strip_gguf(name);
    let found = bare
        .char_indices()
        .filter(|(at, separator)| *at > 0 && matches!(separator, '.' | '-' | '_'))
        .find(|(at, _)| is_quant(&bare[at + 1..]))
        .map(|(at, _)| (&bare[..at], &bare[at + 1..]));
    let (base, quant) = found.map_or((bare, None), |(base, quant)| (base, Some(quant.to_lowercase())));
    let base = strip_gguf(base);
    FileName { stem: name.to_owned(), base: base.to_lowercase(), quant }
}

/// Splits `name-00002-of-00004` into name, number and count.
pub fn shard(name: &str) -> Option<(&str, u32, u32)> {
    let (rest, count) = name.rsplit_once("-of-")?;
    let (base, index) = rest.rsplit_once('-')?;
    let number = |text: &str| (text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten();
    let (index, count): (u32, u32) = (number(index)?, number(count)?);
    (!base.is_empty() && (1..=count).contains(&index)).then_some((base, index, count))
}

/// Names of files that say nothing: the repository's name stands for them.
const SAYS_NOTHING: [&str; 4] = ["model", "ggml-model", "gguf-model", "pytorch_model"];
/// Longest identifier, in bytes.
const ID_BYTES_MAX: usize = 128;
/// Names that are paths of the API.
const RESERVED: [&str; 7] = ["available", "register", "registered", "discover-gguf", "convert", "blob", "load"];

/// The identifier of a model from its file (a path without ending and shard number) in a repository, and its quantisation.
pub fn of_file(path: &str, repository: &str) -> (String, Option<String>) {
    let file = split(path.rsplit('/').next().unwrap_or(path));
    let says_nothing = SAYS_NOTHING.contains(&file.base.as_str()) || is_quant(&file.base);
    let base = if says_nothing { split(repository.rsplit('/').next().unwrap_or(repository)).base } else { file.base };
    let quant = file.quant.or_else(|| is_quant(&file.stem).then(|| file.stem.to_lowercase()));
    (identifier(&base), quant)
}

/// `text` as an identifier: lower case, of letters, digits, `.`, `_` and `-`, beginning with one of the first two.
pub fn identifier(text: &str) -> String {
    let is_kept = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let kept: String = text.chars().map(|c| if is_kept(c) { c.to_ascii_lowercase() } else { '-' }).collect();
    let mut kept = kept.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned();
    kept.truncate(ID_BYTES_MAX);
    if kept.is_empty() || RESERVED.contains(&kept.as_str()) {
        kept.insert_str(0, if kept.is_empty() { "model" } else { "model-" });
    }
    kept
}

/// Whether `text` is an identifier.
pub fn is_identifier(text: &str) -> bool {
    let is_kept = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
    text.len() <= ID_BYTES_MAX + 16 && text.bytes().all(is_kept) && text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
}

fn strip_gguf(name: &str) -> &str {
    let cut = name.len().wrapping_sub(5);
    match name.get(cut..) {
        Some(end) if cut > 0 && end.eq_ignore_ascii_case("-gguf") => &name[..cut],
        _ => name,
    }
}

/// Whether `text` says how a model was quantised: `Q4_0`, `IQ2_XXS`, `UD-Q4_K_XL`, `f16`, …
fn is_quant(text: &str) -> bool {
    let upper = text.to_ascii_uppercase();
    let bare = ["UD-", "I1-"].iter().find_map(|prefix| upper.strip_prefix(prefix)).unwrap_or(&upper);
    if matches!(bare, "F16" | "F32" | "BF16" | "FP16" | "FP32" | "FP8" | "MXFP4" | "MXFP4_MOE") {
        return true;
    }
    let Some(rest) = ["IQ", "TQ", "Q"].iter().find_map(|prefix| bare.strip_prefix(prefix)) else { return false };
    let mut parts = rest.split('_');
    parts.next().is_some_and(|bits| bits.len() == 1 && bits.as_bytes()[0].is_ascii_digit())
        && parts.all(|part| matches!(part, "0" | "1" | "4" | "8" | "K" | "S" | "M" | "L" | "P" | "XS" | "XL" | "XXS" | "XXL" | "NL"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quantisation_is_no_part_of_the_identifier() {
        for (name, base, quant) in [
            ("tiny-chat.Q4_0", "tiny-chat", Some("q4_0")),
            ("tiny-chat", "tiny-chat", None),
            ("SmolLM2-135M-Instruct.Q4_1", "smollm2-135m-instruct", Some("q4_1")),
            ("llama-2-7b-Q4_K_M", "llama-2-7b", Some("q4_k_m")),
            ("Qwen3-4B-UD-Q4_K_XL", "qwen3-4b", Some("ud-q4_k_xl")),
            ("Qwen3-4B-Instruct-2507-IQ2_XXS", "qwen3-4b-instruct-2507", Some("iq2_xxs")),
            ("gpt-oss-20b-mxfp4", "gpt-oss-20b", Some("mxfp4")),
            ("phi-4-f16", "phi-4", Some("f16")),
            ("Model-Q8_0-GGUF", "model", Some("q8_0")),
            ("Model-GGUF", "model", None),
            ("foo.i1-Q4_K_M", "foo", Some("i1-q4_k_m")),
            ("faq-q-and-a", "faq-q-and-a", None),
            ("Q4_0", "q4_0", None),
            ("-gguf", "-gguf", None),
        ] {
            let got = split(name);
            assert_eq!((got.base.as_str(), got.quant.as_deref(), got.stem.as_str()), (base, quant, name));
        }
    }

    #[test]
    fn a_file_that_says_nothing_has_its_repositorys_name() {
        for (path, repository, id, quant) in [
            ("llama-2-7b.Q4_K_M", "TheBloke/Llama-2-7B-GGUF", "llama-2-7b", Some("q4_k_m")),
            ("model", "someone/Tiny-Thing-GGUF", "tiny-thing", None),
            ("ggml-model-Q4_0", "someone/Tiny-Thing-GGUF", "tiny-thing", Some("q4_0")),
            ("sub/Q8_0", "o/Tiny_Thing", "tiny_thing", Some("q8_0")),
            ("convert", "o/x", "model-convert", None),
            ("Fünf Köche", "o/x", "f-nf-k-che", None),
        ] {
            let got = of_file(path, repository);
            assert_eq!((got.0.as_str(), got.1.as_deref()), (id, quant));
            assert!(is_identifier(&got.0), "{id}");
        }
        for wrong in ["", ".", "..", "../x", "a/b", "A", "-a", ".hidden"] {
            assert!(!is_identifier(wrong), "{wrong}");
        }
    }

    #[test]
    fn shards_have_a_number_and_a_count() {
        assert_eq!(shard("big-Q4_K_M-00002-of-00004"), Some(("big-Q4_K_M", 2, 4)));
        for none in ["big", "big-2-of-4", "big-00005-of-00004", "big-00000-of-00004", "-00001-of-00001"] {
            assert_eq!(shard(none), None, "{none}");
        }
    }
}
