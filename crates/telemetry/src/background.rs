//! Threads behind the path have less of a claim to a core than those of the path: a request that has come goes first at once, however long the
//! work would still take.

/// What a thread of the background adds to the niceness that the program was given: with 10 it gets a tenth of a core that the path could fill.
#[cfg(target_os = "linux")]
const NICER_BY: i32 = 10;

/// Puts the calling thread behind the path; call it once in a thread. It becomes nicer, and leaves a real-time class for `SCHED_BATCH`: threads of
/// it that wake each other don't push each other aside, so the ledger gets all that the database's thread says to a statement at once, not
/// piece by piece. Only Linux knows threads of one process with different claims; elsewhere, and where the system refuses, the thread stays what
/// it was.
pub fn step_back() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{getpriority_process, setpriority_process};
        use thread_priority::{
            NormalThreadSchedulePolicy::Batch, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
        };
        // "Process" 0 is the calling thread: setpriority(2), C library/kernel differences.
        let niceness = getpriority_process(None).unwrap_or(0);
        // The least nice that there is: who may not become that stays as it was, and who may becomes nicer just below. Of a nicer one that has
        // no privilege there would be no way back.
        let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Max, ThreadSchedulePolicy::Normal(Batch));
        let _ = setpriority_process(None, niceness + NICER_BY);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::getpriority_process;
    use thread_priority::{NormalThreadSchedulePolicy, ThreadSchedulePolicy, thread_schedule_policy};

    use super::*;

    #[test]
    fn only_the_thread_that_steps_back_has_less_of_a_claim() {
        let claim = || (getpriority_process(None).expect("a niceness"), thread_schedule_policy().expect("a class"));
        let before = claim();
        let behind = std::thread::spawn(move || {
            step_back();
            claim()
        });
        let batch = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch);
        assert_eq!(behind.join().expect("no panic"), ((before.0 + NICER_BY).min(19), batch));
        assert_eq!(claim(), before);
    }
}
