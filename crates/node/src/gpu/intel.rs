//! Intel: `xpu-smi` as JSON, else the kernel's files.

use serde_json::Value;

use super::{GPUS_MAX, Gpu, Vendor, bytes, number, percent, sysfs, tool};

const XPU_SMI: [&str; 2] = ["xpu-smi", "/usr/bin/xpu-smi"];
/// Intel among the makers of PCI devices.
const PCI_VENDOR: &str = "0x8086";
/// Where the two drivers, i915 and xe, say how much memory a card has of its own.
const OWN_MEMORY: [&str; 2] = ["lmem_total_bytes", "device/tile0/physical_vram_size_bytes"];
const MIB: f64 = (1u64 << 20) as f64;

pub(super) fn find() -> Vec<Gpu> {
    let found = by_xpu_smi();
    if found.is_empty() { sysfs::cards(card) } else { found }
}

fn by_xpu_smi() -> Vec<Gpu> {
    let Some(list) = tool::output(&XPU_SMI, &["discovery", "-j"]) else { return Vec::new() };
    let one = |id: u64| {
        let id = id.to_string();
        let facts = tool::output(&XPU_SMI, &["discovery", "-d", &id, "-j"]);
        let state = tool::output(&XPU_SMI, &["stats", "-d", &id, "-j"]);
        (facts.unwrap_or_default(), state.unwrap_or_default())
    };
    xpu_smi(&list, one)
}

/// `xpu-smi discovery -j`, and for each device `discovery -d ID -j` and `stats -d ID -j`.
pub(super) fn xpu_smi(list: &str, one: impl Fn(u64) -> (String, String)) -> Vec<Gpu> {
    let list: Value = serde_json::from_str(list).unwrap_or_default();
    let device = |device: &Value| {
        // A virtual function is a part of a card that is listed too.
        if device["device_function_type"].as_str().is_some_and(|kind| kind != "physical") {
            return None;
        }
        let (facts, state) = one(device["device_id"].as_u64()?);
        let facts: Value = serde_json::from_str(&facts).unwrap_or_default();
        let state: Value = serde_json::from_str(&state).unwrap_or_default();
        let metric = |kind: &str| {
            let all = state["device_level"].as_array()?;
            let found = all.iter().find(|metric| metric["metrics_type"].as_str() == Some(kind))?;
            found["value"].as_f64()
        };
        let memory = match &facts["memory_physical_size_byte"] {
            Value::String(text) => number(text),
            value => value.as_f64(),
        };
        Some(Gpu {
            memory_bytes: memory.and_then(|n| bytes(n, 1.0)),
            used_bytes: metric("XPUM_STATS_MEMORY_USED").and_then(|n| bytes(n, MIB)),
            usage: metric("XPUM_STATS_GPU_UTILIZATION").and_then(percent),
            temperature: metric("XPUM_STATS_GPU_CORE_TEMPERATURE"),
            driver: facts["driver_version"].as_str().map(str::to_owned),
            ..Gpu::new(Vendor::Intel, device["device_name"].as_str().filter(|name| !name.is_empty())?.to_owned())
        })
    };
    list["device_list"].as_array().into_iter().flatten().take(GPUS_MAX).filter_map(device).collect()
}

/// A card from the kernel's files. Graphics inside the processor have no memory of their own, and no model gains by them.
pub(super) fn card(read: sysfs::ReadFile<'_>) -> Option<Gpu> {
    if read("device/vendor")? != PCI_VENDOR {
        return None;
    }
    let memory = OWN_MEMORY.iter().find_map(|file| {
        let text = read(file)?;
        match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        }
    })?;
    let id = read("device/device").unwrap_or_else(|| "unknown".to_owned());
    Some(Gpu {
        memory_bytes: Some(memory).filter(|memory| *memory > 0),
        temperature: read("hwmon/temp1_input").and_then(|text| number(&text)).map(|n| n / 1000.0),
        ..Gpu::new(Vendor::Intel, format!("Intel GPU (device {id})"))
    })
}
