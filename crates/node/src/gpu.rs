//! GPUs of this machine, as far as they can be found without a driver's library. What is not known stays unknown.

use std::{
    collections::BTreeMap,
    fs,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use wire::fleet::node::GpuDevice;

/// Longest time for `nvidia-smi`.
const SMI_TIMEOUT: Duration = Duration::from_secs(5);
/// Most GPUs of a machine.
const GPUS_MAX: usize = 64;

/// GPUs of one model.
#[derive(Debug, Clone, PartialEq)]
pub struct Gpu {
    /// As the driver names it.
    pub model: String,
    /// How many.
    pub count: u32,
    /// Bytes of each.
    pub memory_bytes: Option<u64>,
    /// Compute capability, as in `8.9`.
    pub compute: Option<f64>,
}

/// Looks for NVIDIA's GPUs: by `nvidia-smi`, else by the driver's files.
pub fn find() -> Vec<Gpu> {
    let found = by_smi().filter(|found| !found.is_empty()).unwrap_or_else(by_proc);
    group(found)
}

/// Bytes of all GPUs whose memory is known.
pub fn memory_bytes(gpus: &[Gpu]) -> u64 {
    gpus.iter().map(|gpu| gpu.memory_bytes.unwrap_or(0) * u64::from(gpu.count)).sum()
}

/// The score that nodes of the first LLM Router report: GB times a fifth of the compute capability, summed.
pub fn capability(gpus: &[Gpu]) -> f64 {
    let one = |gpu: &Gpu| gpu.memory_bytes.unwrap_or(0) as f64 / f64::from(1 << 30) * gpu.compute.unwrap_or(0.0) / 5.0;
    gpus.iter().map(|gpu| one(gpu) * f64::from(gpu.count)).fold(0.0, |sum, each| sum + each)
}

impl From<&Gpu> for GpuDevice {
    fn from(gpu: &Gpu) -> Self {
        Self { model: gpu.model.clone(), count: gpu.count, memory: gpu.memory_bytes }
    }
}

/// A program that hangs (a driver that fell off the bus) is ended.
fn by_smi() -> Option<Vec<Gpu>> {
    let mut child = Command::new("nvidia-smi")
        .args(["--query-gpu=name,memory.total,compute_cap", "--format=csv,noheader,nounits"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let deadline = Instant::now() + SMI_TIMEOUT;
    while child.try_wait().ok()?.is_none() {
        if Instant::now() >= deadline {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().ok()?;
    output.status.success().then(|| parse_smi(&String::from_utf8_lossy(&output.stdout)))
}

fn parse_smi(text: &str) -> Vec<Gpu> {
    let line = |line: &str| {
        let mut fields = line.rsplitn(3, ',').map(str::trim);
        let compute = fields.next()?.parse().ok();
        let memory_bytes = fields.next()?.parse::<u64>().ok().map(|mebibytes| mebibytes << 20);
        let model = fields.next().filter(|model| !model.is_empty())?.to_owned();
        Some(Gpu { model, count: 1, memory_bytes, compute })
    };
    text.lines().take(GPUS_MAX).filter_map(line).collect()
}

fn by_proc() -> Vec<Gpu> {
    let Ok(entries) = fs::read_dir("/proc/driver/nvidia/gpus") else { return Vec::new() };
    let one = |text: String| {
        let model = text.lines().find_map(|line| line.strip_prefix("Model:"))?.trim().to_owned();
        Some(Gpu { model, count: 1, memory_bytes: None, compute: None })
    };
    entries.take(GPUS_MAX).filter_map(|entry| one(fs::read_to_string(entry.ok()?.path().join("information")).ok()?)).collect()
}

fn group(found: Vec<Gpu>) -> Vec<Gpu> {
    let mut groups: BTreeMap<(String, Option<u64>), Gpu> = BTreeMap::new();
    for gpu in found {
        let key = (gpu.model.clone(), gpu.memory_bytes);
        groups.entry(key).and_modify(|group| group.count += 1).or_insert(gpu);
    }
    groups.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_gpus_are_counted_and_unknown_values_stay_unknown() {
        let text = "NVIDIA GeForce RTX 4090, 24564, 8.9\nNVIDIA GeForce RTX 4090, 24564, 8.9\nOdd, model, [N/A], x\n\n";
        let gpus = group(parse_smi(text));
        assert_eq!(gpus.len(), 2);
        assert_eq!((gpus[0].count, gpus[0].memory_bytes, gpus[0].compute), (2, Some(24564 << 20), Some(8.9)));
        assert_eq!((gpus[1].model.as_str(), gpus[1].memory_bytes, gpus[1].compute), ("Odd, model", None, None));
        assert_eq!(memory_bytes(&gpus), 2 * (24564 << 20));
        assert!((capability(&gpus) - 2.0 * 24564.0 / 1024.0 * 8.9 / 5.0).abs() < 1e-9);
    }
}
