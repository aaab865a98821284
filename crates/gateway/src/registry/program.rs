//! Programs that work on models for a long time: run to their end, bounded, and heard.

use std::{collections::VecDeque, fmt::Write as _, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
};

/// One takes at most so long.
const TIME_MAX: Duration = Duration::from_hours(6);
/// Of what it said, the last lines are told.
const SAID_LINES: usize = 20;
const SAID_LINE_BYTES_MAX: usize = 500;

/// Runs a program to its end, and tells the percentages that it says.
///
/// # Errors
/// Its last words.
pub(super) async fn run(mut command: Command, told: &(dyn Fn(f64) + Sync)) -> Result<(), String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    #[cfg(unix)]
    command.process_group(0);
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().map_err(|e| format!("{program} can't be started: {e}"))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let mut said = VecDeque::new();
    let silent = |_: f64| {};
    let ended = tokio::time::timeout(TIME_MAX, async {
        let mut aside = VecDeque::new();
        tokio::join!(listen(out, &mut aside, &silent), listen(err, &mut said, told));
        child.wait().await
    });
    match ended.await {
        Err(_) => Err(format!("{program} did not end within {} hours", TIME_MAX.as_secs() / 3600)),
        Ok(Err(error)) => Err(format!("{program}: {error}")),
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => {
            let last = said.into_iter().fold(String::new(), |mut all, line| {
                let _ = write!(all, "\n{line}");
                all
            });
            Err(format!("it failed ({status}):{last}"))
        }
    }
}

/// Keeps the last lines, and tells the percentages in all.
async fn listen(from: Option<impl AsyncRead + Unpin>, last: &mut VecDeque<String>, told: &(dyn Fn(f64) + Sync)) {
    let Some(mut from) = from else { return };
    let (mut buffer, mut line) = (vec![0; 8192], Vec::new());
    while let Ok(read) = from.read(&mut buffer).await {
        if read == 0 {
            break;
        }
        for byte in &buffer[..read] {
            match byte {
                b'\n' | b'\r' => end_line(&mut line, last, told),
                byte if line.len() < SAID_LINE_BYTES_MAX => line.push(*byte),
                _ => {}
            }
        }
    }
    end_line(&mut line, last, told);
}

fn end_line(line: &mut Vec<u8>, last: &mut VecDeque<String>, told: &(dyn Fn(f64) + Sync)) {
    let text = String::from_utf8_lossy(line).trim_end().to_owned();
    line.clear();
    if let Some(share) = share_of(&text) {
        told(share);
    } else if !text.is_empty() {
        if last.len() == SAID_LINES {
            last.pop_front();
        }
        last.push_back(text);
    }
}

/// What a progress bar such as `Writing:  45%|####` says.
fn share_of(line: &str) -> Option<f64> {
    let head = &line[..line.find("%|")?];
    let digits = head.rsplit(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse::<u32>().ok().filter(|percent| *percent <= 100).map(|percent| f64::from(percent) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_bars_are_read() {
        assert_eq!(share_of("Writing:  45%|####      | 1.2G/2.7G"), Some(0.45));
        assert_eq!((share_of("INFO: 45% done"), share_of("x 450%|"), share_of("%|")), (None, None, None));
    }
}
