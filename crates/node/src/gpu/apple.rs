//! Macs: `system_profiler` as JSON.

use serde_json::Value;

use super::{GPUS_MAX, Gpu, Vendor, bytes, number, tool};

/// Of a machine whose processor and GPU share their memory, models can use so much: the rest is the system's.
const SHARE: (u64, u64) = (2, 3);

pub(super) fn by_profiler() -> Vec<Gpu> {
    if cfg!(not(target_os = "macos")) {
        return Vec::new();
    }
    let asked = ["SPDisplaysDataType", "SPHardwareDataType", "-json"];
    tool::output(&["system_profiler", "/usr/sbin/system_profiler"], &asked).map(|text| profiler(&text)).unwrap_or_default()
}

/// `system_profiler SPDisplaysDataType SPHardwareDataType -json`. Only GPUs that Metal can use for models count: Apple's own, and
/// AMD's in older machines. Intel's graphics, which share a little memory, don't.
pub(super) fn profiler(text: &str) -> Vec<Gpu> {
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    let memory = value["SPHardwareDataType"][0]["physical_memory"].as_str().and_then(size);
    let one = |card: &Value| {
        let model = card["sppci_model"].as_str().or_else(|| card["_name"].as_str()).map(str::trim).filter(|name| !name.is_empty())?;
        let maker = card["spdisplays_vendor"].as_str().unwrap_or_default().to_lowercase();
        let family =
            ["spdisplays_mtlgpufamilysupport", "spdisplays_metalfamily", "spdisplays_metal"].iter().find_map(|key| card[key].as_str());
        let is_apples = maker.contains("apple") || model.starts_with("Apple ");
        let (vendor, memory_bytes) = if is_apples {
            (Vendor::Apple, memory.map(|bytes| bytes / SHARE.1 * SHARE.0))
        } else if maker.contains("amd") || maker.contains("1002") {
            (Vendor::Amd, card["spdisplays_vram"].as_str().and_then(size))
        } else {
            return None;
        };
        let compute = family.map(|text| text.trim_start_matches("spdisplays_").replace(' ', "").to_lowercase());
        Some(Gpu { memory_bytes, compute, is_shared: is_apples, ..Gpu::new(vendor, model.to_owned()) })
    };
    value["SPDisplaysDataType"].as_array().into_iter().flatten().take(GPUS_MAX).filter_map(one).collect()
}

/// `64 GB`, `1536 MB`.
fn size(text: &str) -> Option<u64> {
    let unit = match text.split_whitespace().nth(1)?.to_ascii_uppercase().as_str() {
        "MB" => 20,
        "GB" => 30,
        "TB" => 40,
        _ => return None,
    };
    bytes(number(text)?, (1u64 << unit) as f64)
}
