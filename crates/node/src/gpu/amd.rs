//! AMD: `amd-smi`, else the older `rocm-smi`, else the kernel's files.

use serde_json::Value;

use super::{GPUS_MAX, Gpu, Vendor, bytes, number, percent, sysfs, tool};

const AMD_SMI: [&str; 2] = ["amd-smi", "/opt/rocm/bin/amd-smi"];
const ROCM_SMI: [&str; 2] = ["rocm-smi", "/opt/rocm/bin/rocm-smi"];
/// AMD among the makers of PCI devices.
const PCI_VENDOR: &str = "0x1002";

pub(super) fn by_amd_smi() -> Vec<Gpu> {
    let Some(facts) = tool::output(&AMD_SMI, &["static", "--asic", "--vram", "--driver", "--json"]) else { return Vec::new() };
    let state = tool::output(&AMD_SMI, &["metric", "--usage", "--mem-usage", "--temperature", "--json"]);
    amd_smi(&facts, state.as_deref().unwrap_or_default())
}

/// `amd-smi static` and `amd-smi metric`, both as JSON: a list, or since ROCm 7 an object with the list in `gpu_data`.
pub(super) fn amd_smi(facts: &str, state: &str) -> Vec<Gpu> {
    let list = |text: &str| {
        let mut value: Value = serde_json::from_str(text).unwrap_or_default();
        if value.is_object() {
            value = value["gpu_data"].take();
        }
        value.as_array().cloned().unwrap_or_default()
    };
    let states = list(state);
    let one = |card: &Value| {
        let state = states.iter().find(|state| state["gpu"] == card["gpu"]).unwrap_or(&Value::Null);
        let memory = quantity(&state["mem_usage"]["total_vram"]).or_else(|| quantity(&card["vram"]["size"]));
        let heat = &state["temperature"];
        let compute = card["asic"]["target_graphics_version"].as_str().filter(|text| text.starts_with("gfx"));
        Some(Gpu {
            memory_bytes: memory.and_then(in_bytes),
            used_bytes: quantity(&state["mem_usage"]["used_vram"]).and_then(in_bytes),
            usage: quantity(&state["usage"]["gfx_activity"]).and_then(|(count, _)| percent(count)),
            temperature: ["edge", "hotspot", "mem"].iter().find_map(|at| quantity(&heat[at])).map(|(count, _)| count),
            compute: compute.map(str::to_owned),
            driver: known(&card["driver"]["version"]),
            ..Gpu::new(Vendor::Amd, known(&card["asic"]["market_name"]).or_else(|| known(&card["asic"]["device_id"]))?)
        })
    };
    list(facts).iter().take(GPUS_MAX).filter_map(one).collect()
}

/// `{"value": 196592, "unit": "MB"}`, or an older tool's bare number or `"196592 MB"`.
fn quantity(value: &Value) -> Option<(f64, String)> {
    match value {
        Value::Object(_) => Some((
            value["value"].as_f64().or_else(|| number(value["value"].as_str()?))?,
            value["unit"].as_str().unwrap_or_default().to_owned(),
        )),
        Value::Number(count) => Some((count.as_f64()?, String::new())),
        Value::String(text) => Some((number(text)?, text.split_whitespace().nth(1).unwrap_or_default().to_owned())),
        _ => None,
    }
}

/// The tool says MB and means MiB; without a unit it is the same.
fn in_bytes((count, unit): (f64, String)) -> Option<u64> {
    let unit = match unit.to_ascii_uppercase().as_str() {
        "B" => 0,
        "KB" | "KIB" => 10,
        "GB" | "GIB" => 30,
        _ => 20,
    };
    bytes(count, (1u64 << unit) as f64)
}

fn known(value: &Value) -> Option<String> {
    value.as_str().map(str::trim).filter(|text| !text.is_empty() && !text.eq_ignore_ascii_case("n/a")).map(str::to_owned)
}

pub(super) fn by_rocm_smi() -> Vec<Gpu> {
    const ASKED: [&str; 7] = ["--showproductname", "--showmeminfo", "vram", "--showuse", "--showtemp", "--showdriverversion", "--json"];
    tool::output(&ROCM_SMI, &ASKED).map(|text| rocm_smi(&text)).unwrap_or_default()
}

/// `rocm-smi … --json`: `card0`, `card1`, … with all values as text, and `system`. The names of keys changed their case over time.
pub(super) fn rocm_smi(text: &str) -> Vec<Gpu> {
    // Warnings may stand before the object.
    let start = text.find('{').unwrap_or(text.len());
    let Ok(Value::Object(cards)) = serde_json::from_str::<Value>(&text[start..]) else { return Vec::new() };
    let of = |card: &Value, wanted: &str| {
        let (_, value) = card.as_object()?.iter().find(|(key, _)| key.to_lowercase().starts_with(wanted))?;
        known(value)
    };
    let driver = cards.get("system").and_then(|system| of(system, "driver version"));
    let mut found: Vec<(u32, &Value)> =
        cards.iter().filter_map(|(name, card)| Some((name.strip_prefix("card")?.parse().ok()?, card))).collect();
    found.sort_by_key(|(index, _)| *index);
    let one = |(_, card): &(u32, &Value)| {
        let value = |wanted: &str| number(&of(card, wanted)?);
        let model = of(card, "card series").filter(|text| !text.starts_with("0x")).or_else(|| of(card, "card model"));
        Some(Gpu {
            memory_bytes: value("vram total memory").and_then(|n| bytes(n, 1.0)),
            used_bytes: value("vram total used memory").and_then(|n| bytes(n, 1.0)),
            usage: value("gpu use (%)").and_then(percent),
            temperature: value("temperature (sensor edge)").or_else(|| value("temperature (sensor junction)")),
            compute: of(card, "gfx version").filter(|text| text.starts_with("gfx")),
            driver: driver.clone(),
            ..Gpu::new(Vendor::Amd, model?)
        })
    };
    found.iter().take(GPUS_MAX).filter_map(one).collect()
}

pub(super) fn by_sysfs() -> Vec<Gpu> {
    sysfs::cards(card)
}

/// A card from the kernel's files: `read` gives the text of one below the card's directory (`hwmon/…`: of its sensors).
pub(super) fn card(read: sysfs::ReadFile<'_>) -> Option<Gpu> {
    if read("device/vendor")? != PCI_VENDOR {
        return None;
    }
    let value = |file: &str| number(&read(file)?);
    let id = read("device/device").unwrap_or_else(|| "unknown".to_owned());
    let model = read("device/product_name").filter(|name| !name.is_empty()).unwrap_or_else(|| format!("AMD GPU (device {id})"));
    Some(Gpu {
        memory_bytes: value("device/mem_info_vram_total").and_then(|n| bytes(n, 1.0)),
        used_bytes: value("device/mem_info_vram_used").and_then(|n| bytes(n, 1.0)),
        usage: value("device/gpu_busy_percent").and_then(percent),
        // In thousandths of a degree.
        temperature: value("hwmon/temp1_input").map(|n| n / 1000.0),
        ..Gpu::new(Vendor::Amd, model)
    })
}
