//! How much memory a model will take, before it is loaded, and how much there is.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use models::gguf::Header;

use crate::{
    gpu::{Gpu, Gpus},
    machine::Machine,
};

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

/// Memory of one kind, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Free {
    /// All that there is.
    pub total: u64,
    /// What nobody uses now.
    pub free: u64,
}

/// What could be measured; `None` where the system or a GPU's tools say nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Measured {
    /// The machine's, within the limits of its control group.
    pub ram: Option<Free>,
    /// All GPUs' together.
    pub vram: Option<Free>,
}

/// Looks how much memory there is.
pub trait Meter: Send + Sync + fmt::Debug {
    /// Blocks for as long as a vendor's tool takes.
    fn measure(&self) -> Measured;
}

/// This machine.
#[derive(Debug, Default)]
pub struct Host {
    /// Looked for with the first measurement where they are not known by then.
    pub gpus: OnceLock<Arc<Gpus>>,
}

/// Readings of GPUs' tools that are older say nothing of what was just unloaded.
const GPUS_FRESH_FOR: Duration = Duration::from_millis(200);

impl Meter for Host {
    fn measure(&self) -> Measured {
        let (total, free) = Machine::new().memory_bytes();
        let ram = (total > 0).then_some(Free { total, free });
        let gpus = self.gpus.get_or_init(|| Arc::new(Gpus::find())).read_within(GPUS_FRESH_FOR);
        Measured { ram, vram: vram(&gpus, ram) }
    }
}

/// Unknown unless all GPUs tell. One that shares the machine's memory has as much as that.
fn vram(gpus: &[Gpu], ram: Option<Free>) -> Option<Free> {
    if gpus.iter().any(|gpu| gpu.is_shared) {
        return ram;
    }
    let each = gpus.iter().map(|gpu| Some(Free { total: gpu.memory_bytes?, free: gpu.memory_bytes?.saturating_sub(gpu.used_bytes?) }));
    let all: Option<Vec<Free>> = each.collect();
    let sum = |a: Free, b: Free| Free { total: a.total.saturating_add(b.total), free: a.free.saturating_add(b.free) };
    all?.into_iter().reduce(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Vendor;

    #[test]
    fn gpus_count_together_and_only_where_all_are_known() {
        let gpu = |vendor, total, used| Gpu { memory_bytes: total, used_bytes: used, ..Gpu::of(vendor) };
        let nvidia = |total, used| gpu(Vendor::Nvidia, total, used);
        let ram = Some(Free { total: 9, free: 5 });
        assert_eq!(vram(&[], ram), None);
        assert_eq!(vram(&[nvidia(Some(8), Some(3)), nvidia(Some(4), Some(5))], ram), Some(Free { total: 12, free: 5 }));
        assert_eq!(vram(&[nvidia(Some(8), Some(3)), nvidia(Some(4), None)], ram), None);
        assert_eq!(vram(&[Gpu { is_shared: true, ..gpu(Vendor::Apple, Some(7), None) }], ram), ram);
    }

    #[test]
    fn this_machine_has_memory() {
        let ram = Host::default().measure().ram.expect("the system tells");
        assert!(ram.total > 0 && ram.free <= ram.total, "{ram:?}");
    }

    #[test]
    fn a_small_model_of_known_shape() {
        // SmolLM2-135M: 30 layers, 3 key-value heads of width 64, 98 MB of tensors.
        let header = Header { kv_heads_total: 90, kv_head_width: 128, vocabulary: 49_152, embedding_length: 576, ..Header::default() };
        let megabytes = estimate(&header, 98_362_432, 8192) >> 20;
        assert!((300..400).contains(&megabytes), "{megabytes} MB");
        assert_eq!(estimate(&Header { kv_heads_total: u64::MAX, kv_head_width: 2, ..Header::default() }, u64::MAX, 1), u64::MAX);
    }
}
