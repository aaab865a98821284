//! The kernel's files about graphics cards.

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
};

use super::{GPUS_MAX, Gpu};

const DIR: &str = "/sys/class/drm";
/// Most entries of that directory that are looked at: cards and their connectors.
const ENTRIES_MAX: usize = 4096;
/// Longest file that is read, in bytes; all are a line.
const FILE_BYTES_MAX: u64 = 4096;

/// Gives a file's text, by its name below the card's directory; `hwmon/…` is among the card's sensors.
pub(super) type ReadFile<'r> = &'r dyn Fn(&str) -> Option<String>;

/// What `describe` makes of each card.
pub(super) fn cards(describe: impl Fn(ReadFile<'_>) -> Option<Gpu>) -> Vec<Gpu> {
    let Ok(entries) = fs::read_dir(DIR) else { return Vec::new() };
    let mut names: Vec<_> = entries.take(ENTRIES_MAX).filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    // Without the connectors, `card0-HDMI-A-1`.
    names.retain(|name| name.strip_prefix("card").is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit())));
    names.sort_by_key(|name| (name.len(), name.clone()));
    names.iter().take(GPUS_MAX).filter_map(|name| describe(&|file: &str| text(&Path::new(DIR).join(name), file))).collect()
}

fn text(card: &Path, file: &str) -> Option<String> {
    let path = match file.strip_prefix("hwmon/") {
        Some(file) => fs::read_dir(card.join("device/hwmon")).ok()?.next()?.ok()?.path().join(file),
        None => card.join(file),
    };
    let mut text = String::new();
    File::open(path).ok()?.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text.trim().to_owned())
}
