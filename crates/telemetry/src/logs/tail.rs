//! The end of the log files as entries.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

/// Most entries that one call returns.
pub const TAIL_ENTRIES_MAX: usize = 1000;
/// Most bytes that one call reads.
const TAIL_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// The newest entries of `<file_prefix>.YYYY-MM-DD` in `dir`, oldest first: at most `n`, [`TAIL_ENTRIES_MAX`] and what fits in 2 MiB of files.
///
/// An entry is `{timestamp, level (lower case), target, message, fields}`. Lines that are no entries are left out; a missing file has none.
pub fn tail(dir: &Path, file_prefix: &str, n: usize) -> Vec<Value> {
    let wanted = n.min(TAIL_ENTRIES_MAX);
    let mut entries = Vec::new();
    let mut bytes_left = TAIL_BYTES_MAX;
    for file in dated_files(dir, file_prefix) {
        if entries.len() >= wanted || bytes_left == 0 {
            break;
        }
        let Some(text) = read_end(&file, bytes_left) else { continue };
        bytes_left -= (text.len() as u64).min(bytes_left);
        entries.extend(text.lines().rev().filter_map(entry).take(wanted - entries.len()));
    }
    entries.reverse();
    entries
}

/// Newest first.
fn dated_files(dir: &Path, file_prefix: &str) -> Vec<PathBuf> {
    let is_dated = |name: &str| {
        name.strip_prefix(file_prefix)
            .and_then(|rest| rest.strip_prefix('.'))
            .is_some_and(|date| date.starts_with(|c: char| c.is_ascii_digit()))
    };
    let found = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<_> = found.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| is_dated(name)).collect();
    names.sort_unstable_by(|a, b| b.cmp(a));
    names.into_iter().map(|name| dir.join(name)).collect()
}

/// At most `bytes_max` from the end of a file, from the first whole line on.
fn read_end(path: &Path, bytes_max: u64) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let size = file.metadata().ok()?.len();
    let from = size.saturating_sub(bytes_max);
    file.seek(SeekFrom::Start(from)).ok()?;
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let whole = if from == 0 { &*text } else { text.split_once('\n').map_or("", |(_, rest)| rest) };
    Some(whole.to_owned())
}

fn entry(line: &str) -> Option<Value> {
    let mut object: Map<String, Value> = serde_json::from_str(line).ok()?;
    let mut fields = match object.remove("fields") {
        Some(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let message = fields.remove("message").unwrap_or_else(|| json!(""));
    let level = object.get("level")?.as_str()?.to_ascii_lowercase();
    Some(json!({
        "timestamp": object.remove("timestamp")?,
        "level": level,
        "target": object.remove("target").unwrap_or_else(|| json!("")),
        "message": message,
        "fields": fields,
    }))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{TAIL_ENTRIES_MAX, tail};

    fn line(n: usize) -> String {
        format!("{{\"timestamp\":\"t\",\"level\":\"INFO\",\"fields\":{{\"message\":\"m{n}\"}},\"target\":\"a\"}}\n")
    }

    #[test]
    fn goes_back_over_days_and_keeps_the_order() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("n.log.2026-01-01"), line(1) + &line(2)).expect("written");
        fs::write(dir.path().join("n.log.2026-01-02"), line(3) + "not json\n" + "{\"half\": ").expect("written");
        fs::write(dir.path().join("other.log.2026-01-03"), line(9)).expect("written");
        let said: Vec<_> = tail(dir.path(), "n.log", 2).iter().map(|entry| entry["message"].clone()).collect();
        assert_eq!(said, ["m2", "m3"]);
        assert_eq!(tail(dir.path(), "n.log", 100).len(), 3);
        assert!(tail(dir.path(), "n.log", 0).is_empty());
        assert!(tail(&dir.path().join("missing"), "n.log", 5).is_empty());
    }

    #[test]
    fn reads_no_more_than_its_bounds() {
        let dir = tempfile::tempdir().expect("a directory");
        let lines: String = (0..60_000).map(line).collect();
        assert!(lines.len() > 3 * 1024 * 1024);
        fs::write(dir.path().join("n.log.2026-01-01"), lines).expect("written");
        let entries = tail(dir.path(), "n.log", usize::MAX);
        assert_eq!(entries.len(), TAIL_ENTRIES_MAX);
        assert_eq!(entries.last().expect("an entry")["message"], "m59999");
    }
}
