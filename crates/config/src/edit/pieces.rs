//! Where each value of a YAML text stands: the same tree as [`crate::tree`], with spans in bytes instead of values.

use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, Span, StructureStyle};

/// Deepest nesting; the reader of values has refused deeper files before.
const DEPTH_MAX: usize = 64;

/// A value and where it stands. A collection in block style spans from its first child to the end of its last, without comments around it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Piece {
    pub(super) span: Range<usize>,
    pub(super) shape: Shape,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    /// A plain or quoted scalar, or nothing at all, which has an empty span.
    Inline,
    /// A scalar after `|` or `>`; its header is not in the span.
    Text,
    /// `*name`
    Alias,
    List {
        flow: bool,
        items: Vec<Piece>,
    },
    Map {
        flow: bool,
        entries: Vec<Entry>,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) key: Range<usize>,
    pub(super) name: String,
    pub(super) value: Piece,
}

impl Piece {
    /// Whether it is written in one go, not as lines of its own.
    pub(super) fn is_inline(&self) -> bool {
        matches!(self.shape, Shape::Inline | Shape::Alias | Shape::List { flow: true, .. } | Shape::Map { flow: true, .. })
    }

    pub(super) fn is_flow(&self) -> bool {
        matches!(self.shape, Shape::List { flow: true, .. } | Shape::Map { flow: true, .. })
    }

    /// `[]` or `{}`.
    pub(super) fn is_empty_collection(&self) -> bool {
        match &self.shape {
            Shape::List { items, .. } => items.is_empty(),
            Shape::Map { entries, .. } => entries.is_empty(),
            _ => false,
        }
    }
}

/// The pieces of a text that the reader of values has accepted. `None`: it holds no document, or one that can't be followed.
pub(super) fn read(text: &str) -> Option<Piece> {
    let mut reader = Reader { parser: Parser::new_from_str(text), text };
    loop {
        match reader.next()? {
            (Event::StreamStart | Event::DocumentStart(..), _) => {}
            (event, span) => return reader.piece(event, &span, 0),
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    text: &'a str,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<(Event<'a>, Span)> {
        loop {
            match self.parser.next_event()?.ok()? {
                (Event::Comment(..), _) => {}
                found => return Some(found),
            }
        }
    }

    fn piece(&mut self, event: Event<'a>, span: &Span, depth: usize) -> Option<Piece> {
        let place = range(span)?;
        match event {
            _ if depth > DEPTH_MAX => None,
            Event::Alias(_) => Some(Piece { span: place, shape: Shape::Alias }),
            Event::Scalar(_, ScalarStyle::Literal | ScalarStyle::Folded, ..) => {
                // The line ends after its last line belong to what follows.
                let end = place.start + self.text.get(place.clone())?.trim_end_matches(['\n', '\r', ' ']).len();
                Some(Piece { span: place.start..end, shape: Shape::Text })
            }
            Event::Scalar(..) => Some(Piece { span: place, shape: Shape::Inline }),
            Event::SequenceStart(style, ..) => self.list(style == StructureStyle::Flow, place, depth),
            Event::MappingStart(style, ..) => self.map(style == StructureStyle::Flow, place, depth),
            _ => None,
        }
    }

    fn list(&mut self, flow: bool, start: Range<usize>, depth: usize) -> Option<Piece> {
        let mut items: Vec<Piece> = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, end) => {
                    let ends = items.last().map(|last| last.span.end);
                    let span = collection(flow, &start, range(&end)?, ends);
                    return Some(Piece { span, shape: Shape::List { flow, items } });
                }
                (event, span) => items.push(self.piece(event, &span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, flow: bool, start: Range<usize>, depth: usize) -> Option<Piece> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let (name, key) = match self.next()? {
                (Event::MappingEnd, end) => {
                    let ends = entries.last().map(|last| last.value.span.end.max(last.key.end));
                    let span = collection(flow, &start, range(&end)?, ends);
                    return Some(Piece { span, shape: Shape::Map { flow, entries } });
                }
                (Event::Scalar(name, ..), span) => (name.into_owned(), range(&span)?),
                _ => return None,
            };
            let (event, span) = self.next()?;
            let mut value = self.piece(event, &span, depth + 1)?;
            if value.span.is_empty() {
                // Nothing stands after the colon, not before it.
                let after = colon(self.text, key.end).map_or(key.end, |at| at + 1);
                value.span = after..after;
            }
            entries.push(Entry { key, name, value });
        }
    }
}

/// A flow collection spans its brackets, one in block style what its children do.
fn collection(flow: bool, start: &Range<usize>, end: Range<usize>, last_child: Option<usize>) -> Range<usize> {
    if flow { start.start..end.end } else { start.start..last_child.unwrap_or(start.start) }
}

/// The colon that follows a key on its line.
pub(super) fn colon(text: &str, key_end: usize) -> Option<usize> {
    let rest = text.get(key_end..)?;
    let blanks = rest.len() - rest.trim_start_matches([' ', '\t']).len();
    rest[blanks..].starts_with(':').then_some(key_end + blanks)
}

fn range(span: &Span) -> Option<Range<usize>> {
    Some(span.start.byte_offset()?..span.end.byte_offset()?)
}
