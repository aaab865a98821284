//! What commands say. A reader that has seen enough (`llm-router config show | head`) is no failure.

use std::io::{self, IsTerminal as _, Write as _};

use super::Failed;

/// Writes to standard output.
pub(super) fn print(text: &str) -> Result<(), Failed> {
    bytes(text.as_bytes())
}

/// The same for bytes.
pub(super) fn bytes(bytes: &[u8]) -> Result<(), Failed> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
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

/// How far a long task is: one line of standard error that changes. Where that is no terminal, nothing.
pub(super) struct Bar {
    what: String,
    is_terminal: bool,
    is_shown: bool,
}

/// Cells of a bar.
const BAR_CELLS: usize = 30;

impl Bar {
    pub(super) fn new(what: &str) -> Self {
        Self { what: what.to_owned(), is_terminal: io::stderr().is_terminal(), is_shown: false }
    }

    /// `share`: 0 to 1.
    pub(super) fn show(&mut self, share: f64) {
        if self.is_terminal {
            self.write(&self.line(share));
        }
    }

    /// So many bytes, where nobody knows how many there will be.
    pub(super) fn show_bytes(&mut self, bytes: u64) {
        if self.is_terminal {
            self.write(&format!("{} {:.1} MB", self.what, bytes as f64 / 1e6));
        }
    }

    fn write(&mut self, line: &str) {
        self.is_shown = true;
        let mut error = io::stderr().lock();
        let _ = write!(error, "\r{line}").and_then(|()| error.flush());
    }

    fn line(&self, share: f64) -> String {
        let share = share.clamp(0.0, 1.0);
        let full = (share * BAR_CELLS as f64) as usize;
        format!("{} [{}{}] {:3.0} %", self.what, "#".repeat(full), ".".repeat(BAR_CELLS - full), share * 100.0)
    }

    /// The line is left as it is.
    pub(super) fn end(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            let _ = writeln!(io::stderr());
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.end();
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_fill_up_and_never_over() {
        let bar = Bar::new("m");
        assert_eq!(bar.line(0.5), format!("m [{}{}]  50 %", "#".repeat(15), ".".repeat(15)));
        for share in [-1.0, 0.0, 1.0, 7.0, f64::NAN] {
            assert_eq!(bar.line(share).matches(['#', '.']).count(), BAR_CELLS, "{share}");
        }
    }
}
