//! How long the loading of a model may take: its time, and longer while the far end gets on with it.

use std::time::Duration;

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};
use tokio::time::{self, Instant};

use super::Limits;

/// A load that gets on may take so many times its limit, and no longer: a far end that runs in circles looks busy too.
const EXTENSION_MAX: u32 = 10;
/// Less than this is no work: heartbeats alone cost some, too.
const WORK_MS_MIN: u64 = 200;
/// Neither is a change of this many bytes.
const MOVED_BYTES_MIN: u64 = 1 << 20;

/// Looks at what the far end has done so far; `None` where that can't be seen.
pub type Effort = Box<dyn FnMut() -> Option<Work> + Send>;

/// What a process has done since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Time on processors.
    pub cpu_ms: u64,
    /// Read from disks, files mapped into memory included.
    pub read_bytes: u64,
    /// In its memory now.
    pub memory_bytes: u64,
}

impl Work {
    fn is_more_than(self, before: Self) -> bool {
        self.cpu_ms.saturating_sub(before.cpu_ms) >= WORK_MS_MIN
            || self.read_bytes.saturating_sub(before.read_bytes) >= MOVED_BYTES_MIN
            || self.memory_bytes.abs_diff(before.memory_bytes) >= MOVED_BYTES_MIN
    }
}

/// Looks at a process of this machine.
pub(super) fn of_process(id: u32) -> Effort {
    let (pid, mut system) = (Pid::from_u32(id), System::new().ok());
    let looked_at = ProcessRefreshKind::nothing().with_cpu().with_memory().with_disk_usage().without_tasks();
    Box::new(move || {
        let system = system.as_mut()?;
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, looked_at);
        let process = system.process(pid)?;
        Some(Work {
            cpu_ms: process.accumulated_cpu_time(),
            read_bytes: process.disk_usage().total_read_bytes,
            memory_bytes: process.memory(),
        })
    })
}

/// Waits until it is loaded: for `limits.load`, and from then on for as long as something was done within the last `limits.stall`. The error is
/// how long was waited.
pub(super) async fn wait<T>(loaded: impl Future<Output = T>, effort: Option<Effort>, limits: Limits) -> Result<T, Duration> {
    let began = Instant::now();
    let look = async {
        let Some(mut effort) = effort else { return time::sleep(limits.load).await };
        time::sleep(limits.load.saturating_sub(limits.stall)).await;
        let mut before = effort();
        while began.elapsed() < limits.load * EXTENSION_MAX {
            time::sleep(limits.stall.min(limits.load)).await;
            let now = effort();
            if !now.zip(before).is_some_and(|(now, before)| now.is_more_than(before)) {
                break;
            }
            tracing::info!(waited_s = began.elapsed().as_secs(), "a model takes its time to load");
            before = now;
        }
    };
    tokio::select! {
        biased;
        loaded = loaded => Ok(loaded),
        () = look => Err(began.elapsed()),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        process::{Command, Stdio},
    };

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);
    const LIMITS: Limits = Limits { load: Duration::from_mins(2), stall: MINUTE, hang: MINUTE };

    /// A far end that computes for so many minutes and then does nothing more.
    fn busy_for(minutes: u32) -> Effort {
        let began = Instant::now();
        Box::new(move || {
            let worked = began.elapsed().min(MINUTE * minutes);
            Some(Work { cpu_ms: worked.as_millis() as u64, ..Work::default() })
        })
    }

    async fn after(minutes: u32, effort: Option<Effort>) -> Result<(), Duration> {
        wait(time::sleep(MINUTE * minutes), effort, LIMITS).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_load_that_gets_on_is_waited_for() {
        assert_eq!(after(15, Some(busy_for(20))).await, Ok(()));
        assert_eq!(wait(pending::<()>(), Some(busy_for(100)), LIMITS).await, Err(LIMITS.load * EXTENSION_MAX), "but not for ever");
    }

    #[tokio::test(start_paused = true)]
    async fn a_load_that_stands_still_is_given_up() {
        assert_eq!(after(15, Some(busy_for(0))).await, Err(MINUTE * 2), "at its limit");
        assert_eq!(after(15, Some(busy_for(5))).await, Err(MINUTE * 6), "a stall after its last work");
        assert_eq!(after(15, None).await, Err(MINUTE * 2), "where nothing can be seen the limit is the limit");
        assert_eq!(after(1, None).await, Ok(()));
    }

    #[test]
    fn reading_and_filling_memory_is_work_and_heartbeats_are_none() {
        let before = Work { cpu_ms: 500, read_bytes: 9 << 20, memory_bytes: 64 << 20 };
        assert!(!Work { cpu_ms: 520, read_bytes: before.read_bytes + 4096, memory_bytes: before.memory_bytes - 4096 }.is_more_than(before));
        assert!(Work { cpu_ms: 900, ..before }.is_more_than(before));
        assert!(Work { read_bytes: 10 << 20, ..before }.is_more_than(before));
        assert!(Work { memory_bytes: 60 << 20, ..before }.is_more_than(before));
    }

    #[test]
    fn a_process_is_seen_to_compute() {
        let mut child = Command::new("sh").args(["-c", "while :; do :; done"]).stdin(Stdio::null()).spawn().unwrap();
        let mut effort = of_process(child.id());
        let before = effort().unwrap();
        let until = std::time::Instant::now() + MINUTE;
        while !effort().unwrap().is_more_than(before) {
            assert!(std::time::Instant::now() < until, "it computes all the time");
            std::thread::sleep(Duration::from_millis(50));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(effort(), None, "it is gone");
    }
}
