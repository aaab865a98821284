//! How much memory a model will take, before it is loaded.

use models::gguf::Header;

/// Tokens of one prefill pass, which the compute buffer is made for.
const BATCH: u64 = 512;
/// Width of the widest intermediate result, in multiples of the model's width.
const WIDENING: u64 = 16;
/// Rows of logits in one pass.
const OUTPUTS: u64 = 64;
/// What a worker takes besides.
const BASE_BYTES: u64 = 60 << 20;
/// Bytes of a cache value (f16).
const CACHE_VALUE_BYTES: u64 = 2;

/// Bytes of a worker with this model: its tensors, a KV cache of `kv_cells` cells, the compute buffer and a base.
///
/// Layers with a sliding window keep fewer cells, but the header does not say which: all are counted as full.
pub(crate) fn estimate(header: &Header, file_bytes: u64, kv_cells: u32) -> u64 {
    let cell = header.kv_heads_total.saturating_mul(header.kv_head_width).saturating_mul(CACHE_VALUE_BYTES);
    let cache = cell.saturating_mul(u64::from(kv_cells));
    let compute = BATCH.saturating_mul(header.embedding_length).saturating_mul(WIDENING * 4);
    let logits = OUTPUTS.saturating_mul(header.vocabulary).saturating_mul(4);
    [file_bytes, cache, compute, logits, BASE_BYTES].into_iter().fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_model_of_known_shape() {
        // SmolLM2-135M: 30 layers, 3 key-value heads of width 64, 98 MB of tensors.
        let header = Header { kv_heads_total: 90, kv_head_width: 128, vocabulary: 49_152, embedding_length: 576, ..Header::default() };
        let megabytes = estimate(&header, 98_362_432, 8192) >> 20;
        assert!((300..400).contains(&megabytes), "{megabytes} MB");
        assert_eq!(estimate(&Header { kv_heads_total: u64::MAX, kv_head_width: 2, ..Header::default() }, u64::MAX, 1), u64::MAX);
    }
}
