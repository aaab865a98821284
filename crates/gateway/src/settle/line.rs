//! A line of JSON, written member by member. Names cost a copy each, because they are known here: as members of types that serde writes they
//! took a third of the time of a line.

use std::ops::Range;

use serde::Serialize;

/// Appends members to a line that was begun: `members!(line, "name": value, …)`.
macro_rules! members {
    ($line:expr, $($name:literal: $value:expr),+ $(,)?) => {
        {$($crate::settle::line::member($line, concat!(",\"", $name, "\":"), &$value);)+}
    };
}
pub(super) use members;

/// Appends `name`, with what stands before and after it, and the value.
pub(super) fn member(line: &mut Vec<u8>, name: &str, value: &(impl Serialize + ?Sized)) {
    line.extend_from_slice(name.as_bytes());
    // Memory refuses no bytes, and no value of these lines refuses to be written.
    let _ = serde_json::to_writer(line, value);
}

/// Members that several lines have: written once, and copied from there as long as nothing before them leaves the text.
#[derive(Default)]
pub(super) struct Repeated(Option<Range<usize>>);

impl Repeated {
    pub(super) fn append(&mut self, lines: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(written) = &self.0 {
            lines.extend_from_within(written.clone());
            return;
        }
        let start = lines.len();
        write(lines);
        self.0 = Some(start..lines.len());
    }
}
