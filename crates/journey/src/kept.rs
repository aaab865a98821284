//! What is kept of a request's and its answer's text until they are written down.
//!
//! On the path handles change hands. Short bodies and pieces of streams are the exception: each would hold the whole buffer that it was read
//! into, which of thousands that wait is more than their text, so they are copied.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use bytes::Bytes;
use wire::{
    Dialect, Failure,
    ir::{Delta, Event},
};

/// Most bytes that are kept of one body; what follows is left out.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// Most bytes of a stream's frames, which say their text with many more bytes than it has.
pub const STREAM_BYTES_MAX: usize = 8 << 20;

/// A body up to this size is copied: connections read into 8 KiB at first.
const COPIED_BYTES_MAX: usize = 8 << 10;

/// Bytes that the first piece of a stream makes room for.
const STREAM_BYTES_MIN: usize = 512;

/// Bounds the texts of all requests that run or wait to be written down.
#[derive(Debug)]
pub struct Room {
    bytes: AtomicUsize,
    bytes_max: usize,
    /// Bodies that found no place.
    left_out: AtomicU64,
}

impl Room {
    /// A room of so many bytes.
    pub const fn new(bytes_max: usize) -> Self {
        Self { bytes: AtomicUsize::new(0), bytes_max, left_out: AtomicU64::new(0) }
    }

    /// Bytes that are taken now.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// Bodies that found no place since the start; their requests are recorded without them.
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Relaxed)
    }
}

/// Bytes that are taken of the room, until dropped.
#[derive(Debug)]
struct Place {
    room: &'static Room,
    bytes: usize,
}

impl Place {
    fn take(&mut self, bytes: usize) -> bool {
        let is_there = self.room.bytes.fetch_add(bytes, Relaxed).saturating_add(bytes) <= self.room.bytes_max;
        if is_there {
            self.bytes += bytes;
        } else {
            self.room.bytes.fetch_sub(bytes, Relaxed);
            self.room.left_out.fetch_add(1, Relaxed);
        }
        is_there
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.bytes.fetch_sub(self.bytes, Relaxed);
    }
}

/// What is kept of a body: a handle, but where that would hold much more than is kept. A short body lies in the buffer that its connection reads
/// into, which is then used again; of a long one the beginning is copied, because a handle to that would hold all of it.
fn part(body: &Bytes) -> Bytes {
    if body.len() <= COPIED_BYTES_MAX || body.len() > BODY_BYTES_MAX {
        Bytes::copy_from_slice(&body[..body.len().min(BODY_BYTES_MAX)])
    } else {
        body.clone()
    }
}

/// What was answered.
#[derive(Debug, Default)]
pub enum Said {
    /// Nothing, or nothing that is text.
    #[default]
    Nothing,
    /// All at once, as it was sent.
    Whole(Bytes),
    /// The frames of a stream, as they were sent.
    Stream(Vec<u8>),
    /// What a translated stream told.
    Told(Story),
    /// An error, in whose dialect it was told stands in the receipt.
    Failure(Box<Failure>),
}

/// The events of a stream, pieces of one text put together: what both its ends said is made of them, when it is written down.
#[derive(Debug, Default)]
pub struct Story {
    events: Vec<Event>,
    bytes: usize,
    /// Of the room.
    taken: usize,
}

impl Story {
    /// In the order in which they came.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Bytes that an event adds.
    fn added(&self, event: &Event) -> usize {
        match event {
            Event::Delta { delta: Delta::Text(text) | Delta::Reasoning(text) | Delta::Refusal(text) | Delta::Arguments(text), .. } => {
                text.len() + if self.goes_on(event) { 0 } else { size_of::<Event>() }
            }
            other => size_of::<Event>() + serde_json::to_string(other).map_or(0, |text| text.len()),
        }
    }

    /// Whether an event brings more of the text that the last one brought.
    fn goes_on(&self, event: &Event) -> bool {
        let (Some(Event::Delta { choice, block, delta }), Event::Delta { choice: c, block: b, delta: d }) = (self.events.last(), event)
        else {
            return false;
        };
        let is_same = matches!(
            (delta, d),
            (Delta::Text(_), Delta::Text(_))
                | (Delta::Reasoning(_), Delta::Reasoning(_))
                | (Delta::Refusal(_), Delta::Refusal(_))
                | (Delta::Arguments(_), Delta::Arguments(_))
        );
        is_same && (choice, block) == (c, b)
    }

    fn add(&mut self, event: &Event) {
        let goes_on = self.goes_on(event);
        match (self.events.last_mut(), event) {
            (
                Some(Event::Delta {
                    delta: Delta::Text(all) | Delta::Reasoning(all) | Delta::Refusal(all) | Delta::Arguments(all), ..
                }),
                Event::Delta { delta: Delta::Text(more) | Delta::Reasoning(more) | Delta::Refusal(more) | Delta::Arguments(more), .. },
            ) if goes_on => all.push_str(more),
            _ => self.events.push(event.clone()),
        }
    }
}

/// The text of one request and of its answer.
#[derive(Debug)]
pub struct Kept {
    /// As it came, as much as is kept of it.
    pub request: Bytes,
    pub is_request_cut: bool,
    pub answer: Said,
    /// The answer went on.
    pub is_answer_cut: bool,
    /// Only shapes are to be written down.
    pub is_redacted: bool,
    /// A credential that the request brought for somebody else: it may come back in an answer, and is masked there.
    pub lent: Option<Box<str>>,
    /// What went to and fro between the router and the upstream that was asked last, where those were other words than the caller's.
    pub far: Option<Arc<Far>>,
    place: Place,
}

/// The text of a translated request and of its answer, in the words of the upstream.
#[derive(Debug)]
pub struct Far {
    /// Which words those are.
    pub wire: Dialect,
    /// Shared with the stream that brings the answer; nobody waits for it.
    kept: Mutex<Kept>,
}

impl Far {
    /// What is kept by now.
    pub fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Keeps a request's body, if there is room. `is_redacted`: only its shape is to be written down.
    pub fn of(room: &'static Room, body: &Bytes, is_redacted: bool) -> Option<Self> {
        let mut place = Place { room, bytes: 0 };
        if !place.take(body.len().min(BODY_BYTES_MAX)) {
            return None;
        }
        let request = part(body);
        let is_request_cut = request.len() < body.len();
        Some(Self { request, is_request_cut, answer: Said::Nothing, is_answer_cut: false, is_redacted, lent: None, far: None, place })
    }

    /// A request goes to an upstream in other words than the caller's: keeps those beside the caller's own, in place of what was kept of an
    /// attempt before. Nothing where only shapes are written down, or there is no room.
    pub fn translated(&mut self, wire: Dialect, body: &Bytes) -> Option<Arc<Far>> {
        self.far = None;
        if self.is_redacted {
            return None;
        }
        let kept = Self::of(self.place.room, body, false)?;
        let far = Arc::new(Far { wire, kept: Mutex::new(kept) });
        self.far = Some(far.clone());
        Some(far)
    }

    /// A whole answer was sent.
    pub fn answered(&mut self, answer: &Bytes) {
        let part = part(answer);
        self.is_answer_cut = part.len() < answer.len();
        if self.place.take(part.len()) {
            self.answer = Said::Whole(part);
        } else {
            self.is_answer_cut = true;
        }
    }

    /// An error was sent instead of an answer.
    pub fn failed(&mut self, failure: &Failure) {
        self.answer = Said::Failure(Box::new(failure.clone()));
    }

    /// A translated stream told something. What follows one that found no room is left out as well.
    pub fn told(&mut self, events: &[Event]) {
        if self.is_answer_cut || events.is_empty() {
            return;
        }
        if !matches!(self.answer, Said::Told(_)) {
            self.answer = Said::Told(Story::default());
        }
        let Said::Told(story) = &mut self.answer else { return };
        for event in events {
            story.bytes += story.added(event);
            if story.bytes > story.taken {
                let wanted = story.bytes.max(2 * story.taken).max(STREAM_BYTES_MIN);
                if story.bytes > STREAM_BYTES_MAX || !self.place.take(wanted - story.taken) {
                    self.is_answer_cut = true;
                    return;
                }
                story.taken = wanted;
            }
            story.add(event);
        }
    }

    /// A piece of a stream was sent. What follows one that found no room is left out as well.
    pub fn sent(&mut self, piece: &[u8]) {
        if self.is_answer_cut || piece.is_empty() {
            return;
        }
        if !matches!(self.answer, Said::Stream(_)) {
            self.answer = Said::Stream(Vec::new());
        }
        let Said::Stream(stream) = &mut self.answer else { return };
        let needed = stream.len() + piece.len();
        if needed > stream.capacity() {
            let wanted = needed.max(2 * stream.capacity()).max(STREAM_BYTES_MIN);
            if needed > STREAM_BYTES_MAX || !self.place.take(wanted - stream.capacity()) {
                self.is_answer_cut = true;
                return;
            }
            stream.reserve_exact(wanted - stream.len());
        }
        stream.extend_from_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(bytes_max: usize) -> &'static Room {
        Box::leak(Box::new(Room::new(bytes_max)))
    }

    fn stream(kept: &Kept) -> &[u8] {
        match &kept.answer {
            Said::Stream(stream) => stream,
            _ => b"",
        }
    }

    #[test]
    fn the_room_is_bounded_and_comes_back() {
        let room = room(1000);
        let mut kept = Kept::of(room, &Bytes::from(vec![0; 400]), false).expect("room");
        assert!(Kept::of(room, &Bytes::from(vec![0; 601]), false).is_none());
        kept.sent(&[1; 500]);
        kept.sent(&[2; 13]);
        kept.sent(b"8");
        assert_eq!((stream(&kept).len(), kept.is_answer_cut), (500, true), "nothing follows a gap");
        assert_eq!((room.bytes(), room.left_out()), (400 + STREAM_BYTES_MIN, 2));
        drop(kept);
        assert_eq!(room.bytes(), 0);
    }

    #[test]
    fn a_story_puts_pieces_together_and_is_bounded() {
        let text = |block, text: &str| Event::Delta { choice: 0, block, delta: Delta::Text(text.to_owned()) };
        let thought = Event::Delta { choice: 0, block: 0, delta: Delta::Reasoning("hm".to_owned()) };
        let room = room(2000);
        let mut kept = Kept::of(room, &Bytes::from_static(b"12345"), false).expect("room");
        kept.told(&[thought.clone(), text(1, "a"), text(1, "b")]);
        kept.told(&[text(1, "c"), text(2, "d"), Event::End]);
        let told = |kept: &Kept| match &kept.answer {
            Said::Told(story) => story.events().to_vec(),
            _ => Vec::new(),
        };
        assert_eq!(told(&kept), [thought, text(1, "abc"), text(2, "d"), Event::End]);
        kept.told(&[text(3, &"x".repeat(3000)), text(4, "y")]);
        assert_eq!((told(&kept).len(), kept.is_answer_cut), (4, true), "nothing follows a gap");
        drop(kept);
        assert_eq!(room.bytes(), 0);
    }

    #[test]
    fn an_answer_that_finds_no_room_is_left_out() {
        let mut kept = Kept::of(room(10), &Bytes::from_static(b"12345"), false).expect("room");
        kept.answered(&Bytes::from_static(b"123456"));
        assert!(matches!(kept.answer, Said::Nothing) && kept.is_answer_cut);
    }

    #[test]
    fn long_bodies_are_cut() {
        let long = Bytes::from(vec![b'x'; BODY_BYTES_MAX + 1]);
        let mut kept = Kept::of(room(usize::MAX / 2), &long, false).expect("room");
        kept.answered(&long);
        let Said::Whole(answer) = &kept.answer else { panic!("{kept:?}") };
        assert_eq!((kept.request.len(), answer.len()), (BODY_BYTES_MAX, BODY_BYTES_MAX));
        assert!(kept.is_request_cut && kept.is_answer_cut);
        let mut kept = Kept::of(room(usize::MAX / 2), &Bytes::new(), false).expect("room");
        kept.sent(&vec![b'x'; STREAM_BYTES_MAX]);
        kept.sent(b"y");
        assert_eq!((stream(&kept).len(), kept.is_answer_cut, kept.is_request_cut), (STREAM_BYTES_MAX, true, false));
    }

    #[test]
    fn the_words_of_an_upstream_are_kept_until_another_is_asked() {
        let room = room(1000);
        let mut kept = Kept::of(room, &Bytes::from_static(b"asked"), false).expect("room");
        let first = kept.translated(Dialect::Messages, &Bytes::from_static(b"said anew")).expect("room");
        first.kept().sent(b"frames");
        let far = first.kept();
        assert_eq!((&far.request[..], stream(&far), first.wire), (&b"said anew"[..], &b"frames"[..], Dialect::Messages));
        drop(far);
        drop(first);
        let taken = room.bytes();
        assert!(kept.translated(Dialect::Chat, &Bytes::from_static(b"once more")).is_some());
        assert!(room.bytes() < taken, "what was kept of the first attempt is gone");
        assert!(kept.translated(Dialect::Chat, &Bytes::from(vec![0; 2000])).is_none() && kept.far.is_none(), "no room");
        let mut shape = Kept::of(room, &Bytes::from_static(b"asked"), true).expect("room");
        assert!(shape.translated(Dialect::Chat, &Bytes::from_static(b"x")).is_none());
    }
}
