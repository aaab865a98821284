//! Which bytes of a text to replace by which, for one change of one value.

use std::ops::Range;

use serde_json::{Map, Value};

use super::pieces::{Entry, Piece, Shape, colon};
use super::{Step, render};

/// A part of a text and what comes in its place.
#[derive(Debug, PartialEq)]
pub(super) struct Splice {
    pub(super) range: Range<usize>,
    pub(super) text: String,
}

impl Splice {
    fn new(range: Range<usize>, text: impl Into<String>) -> Self {
        Self { range, text: text.into() }
    }
}

/// Where a change could not be made: the byte at which the text is written in a way that is not followed.
pub(super) struct Stuck(pub(super) usize);

/// What a value hangs on.
#[derive(Clone, Copy)]
enum Holder<'a> {
    Root,
    Key(&'a Entry),
    /// An item of a list; where its dash is, if it has one.
    Item(Option<usize>),
}

/// Sets the value at a path, making the objects on the way.
pub(super) fn set(text: &str, root: &Piece, path: &[Step], value: &Value) -> Result<Splice, Stuck> {
    let mut piece = root;
    let mut holder = Holder::Root;
    let mut around = Around::of(text, root);
    for (depth, step) in path.iter().enumerate() {
        let is_flow = piece.is_flow();
        match (step, &piece.shape) {
            (Step::Key(name), Shape::Map { entries, .. }) => match entries.iter().find(|e| e.name == *name) {
                Some(entry) => (piece, holder) = (&entry.value, Holder::Key(entry)),
                None => return insert(text, piece, holder, around, name, &nested(&path[depth + 1..], value)),
            },
            (Step::Item(at), Shape::List { flow, items }) => {
                let item = items.get(*at).ok_or(Stuck(piece.span.start))?;
                let dash = if *flow { None } else { dash_of(text, item) };
                (piece, holder) = (item, Holder::Item(dash));
            }
            // Nothing, or something else, stands where an object is wanted.
            (Step::Key(_), Shape::Inline) => return replace(text, piece, holder, around, &nested(&path[depth..], value)),
            _ => return Err(Stuck(piece.span.start)),
        }
        around.in_flow |= is_flow;
    }
    replace(text, piece, holder, around, value)
}

/// What a value stands in.
#[derive(Clone, Copy)]
struct Around {
    /// Brackets of any kind: lines mean nothing there.
    in_flow: bool,
    /// The file is JSON, and stays so.
    is_json: bool,
}

impl Around {
    fn of(text: &str, root: &Piece) -> Self {
        let is_json = match &root.shape {
            Shape::Map { flow: true, entries } => entries.first().is_some_and(|first| text[first.key.clone()].starts_with('"')),
            _ => false,
        };
        Self { in_flow: false, is_json }
    }

    fn flow(self, value: &Value) -> String {
        if self.is_json { value.to_string() } else { render::flow(value) }
    }
}

/// The value below the steps of a path.
fn nested(path: &[Step], value: &Value) -> Value {
    path.iter().rev().fold(value.clone(), |value, step| match step {
        Step::Key(name) => Value::Object(Map::from_iter([((*name).to_owned(), value)])),
        Step::Item(_) => Value::Array(vec![value]),
    })
}

/// A further entry at the end of a map.
fn insert(text: &str, map: &Piece, holder: Holder, around: Around, name: &str, value: &Value) -> Result<Splice, Stuck> {
    let Shape::Map { flow, entries } = &map.shape else { return Err(Stuck(map.span.start)) };
    let Some(first) = entries.first() else {
        return replace(text, map, holder, around, &Value::Object(Map::from_iter([(name.to_owned(), value.clone())])));
    };
    if *flow {
        let key = if around.is_json { Value::String(name.to_owned()).to_string() } else { render::scalar(name) };
        let written = format!("{key}: {}", around.flow(value));
        return Ok(after_last(text, map, entries.last().map_or(0, |e| e.value.span.end.max(e.key.end)), &written));
    }
    let indent = column(text, first.key.start);
    Ok(new_line(text, map.span.end, indent, &render::entry(name, value, indent)))
}

/// A further item at the end of a list that has some; whoever has none replaces it.
pub(super) fn push(text: &str, root: &Piece, list: &Piece, value: &Value) -> Result<Splice, Stuck> {
    let Shape::List { flow, items } = &list.shape else { return Err(Stuck(list.span.start)) };
    let last = items.last().ok_or(Stuck(list.span.start))?;
    if *flow {
        return Ok(after_last(text, list, last.span.end, &Around::of(text, root).flow(value)));
    }
    let indent = column(text, dash_of(text, &items[0]).ok_or(Stuck(items[0].span.start))?);
    Ok(new_line(text, list.span.end, indent, &render::item(value, indent)))
}

/// Replaces a whole value.
fn replace(text: &str, piece: &Piece, holder: Holder, around: Around, value: &Value) -> Result<Splice, Stuck> {
    let span = piece.span.clone();
    if around.in_flow || (matches!(holder, Holder::Root) && piece.is_flow() && !piece.is_empty_collection()) {
        let blank = if span.is_empty() && text[..span.start].ends_with(':') { " " } else { "" };
        return Ok(Splice::new(span, format!("{blank}{}", around.flow(value))));
    }
    match (holder, render::inline(value)) {
        (Holder::Root, _) if piece.is_inline() => Ok(Splice::new(span, render::block(value, 0))),
        (Holder::Root | Holder::Item(_), written) if !piece.is_inline() => {
            let indent = column(text, span.start);
            Ok(Splice::new(span.clone(), written.unwrap_or_else(|| render::block(value, indent))))
        }
        (_, Some(written)) if piece.is_inline() => {
            let blank = if span.is_empty() && !text[..span.start].ends_with(' ') { " " } else { "" };
            Ok(Splice::new(span, format!("{blank}{written}")))
        }
        (Holder::Key(entry), Some(written)) => {
            let (after, line) = header(text, entry, piece)?;
            Ok(Splice::new(after..span.end, format!(" {written}{line}")))
        }
        (Holder::Key(entry), None) if piece.is_inline() => {
            let indent = column(text, entry.key.start) + 2;
            let after = colon(text, entry.key.end).ok_or(Stuck(entry.key.start))? + 1;
            // An anchor or a tag before the value would lose what it belongs to.
            if !text[after..span.start].trim().is_empty() {
                return Err(Stuck(after));
            }
            let rest = end_of_line(text, span.end);
            let comment = text[span.end..rest].trim_end();
            Ok(Splice::new(after..rest, format!("{comment}\n{}{}", " ".repeat(indent), render::block(value, indent))))
        }
        (Holder::Key(entry), None) if matches!(piece.shape, Shape::Text) => {
            let (after, line) = header(text, entry, piece)?;
            let indent = column(text, entry.key.start) + 2;
            Ok(Splice::new(after..span.end, format!("{line}\n{}{}", " ".repeat(indent), render::block(value, indent))))
        }
        (Holder::Key(entry), None) => {
            let start = match &piece.shape {
                Shape::List { items, .. } => items.first().and_then(|first| dash_of(text, first)).ok_or(Stuck(span.start))?,
                _ => span.start,
            };
            let (indent, of_key) = (column(text, start), column(text, entry.key.start));
            // Only lists may stand as far left as their key.
            if indent > of_key || value.is_array() {
                return Ok(Splice::new(start..span.end, render::block(value, indent)));
            }
            let blank = " ".repeat(of_key + 2);
            Ok(Splice::new(start - indent..span.end, format!("{blank}{}", render::block(value, of_key + 2))))
        }
        (Holder::Item(dash), _) => {
            let indent = column(text, dash.ok_or(Stuck(span.start))?) + 2;
            let blank = if span.is_empty() && !text[..span.start].ends_with(' ') { " " } else { "" };
            Ok(Splice::new(span, format!("{blank}{}", render::block(value, indent))))
        }
        (Holder::Root, _) => Err(Stuck(span.start)),
    }
}

/// Of an entry whose value stands on lines of its own: where its colon ends, and the comment that follows on its line.
fn header(text: &str, entry: &Entry, piece: &Piece) -> Result<(usize, String), Stuck> {
    let after = colon(text, entry.key.end).ok_or(Stuck(entry.key.start))? + 1;
    let line = text[after..end_of_line(text, after)].trim();
    let line = if matches!(piece.shape, Shape::Text) { line.find('#').map_or("", |at| &line[at..]) } else { line };
    match line {
        "" => Ok((after, String::new())),
        comment if comment.starts_with('#') => Ok((after, format!(" {comment}"))),
        _ => Err(Stuck(after)),
    }
}

/// Takes an entry or an item out; the last one leaves an empty collection.
pub(super) fn remove(text: &str, root: &Piece, path: &[Step]) -> Result<Splice, Stuck> {
    let Some((last, before)) = path.split_last() else { return Err(Stuck(0)) };
    let mut piece = root;
    for step in before {
        piece = below(piece, step).ok_or(Stuck(piece.span.start))?;
    }
    // Start of each child with what belongs to it, and its end.
    let (flow, children): (bool, Vec<(usize, usize)>) = match &piece.shape {
        Shape::Map { flow, entries } => (*flow, entries.iter().map(|e| (e.key.start, e.value.span.end.max(e.key.end))).collect()),
        Shape::List { flow, items } => {
            let start = |item: &Piece| if *flow { Some(item.span.start) } else { dash_of(text, item) };
            let children: Option<Vec<_>> = items.iter().map(|item| Some((start(item)?, item.span.end))).collect();
            (*flow, children.ok_or(Stuck(piece.span.start))?)
        }
        _ => return Err(Stuck(piece.span.start)),
    };
    let at = position(piece, last).ok_or(Stuck(piece.span.start))?;
    if children.len() == 1 {
        let empty = if matches!(piece.shape, Shape::List { .. }) { Value::Array(Vec::new()) } else { Value::Object(Map::new()) };
        return if before.is_empty() && !flow { Ok(lines(text, children[0])) } else { set(text, root, before, &empty) };
    }
    let (start, end) = children[at];
    let next = children.get(at + 1).map(|child| child.0);
    if flow {
        // The comma goes with it: the one after it, or of the last the one before.
        return Ok(Splice::new(next.map_or_else(|| children[at - 1].1..end, |next| start..next), ""));
    }
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    match next {
        // It shares its line with a dash: what follows moves up to it.
        Some(next) if !text[line_start..start].trim().is_empty() => Ok(Splice::new(start..next, "")),
        _ => Ok(lines(text, (start, end))),
    }
}

/// Whole lines.
fn lines(text: &str, (start, end): (usize, usize)) -> Splice {
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let line_end = text[end..].find('\n').map_or(text.len(), |at| end + at + 1);
    Splice::new(line_start..line_end, "")
}

/// The child of a collection that a step leads to.
pub(super) fn below<'a>(piece: &'a Piece, step: &Step) -> Option<&'a Piece> {
    match (&piece.shape, step) {
        (Shape::Map { entries, .. }, Step::Key(name)) => entries.iter().find(|e| e.name == *name).map(|e| &e.value),
        (Shape::List { items, .. }, Step::Item(at)) => items.get(*at),
        _ => None,
    }
}

fn position(piece: &Piece, step: &Step) -> Option<usize> {
    match (&piece.shape, step) {
        (Shape::Map { entries, .. }, Step::Key(name)) => entries.iter().position(|e| e.name == *name),
        (Shape::List { items, .. }, Step::Item(at)) => (*at < items.len()).then_some(*at),
        _ => None,
    }
}

/// After the last child of a flow collection: on its line, or on one of its own where each child has one.
fn after_last(text: &str, collection: &Piece, end: usize, written: &str) -> Splice {
    let opening = end_of_line(text, collection.span.start);
    let is_spread = opening < end && text[collection.span.start..opening].trim().len() == 1;
    let line_start = text[..end].rfind('\n').map_or(0, |at| at + 1);
    let indent = text[line_start..].len() - text[line_start..].trim_start_matches(' ').len();
    let between = if is_spread { format!(",\n{}", " ".repeat(indent)) } else { ", ".to_owned() };
    Splice::new(end..end, format!("{between}{written}"))
}

/// A line of its own after the line on which `end` is.
fn new_line(text: &str, end: usize, indent: usize, written: &str) -> Splice {
    let at = end_of_line(text, end);
    Splice::new(at..at, format!("\n{}{written}", " ".repeat(indent)))
}

/// Where the line ends on which `at` is, before its line end.
fn end_of_line(text: &str, at: usize) -> usize {
    let end = text[at..].find('\n').map_or(text.len(), |found| at + found);
    if text[at..end].ends_with('\r') { end - 1 } else { end }
}

/// Bytes between the beginning of the line and `at`.
fn column(text: &str, at: usize) -> usize {
    at - text[..at].rfind('\n').map_or(0, |found| found + 1)
}

/// The dash of an item of a list in block style: the last one before it on its line, or the one that stands alone on a line above.
fn dash_of(text: &str, item: &Piece) -> Option<usize> {
    let mut start = text[..item.span.start].rfind('\n').map_or(0, |at| at + 1);
    let mut before = &text[start..item.span.start];
    loop {
        let marks = before.len() - before.trim_start_matches([' ', '-']).len();
        let lead = &before[..marks];
        if let Some(dash) = lead.rfind('-') {
            return Some(start + dash);
        }
        let rest = before.trim();
        if start == 0 || !(rest.is_empty() || rest.starts_with('#')) {
            return None;
        }
        let line_end = start - 1;
        start = text[..line_end].rfind('\n').map_or(0, |at| at + 1);
        before = &text[start..line_end];
    }
}
