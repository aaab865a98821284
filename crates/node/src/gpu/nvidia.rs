//! NVIDIA: `nvidia-smi`'s comma-separated queries, else the driver's files.

use std::fs;

use super::{GPUS_MAX, Gpu, Vendor, bytes, number, percent, tool};

/// On the search path, and where WSL puts it.
const PROGRAMS: [&str; 2] = ["nvidia-smi", "/usr/lib/wsl/lib/nvidia-smi"];
/// The columns, name last: names may have commas.
const COLUMNS: &str = "memory.total,memory.used,utilization.gpu,temperature.gpu,driver_version,compute_cap,name";
/// The same without what drivers before 2021 don't know.
const COLUMNS_OLD: &str = "memory.total,memory.used,utilization.gpu,temperature.gpu,driver_version,name";
const MIB: f64 = (1u64 << 20) as f64;

pub(super) fn by_smi() -> Vec<Gpu> {
    let ask = |columns: &str| tool::output(&PROGRAMS, &[&format!("--query-gpu={columns}"), "--format=csv,noheader,nounits"]);
    ask(COLUMNS).map(|text| parse(&text, true)).or_else(|| Some(parse(&ask(COLUMNS_OLD)?, false))).unwrap_or_default()
}

/// Lines of [`COLUMNS`] or [`COLUMNS_OLD`]. Values that a board does not tell (`[N/A]`, `[Not Supported]`) are unknown.
pub(super) fn parse(text: &str, has_compute: bool) -> Vec<Gpu> {
    let line = |line: &str| {
        let mut fields = line.splitn(if has_compute { 7 } else { 6 }, ',').map(str::trim);
        let mut field = || fields.next();
        let (total, used, usage, temperature) = (number(field()?), number(field()?), number(field()?), number(field()?));
        let driver = field()?.to_owned();
        let compute = if has_compute { Some(field()?.to_owned()) } else { None };
        let model = field().filter(|model| !model.is_empty())?;
        Some(Gpu {
            memory_bytes: total.and_then(|n| bytes(n, MIB)),
            used_bytes: used.and_then(|n| bytes(n, MIB)),
            usage: usage.and_then(percent),
            temperature,
            compute: compute.filter(|text| number(text).is_some()),
            driver: Some(driver).filter(|text| !text.starts_with('[')),
            ..Gpu::new(Vendor::Nvidia, model.to_owned())
        })
    };
    text.lines().take(GPUS_MAX).filter_map(line).collect()
}

pub(super) fn by_proc() -> Vec<Gpu> {
    let Ok(entries) = fs::read_dir("/proc/driver/nvidia/gpus") else { return Vec::new() };
    let text = entries.take(GPUS_MAX).filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("information")).ok());
    text.filter_map(|text| information(&text)).collect()
}

/// One board's `information` file.
pub(super) fn information(text: &str) -> Option<Gpu> {
    let model = text.lines().find_map(|line| line.strip_prefix("Model:"))?.trim();
    (!model.is_empty()).then(|| Gpu::new(Vendor::Nvidia, model.to_owned()))
}
