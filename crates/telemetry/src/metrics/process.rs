//! What the process itself uses.

use std::{fs, sync::atomic::AtomicU64, time::Instant};

use prometheus_client::{metrics::gauge::Gauge, registry::Registry};

use crate::names;

/// Gauges that are set when somebody looks.
#[derive(Debug)]
pub(super) struct Process {
    started: Instant,
    uptime: Gauge<f64, AtomicU64>,
    resident: Gauge,
    fds: Gauge,
}

impl Process {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let made = Self { started: Instant::now(), uptime: Gauge::default(), resident: Gauge::default(), fds: Gauge::default() };
        registry.register(names::UPTIME.name, names::UPTIME.help, made.uptime.clone());
        registry.register(names::RESIDENT_MEMORY.name, names::RESIDENT_MEMORY.help, made.resident.clone());
        registry.register(names::OPEN_FDS.name, names::OPEN_FDS.help, made.fds.clone());
        made
    }

    pub(super) fn uptime_s(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Reads the values; those that the platform does not tell stay 0.
    pub(super) fn look(&self) {
        self.uptime.set(self.uptime_s());
        if let Some(bytes) = resident_bytes() {
            self.resident.set(bytes);
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            self.fds.set(open.count() as i64);
        }
    }
}

fn resident_bytes() -> Option<i64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: i64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn this_process_uses_memory() {
        assert!(super::resident_bytes().is_some_and(|bytes| bytes > 100_000));
    }
}
