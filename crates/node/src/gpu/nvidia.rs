//! NVIDIA: `nvidia-smi`'s comma-separated queries, else the driver's files.

use std::fs;

use super::{GPUS_MAX, Gpu, Vendor, bytes, number, percent, tool};
use crate::machine::Machine;

/// On the search path, and where WSL puts it.
const PROGRAMS: [&str; 2] = ["nvidia-smi", "/usr/lib/wsl/lib/nvidia-smi"];
/// The columns, name last: names may have commas.
const COLUMNS: &str = "memory.total,memory.used,utilization.gpu,temperature.gpu,driver_version,compute_cap,name";
/// The same without what drivers before 2021 don't know.
const COLUMNS_OLD: &str = "memory.total,memory.used,utilization.gpu,temperature.gpu,driver_version,name";
const MIB: f64 = (1u64 << 20) as f64;
/// Words in the names of boards that share the machine's memory. Others that do not tell theirs (a board cut into instances) have some of
/// their own.
const SHARING: [&str; 6] = ["GB10", "Orin", "Thor", "Xavier", "Tegra", "Jetson"];
/// Where small machines say what they are.
const TREE: &str = "/proc/device-tree/model";

pub(super) fn by_smi() -> Vec<Gpu> {
    let ask = |columns: &str| tool::output(&PROGRAMS, &[&format!("--query-gpu={columns}"), "--format=csv,noheader,nounits"]);
    let found = ask(COLUMNS).map(|text| parse(&text, true)).or_else(|| Some(parse(&ask(COLUMNS_OLD)?, false))).unwrap_or_default();
    of_this_machine(found)
}

/// Jetsons without `nvidia-smi`.
pub(super) fn by_tree() -> Vec<Gpu> {
    let model = fs::read_to_string(TREE).ok();
    of_this_machine(model.as_deref().and_then(jetson).into_iter().collect())
}

/// What a small machine calls itself, which ends with a zero byte.
pub(super) fn jetson(model: &str) -> Option<Gpu> {
    let model = model.trim_end_matches('\0').trim();
    model.contains("Jetson").then(|| Gpu::new(Vendor::Nvidia, model.to_owned()))
}

fn of_this_machine(found: Vec<Gpu>) -> Vec<Gpu> {
    let mut memory = None;
    let mut of_machine = || *memory.get_or_insert_with(|| Machine::new().memory_bytes());
    found.into_iter().map(|gpu| if shares(&gpu) { sharing(gpu, of_machine()) } else { gpu }).collect()
}

/// Whether it uses the machine's memory: it tells of none, and is one of those that have none.
pub(super) fn shares(gpu: &Gpu) -> bool {
    gpu.memory_bytes.is_none() && SHARING.iter().any(|word| gpu.model.contains(word))
}

/// The GPU with the machine's memory: all of it, and what is free; 0 where the system tells nothing.
pub(super) fn sharing(gpu: Gpu, (total, free): (u64, u64)) -> Gpu {
    let known = total > 0;
    Gpu { memory_bytes: known.then_some(total), used_bytes: known.then(|| total.saturating_sub(free)), is_shared: true, ..gpu }
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
