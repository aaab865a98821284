//! What commands say. A reader that has seen enough (`llm-router config show | head`) is no failure.

use std::io::{self, Write as _};

use super::Failed;

/// Writes to standard output.
pub(super) fn print(text: &str) -> Result<(), Failed> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Err(Failed::enough()),
        Err(e) => Err(Failed(1, format!("standard output cannot be written: {e}"))),
        Ok(()) => Ok(()),
    }
}

/// Writes a line to standard output.
pub(super) fn line(text: &str) -> Result<(), Failed> {
    print(&format!("{text}\n"))
}

/// Writes JSON for people and programs to standard output.
pub(super) fn json(value: &serde_json::Value) -> Result<(), Failed> {
    print(&format!("{value:#}\n"))
}

/// Writes a line to standard error; where nobody listens there, it is gone.
pub(super) fn remark(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Rows as columns, two blanks between; the last column as long as it likes.
pub(super) fn table(rows: &[Vec<String>]) -> Result<(), Failed> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> =
        (0..columns).map(|i| rows.iter().filter_map(|row| row.get(i)).map(|cell| cell.chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    print(&text)
}
