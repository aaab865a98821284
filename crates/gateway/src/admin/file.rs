//! Lists as files, in one form or the other, sent while they are read.

use axum::response::{IntoResponse, Response};
use http::header;
use serde::Serialize;
use serde_json::Value;
use store::StoreError;
use wire::Failure;

use super::pieces;

/// A form of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Csv,
    Json,
}

impl Format {
    /// The form that `format=` asks for; a table where nothing is said.
    ///
    /// # Errors
    /// A 400 that names the two.
    pub fn asked(word: Option<&str>) -> Result<Self, Failure> {
        match word {
            None | Some("" | "csv") => Ok(Self::Csv),
            Some("json") => Ok(Self::Json),
            Some(_) => Err(Failure::invalid("format", "`format` is csv or json")),
        }
    }
}

/// Rows on their way into a file: between them stands what the form wants there.
#[derive(Debug)]
pub struct Rows {
    format: Format,
    columns: &'static [&'static str],
    is_begun: bool,
    /// So many are in it by now.
    pub count: u64,
}

impl Rows {
    /// Of a table these are the columns; of a list each row has whatever members it has.
    pub fn new(format: Format, columns: &'static [&'static str]) -> Self {
        Self { format, columns, is_begun: false, count: 0 }
    }

    /// The form.
    pub fn format(&self) -> Format {
        self.format
    }

    /// What stands before the first row of a table; nothing the second time.
    pub fn head(&mut self, text: &mut Vec<u8>) {
        if self.format == Format::Csv && !std::mem::replace(&mut self.is_begun, true) {
            text.extend_from_slice(self.columns.join(",").as_bytes());
            text.extend_from_slice(b"\r\n");
        }
    }

    /// One more row.
    pub fn add(&mut self, row: &impl Serialize, text: &mut Vec<u8>) {
        match self.format {
            Format::Csv => {
                let row = serde_json::to_value(row).unwrap_or_default();
                let cells: Vec<String> = self.columns.iter().map(|column| cell(&row[*column])).collect();
                text.extend_from_slice(cells.join(",").as_bytes());
                text.extend_from_slice(b"\r\n");
            }
            Format::Json => {
                text.extend_from_slice(if self.count == 0 { b"[\n" } else { b",\n" });
                serde_json::to_writer(text, row).unwrap_or_default();
            }
        }
        self.count += 1;
    }

    /// What stands after the last.
    pub fn end(&mut self, text: &mut Vec<u8>) {
        if self.format == Format::Json {
            text.extend_from_slice(if self.count == 0 { b"[]\n" } else { b"\n]\n" });
        }
    }
}

/// A value between commas. Spreadsheets take a text that begins like a formula for one: clients choose ids and names of models.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => return String::new(),
        Value::String(text) if text.starts_with(['=', '+', '-', '@', '\t', '\r']) => format!("'{text}"),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

/// What a file is made of, piece by piece.
pub trait Pages: Send + 'static {
    /// The next piece; empty after the end.
    ///
    /// # Errors
    /// The database's.
    fn next(&mut self) -> impl Future<Output = Result<Vec<u8>, StoreError>> + Send;
}

/// An answer that is a file of this name: each piece is read when there is room for the one before. A file that can't be read to its end breaks
/// off, so that nobody takes it for whole.
pub fn send(name: &str, format: Format, mut pages: impl Pages) -> Response {
    let (out, body) = pieces::channel();
    tokio::spawn(async move {
        loop {
            match pages.next().await {
                Ok(text) if text.is_empty() => return,
                Ok(text) => {
                    if !out.send(text.into()).await {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "an export broke off");
                    return out.broke(error).await;
                }
            }
        }
    });
    let (kind, ending) = match format {
        Format::Csv => ("text/csv; charset=utf-8", "csv"),
        Format::Json => ("application/json", "json"),
    };
    let disposition = format!("attachment; filename=\"{name}.{ending}\"");
    ([(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, disposition)], body).into_response()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_are_quoted_and_begin_no_formula() {
        for (value, text) in [
            (json!(null), ""),
            (json!(-7), "-7"),
            (json!("a,\"b\""), "\"a,\"\"b\"\"\""),
            (json!("=1+1"), "'=1+1"),
            (json!("two\nlines"), "\"two\nlines\""),
        ] {
            assert_eq!(cell(&value), text);
        }
    }

    #[test]
    fn a_file_has_a_head_every_row_and_an_end() {
        for rows in 0..3 {
            let file = |format| {
                let (mut file, mut text) = (Rows::new(format, &["a", "b"]), Vec::new());
                file.head(&mut text);
                file.head(&mut text);
                (0..rows).for_each(|n| file.add(&json!({"b": n, "c": 1}), &mut text));
                file.end(&mut text);
                assert_eq!(file.count, rows);
                String::from_utf8(text).unwrap()
            };
            assert_eq!(serde_json::from_str::<Vec<Value>>(&file(Format::Json)).unwrap().len() as u64, rows);
            let table = file(Format::Csv);
            assert!(table.starts_with("a,b\r\n") && table.lines().count() as u64 == rows + 1 && !table.contains('c'), "{table}");
        }
    }

    #[test]
    fn two_words_are_known() {
        assert_eq!(
            [None, Some(""), Some("csv"), Some("json")].map(|word| Format::asked(word).unwrap()),
            [Format::Csv, Format::Csv, Format::Csv, Format::Json]
        );
        assert_eq!(Format::asked(Some("xml")).unwrap_err().param.as_deref(), Some("format"));
    }
}
