//! Running vendors' tools: bounded in time and output.

use std::{
    io::Read,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// Longest time for a tool. One that hangs (a driver that fell off the bus) is ended.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Between two looks whether it has ended.
const LOOK: Duration = Duration::from_millis(10);
/// Most output that is read, in bytes.
const OUTPUT_BYTES_MAX: u64 = 4 << 20;

/// What the first of `programs` that exists prints, if it ends well.
pub(super) fn output(programs: &[&str], arguments: &[&str]) -> Option<String> {
    programs.iter().find_map(|program| run(program, arguments).transpose()).and_then(Result::ok)
}

/// A tool that exists said nothing; another path to it would not help.
struct Failed;

/// `Ok(None)` where there is no such program.
fn run(program: &str, arguments: &[&str]) -> Result<Option<String>, Failed> {
    let spawned = Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let Ok(mut child) = spawned else { return Ok(None) };
    let Some(stdout) = child.stdout.take() else { return Err(Failed) };
    let (sender, text) = mpsc::sync_channel(1);
    // Read beside the wait: a tool with more to say than a pipe holds would never end.
    let reading = thread::Builder::new().name("gpu tool".to_owned()).spawn(move || {
        let mut bytes = Vec::new();
        let _ = stdout.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    let deadline = Instant::now() + TIMEOUT;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if reading.is_ok() && Instant::now() < deadline => thread::sleep(LOOK),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(Failed);
            }
        }
    };
    // A grandchild may keep the pipe open: it is not waited for.
    let bytes = text.recv_timeout(deadline.saturating_duration_since(Instant::now()).max(LOOK)).map_err(|_| Failed)?;
    if status.success() { Ok(Some(String::from_utf8_lossy(&bytes).into_owned())) } else { Err(Failed) }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn output_is_read_whole_and_failures_are_no_output() {
        let long = output(&["/nonexistent/tool", "sh"], &["-c", "head -c 300000 /dev/zero | tr '\\0' x"]);
        assert_eq!(long.map(|text| text.len()), Some(300_000), "more than a pipe holds");
        assert_eq!(output(&["sh"], &["-c", "echo text; exit 3"]), None);
        assert_eq!(output(&["/nonexistent/tool"], &[]), None);
    }
}
