//! Threads behind the path have less of a claim to a core than those of the path: a request that has come goes first at once, however long the
//! work would still take.

/// What a thread of the background adds to the niceness that the program was given: with 10 it gets a tenth of a core that the path could fill.
#[cfg(target_os = "linux")]
const NICER_BY: i32 = 10;

/// Puts the calling thread behind the path; call it once in a thread. It becomes nicer, and leaves a real-time class. Only Linux knows
/// threads of one process with different claims; elsewhere, and where the system refuses, the thread stays what it was.
pub fn step_back() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{getpriority_process, setpriority_process};
        use thread_priority::{
            NormalThreadSchedulePolicy::Other, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
            thread_schedule_policy,
        };
        // "Process" 0 is the calling thread: setpriority(2), C library/kernel differences.
        let niceness = getpriority_process(None).unwrap_or(0);
        if matches!(thread_schedule_policy(), Ok(ThreadSchedulePolicy::Realtime(_))) {
            // It is as nice as can be then, and stays so where the program may not make it less nice.
            let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, ThreadSchedulePolicy::Normal(Other));
        }
        let _ = setpriority_process(None, niceness + NICER_BY);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::getpriority_process;

    use super::*;

    #[test]
    fn only_the_thread_that_steps_back_has_less_of_a_claim() {
        let niceness = || getpriority_process(None).expect("a niceness");
        let before = niceness();
        let behind = std::thread::spawn(move || {
            step_back();
            niceness()
        });
        assert_eq!(behind.join().expect("no panic"), (before + NICER_BY).min(19));
        assert_eq!(niceness(), before);
    }
}
