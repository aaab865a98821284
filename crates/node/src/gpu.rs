//! GPUs of this machine, as their vendors' own tools and the kernel's files describe them. What is not known stays unknown.
//!
//! No driver's library is loaded: a tool that hangs is ended, and one that crashes costs nothing. The parsers are pure and know
//! the outputs of several generations of each tool.

mod amd;
mod apple;
mod intel;
mod nvidia;
mod sysfs;
mod tool;

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use wire::fleet::node::{GpuDevice, Heartbeat};

/// Most GPUs of a machine.
const GPUS_MAX: usize = 64;
/// Readings younger than this are given again.
const FRESH_FOR: Duration = Duration::from_secs(5);
/// Bytes of a GB as capability scores count them.
const GIB: f64 = (1u64 << 30) as f64;

/// Who made a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vendor {
    /// Asked by `nvidia-smi`.
    Nvidia,
    /// Asked by `amd-smi`, `rocm-smi`, or the kernel's files.
    Amd,
    /// Asked by `system_profiler`; its memory is the machine's.
    Apple,
    /// Asked by `xpu-smi` or the kernel's files.
    Intel,
}

impl Vendor {
    /// As it is written in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nvidia => "nvidia",
            Self::Amd => "amd",
            Self::Apple => "apple",
            Self::Intel => "intel",
        }
    }
}

/// One GPU, and how it does.
#[derive(Debug, Clone, PartialEq)]
pub struct Gpu {
    /// Who made it.
    pub vendor: Vendor,
    /// As the driver names it.
    pub model: String,
    /// Bytes that models can use.
    pub memory_bytes: Option<u64>,
    /// Bytes in use now.
    pub used_bytes: Option<u64>,
    /// Percent of the time in which it worked, 0..=100.
    pub usage: Option<f64>,
    /// Degrees Celsius.
    pub temperature: Option<f64>,
    /// NVIDIA's compute capability (`8.9`), AMD's instruction set (`gfx942`), Apple's Metal family (`metal3`).
    pub compute: Option<String>,
    /// Version of its driver.
    pub driver: Option<String>,
    /// It has no memory of its own: what is the machine's is also its.
    pub is_shared: bool,
}

impl Gpu {
    const fn new(vendor: Vendor, model: String) -> Self {
        Self {
            vendor,
            model,
            memory_bytes: None,
            used_bytes: None,
            usage: None,
            temperature: None,
            compute: None,
            driver: None,
            is_shared: false,
        }
    }

    #[cfg(test)]
    pub(crate) const fn of(vendor: Vendor) -> Self {
        Self::new(vendor, String::new())
    }

    /// What the first LLM Router's nodes score one by: GB times a factor of its make. Unknown memory scores nothing.
    fn score(&self) -> f64 {
        let factor = match self.vendor {
            Vendor::Nvidia => self.compute.as_deref().and_then(|compute| compute.parse::<f64>().ok()).unwrap_or(0.0) / 5.0,
            Vendor::Amd => 1.2,
            Vendor::Apple => 1.5,
            Vendor::Intel => 1.0,
        };
        self.memory_bytes.unwrap_or(0) as f64 / GIB * factor
    }
}

/// A place where GPUs are looked for.
type Source = fn() -> Vec<Gpu>;

/// Where GPUs are looked for, in this order. Of one vendor's sources only the first that knows any counts.
const SOURCES: [(Vendor, Source); 8] = [
    (Vendor::Nvidia, nvidia::by_smi),
    (Vendor::Nvidia, nvidia::by_proc),
    (Vendor::Nvidia, nvidia::by_tree),
    (Vendor::Amd, amd::by_amd_smi),
    (Vendor::Amd, amd::by_rocm_smi),
    (Vendor::Amd, amd::by_sysfs),
    (Vendor::Apple, apple::by_profiler),
    (Vendor::Intel, intel::find),
];

/// The GPUs of this machine, looked at again and again.
#[derive(Debug, Default)]
pub struct Gpus {
    sources: Vec<Source>,
    last: Mutex<(Option<Instant>, Vec<Gpu>)>,
}

impl Gpus {
    /// Asks all sources. Blocks for as long as the vendors' tools take, at most some seconds each.
    pub fn find() -> Self {
        let (mut sources, mut all, mut known) = (Vec::new(), Vec::new(), Vec::new());
        for (vendor, source) in SOURCES {
            let found = if known.contains(&vendor) { Vec::new() } else { source() };
            if !found.is_empty() {
                known.push(vendor);
                sources.push(source);
                all.extend(found);
            }
        }
        all.truncate(GPUS_MAX);
        Self { sources, last: Mutex::new((Some(Instant::now()), all)) }
    }

    /// The GPUs as they were last seen; asks nobody.
    pub fn last(&self) -> Vec<Gpu> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// The GPUs, at most [`FRESH_FOR`] old. Blocks while the tools that found them are asked again.
    pub fn read(&self) -> Vec<Gpu> {
        self.read_within(FRESH_FOR)
    }

    /// The same, at most `age_max` old.
    pub fn read_within(&self, age_max: Duration) -> Vec<Gpu> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.sources.is_empty() && last.0.is_none_or(|at| at.elapsed() >= age_max) {
            let mut now: Vec<_> = self.sources.iter().flat_map(|source| source()).collect();
            now.truncate(GPUS_MAX);
            // A tool that fails once does not take the GPUs away; how they do is then unknown.
            if now.is_empty() {
                now = last.1.iter().map(|gpu| Gpu { used_bytes: None, usage: None, temperature: None, ..gpu.clone() }).collect();
            }
            *last = (Some(Instant::now()), now);
        }
        last.1.clone()
    }
}

/// Bytes of all GPUs whose memory is known.
pub fn memory_bytes(gpus: &[Gpu]) -> u64 {
    gpus.iter().filter_map(|gpu| gpu.memory_bytes).fold(0, u64::saturating_add)
}

/// The score that nodes of the first LLM Router report: GB times a factor of the make, summed.
pub fn capability(gpus: &[Gpu]) -> f64 {
    gpus.iter().map(Gpu::score).fold(0.0, |sum, each| sum + each)
}

/// Equal GPUs counted together, in the order in which they were found.
pub fn devices(gpus: &[Gpu]) -> Vec<GpuDevice> {
    let mut groups: Vec<GpuDevice> = Vec::new();
    for gpu in gpus {
        match groups.iter_mut().find(|group| group.model == gpu.model && group.memory == gpu.memory_bytes) {
            Some(group) => group.count += 1,
            None => groups.push(GpuDevice { model: gpu.model.clone(), count: 1, memory: gpu.memory_bytes }),
        }
    }
    groups
}

/// Puts what is known of the GPUs into a report: the busiest one's usage, the memory over all, the hottest one's temperature.
pub fn report(gpus: &[Gpu], heartbeat: &mut Heartbeat) {
    let Some(first) = gpus.first() else { return };
    let most = |value: fn(&Gpu) -> Option<f64>| gpus.iter().filter_map(value).reduce(f64::max);
    let (total, used): (Vec<_>, Vec<_>) = gpus.iter().filter_map(|gpu| Some((gpu.memory_bytes?, gpu.used_bytes?))).unzip();
    let (total, used) = (sum(&total), sum(&used));
    heartbeat.gpu_usage = most(|gpu| gpu.usage);
    heartbeat.gpu_memory_usage =
        total.zip(used).filter(|(total, _)| *total > 0).map(|(total, used)| (100.0 * used as f64 / total as f64).min(100.0));
    heartbeat.gpu_memory_total_mb = Some(memory_bytes(gpus) >> 20).filter(|total| *total > 0);
    heartbeat.gpu_memory_used_mb = used.map(|used| used >> 20);
    heartbeat.gpu_temperature = most(|gpu| gpu.temperature);
    heartbeat.gpu_model_name = Some(first.model.clone());
    heartbeat.gpu_compute_capability.clone_from(&first.compute);
    heartbeat.gpu_capability_score = Some(capability(gpus));
}

fn sum(values: &[u64]) -> Option<u64> {
    (!values.is_empty()).then(|| values.iter().copied().fold(0, u64::saturating_add))
}

/// A number in a tool's output, where it is one: `[N/A]`, `N/A` and the like are unknown. Also reads `45.0 C` and `38 %`.
fn number(text: &str) -> Option<f64> {
    let first = text.split_whitespace().next()?;
    first.trim_end_matches(['%', 'C', ',']).parse::<f64>().ok().filter(|number| number.is_finite())
}

/// Percent, where it is one.
fn percent(number: f64) -> Option<f64> {
    (0.0..=100.0).contains(&number).then_some(number)
}

/// Bytes of so many units.
fn bytes(count: f64, unit: f64) -> Option<u64> {
    let bytes = count * unit;
    (bytes > 0.0 && bytes < (1u64 << 60) as f64).then_some(bytes as u64)
}

#[cfg(test)]
mod tests;
