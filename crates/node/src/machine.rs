//! The machine's load and how many threads a worker gets.

use std::num::NonZero;

use sysinfo::{MemoryRefreshKind, RefreshKind, System};

/// Measures the machine's load.
#[derive(Debug)]
pub struct Machine {
    /// None where the system tells nothing.
    system: Option<System>,
}

/// Load in percent, 0..=100.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Processors, since the last measurement.
    pub cpu: f64,
    /// Memory in use.
    pub memory: f64,
}

impl Machine {
    /// Takes the first measurement.
    pub fn new() -> Self {
        let mut system = System::new_with_specifics(RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram())).ok();
        system.iter_mut().for_each(System::refresh_cpu_usage);
        Self { system }
    }

    /// The load now; memory within the limits of the control group, if there is one.
    pub fn measure(&mut self) -> Load {
        let (total, free) = self.memory_bytes();
        let Some(system) = &mut self.system else { return Load { cpu: 0.0, memory: 0.0 } };
        system.refresh_cpu_usage();
        let memory = if total == 0 { 0.0 } else { 100.0 * total.saturating_sub(free) as f64 / total as f64 };
        Load { cpu: f64::from(system.global_cpu_usage()).clamp(0.0, 100.0), memory: memory.clamp(0.0, 100.0) }
    }
}

impl Machine {
    /// Bytes of memory, and of it those that are free, within the limits of the control group; 0 where the system tells nothing.
    pub fn memory_bytes(&mut self) -> (u64, u64) {
        let Some(system) = &mut self.system else { return (0, 0) };
        system.refresh_memory();
        let limits = system.cgroup_limits();
        limits.map_or((system.total_memory(), system.available_memory()), |limits| (limits.total_memory, limits.free_memory))
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

/// Threads of a worker: the physical cores that affinity and control group leave, and not more than `wanted`.
pub fn threads(wanted: Option<u32>) -> u32 {
    // Counts what affinity and the control group's quota allow.
    let allowed = std::thread::available_parallelism().map_or(1, NonZero::get);
    let cores = System::physical_core_count().map_or(allowed, |cores| cores.min(allowed));
    bounded(cores, wanted)
}

fn bounded(cores: usize, wanted: Option<u32>) -> u32 {
    let cores = u32::try_from(cores).unwrap_or(u32::MAX).max(1);
    wanted.map_or(cores, |wanted| wanted.clamp(1, cores))
}

/// What the machine calls itself.
pub fn name() -> String {
    System::host_name().ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "node".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_is_measured_in_percent() {
        let load = Machine::new().measure();
        assert!((0.0..=100.0).contains(&load.cpu) && load.memory > 0.0 && load.memory <= 100.0, "{load:?}");
    }

    #[test]
    fn threads_are_the_machine_s_or_the_setting_s() {
        assert_eq!([bounded(8, None), bounded(8, Some(2)), bounded(0, None), bounded(8, Some(0)), bounded(8, Some(64))], [8, 2, 1, 1, 8]);
        assert!(threads(None) >= 1);
    }
}
