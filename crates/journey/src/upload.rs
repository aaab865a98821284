//! A form that travels as it comes: never whole in memory, unless it is small.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use http_body::{Body, Frame, SizeHint};
use wire::{
    Code, Failure,
    multipart::{Named, Scanner},
};

use crate::flow::{BodyError, Stream};

/// Most bytes that are read in search of the field `model`; some clients put their file before it, and providers take 25 MB of audio.
const LOOK_AHEAD_BYTES_MAX: u64 = 26 << 20;

/// Most bytes of a form that are kept after they were sent, so that it can be sent again.
const KEPT_BYTES_MAX: u64 = 1 << 20;

/// A form on its way. Clones share it.
#[derive(Clone)]
pub struct Upload {
    tape: Arc<Mutex<Tape>>,
    content_type: HeaderValue,
    named: Option<Named>,
    /// What stands first in a form that names no model: a part that ends where the name belongs.
    lead: Bytes,
    /// Bytes, where the client said how many.
    announced: Option<u64>,
}

/// A piece of a form, and its model where that ends in it.
type Piece = (Bytes, Option<Named>);

struct Tape {
    /// What was read from the beginning on.
    held: Vec<Bytes>,
    /// The rest of the client's body; `None` at its end.
    rest: Option<Stream>,
    scanner: Scanner,
    /// Bytes read.
    read: u64,
    read_max: u64,
    /// Bytes handed on, over all attempts.
    passed: u64,
    /// Not all that was read is held any more.
    is_lost: bool,
    /// What is wrong with the client's body.
    failure: Option<Failure>,
}

impl Tape {
    /// Takes the next piece of the client's body.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Piece>, Failure>> {
        loop {
            let Some(rest) = &mut self.rest else { return Poll::Ready(Ok(None)) };
            let piece = match std::task::ready!(rest.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => frame.into_data().ok().filter(|data| !data.is_empty()),
                Some(Err(e)) => {
                    return Poll::Ready(Err(
                        self.fail(Failure::new(Code::InvalidRequest, format!("the body broke off before its end: {e}")))
                    ));
                }
                None => {
                    self.rest = None;
                    return Poll::Ready(Ok(None));
                }
            };
            let Some(piece) = piece else { continue };
            self.read += piece.len() as u64;
            if self.read > self.read_max {
                let refusal = Failure::too_large(self.read_max, "server.max_upload");
                return Poll::Ready(Err(self.fail(refusal)));
            }
            return Poll::Ready(match self.scanner.feed(&piece) {
                Ok(named) => Ok(Some((piece, named))),
                Err(failure) => Err(self.fail(failure)),
            });
        }
    }

    fn fail(&mut self, failure: Failure) -> Failure {
        self.rest = None;
        self.held.clear();
        self.is_lost = true;
        self.failure.insert(failure).clone()
    }
}

impl Upload {
    /// Reads a form until it names its model, or ends. `announced` is the client's own count of its bytes.
    ///
    /// # Errors
    /// What is wrong with the form, its size included; [`Code::InvalidRequest`] where it does not name its model soon enough.
    pub async fn open(
        body: Stream,
        content_type: HeaderValue,
        scanner: Scanner,
        announced: Option<u64>,
        bytes_max: u64,
    ) -> Result<Self, Failure> {
        let lead = scanner.lead().into();
        let mut tape =
            Tape { held: Vec::new(), rest: Some(body), scanner, read: 0, read_max: bytes_max, passed: 0, is_lost: false, failure: None };
        let mut ahead = BytesMut::new();
        let mut named = None;
        while named.is_none() && !tape.scanner.is_over() {
            if tape.read > LOOK_AHEAD_BYTES_MAX {
                let message =
                    format!("the form does not name its `model` within {LOOK_AHEAD_BYTES_MAX} bytes: put that field before the file");
                return Err(Failure::invalid("model", message));
            }
            let Some((piece, found)) = poll_fn(|cx| tape.poll(cx)).await? else { break };
            ahead.extend_from_slice(&piece);
            named = found;
        }
        if tape.rest.is_none() && !tape.scanner.is_over() {
            return Err(Failure::new(Code::InvalidRequest, "the form has no end"));
        }
        tape.held.push(ahead.freeze());
        Ok(Self { tape: Arc::new(Mutex::new(tape)), content_type, named, lead, announced })
    }

    /// The model that the form names; empty if none.
    pub fn model(&self) -> &str {
        self.named.as_ref().map_or("", |named| named.model.trim())
    }

    /// The form's type, with its boundary.
    pub fn content_type(&self) -> &HeaderValue {
        &self.content_type
    }

    /// Whether it can still be sent from its beginning.
    pub fn is_whole(&self) -> bool {
        !self.tape().is_lost
    }

    /// What is wrong with what the client sent.
    pub fn failure(&self) -> Option<Failure> {
        self.tape().failure.clone()
    }

    /// Bytes that the client sent so far.
    pub fn bytes_read(&self) -> u64 {
        self.tape().read
    }

    /// Bytes that were handed on so far, over all attempts.
    pub fn bytes_passed(&self) -> u64 {
        self.tape().passed
    }

    /// Reads what the client still sends and throws it away, up to a bound: one that is still writing would not see its answer.
    pub async fn discard(&self, bytes_max: u64) {
        let Some(mut rest) = self.tape().rest.take() else { return };
        let mut read = 0;
        while let Some(Ok(frame)) = poll_fn(|cx| rest.as_mut().poll_frame(cx)).await {
            read += frame.data_ref().map_or(0, Bytes::len) as u64;
            if read > bytes_max {
                return;
            }
        }
    }

    /// The form from its beginning, naming `model`. Only where [`Self::is_whole`]; one reader at a time.
    pub fn reader(&self, model: &str) -> Reader {
        let mut queue = VecDeque::with_capacity(3);
        let tape = self.tape();
        let first = tape.held.first().cloned().unwrap_or_default();
        let mut change = 0_i64;
        match &self.named {
            Some(named) if named.model == model => queue.push_back(first),
            Some(named) => {
                let (start, end) = (named.at.start as usize, named.at.end as usize);
                queue.extend([first.slice(..start), Bytes::copy_from_slice(model.as_bytes()), first.slice(end..)]);
                change = model.len() as i64 - (end - start) as i64;
            }
            None => {
                let part = [&*self.lead, model.as_bytes(), b"\r\n"].concat();
                change = part.len() as i64;
                queue.extend([part.into(), first]);
            }
        }
        let length = if tape.rest.is_none() { Some(tape.read) } else { self.announced };
        drop(tape);
        queue.retain(|piece| !piece.is_empty());
        let left = length.and_then(|length| length.checked_add_signed(change));
        Reader { tape: self.tape.clone(), queue, next: 1, left }
    }

    fn tape(&self) -> MutexGuard<'_, Tape> {
        self.tape.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("named", &self.named).field("announced", &self.announced).finish_non_exhaustive()
    }
}

/// A form as one attempt sends it.
pub struct Reader {
    tape: Arc<Mutex<Tape>>,
    /// What comes before anything else.
    queue: VecDeque<Bytes>,
    /// The piece of the tape that comes after it.
    next: usize,
    /// Bytes still to come, where that is known.
    left: Option<u64>,
}

impl Body for Reader {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let mut tape = this.tape.lock().unwrap_or_else(PoisonError::into_inner);
        let piece = if let Some(piece) = this.queue.pop_front() {
            piece
        } else if let Some(piece) = tape.held.get(this.next) {
            this.next += 1;
            piece.clone()
        } else {
            let piece = match std::task::ready!(tape.poll(cx)) {
                Ok(Some((piece, _))) => piece,
                Ok(None) => return Poll::Ready(None),
                Err(failure) => return Poll::Ready(Some(Err(failure.message.into()))),
            };
            if !tape.is_lost && tape.read <= KEPT_BYTES_MAX {
                tape.held.push(piece.clone());
                this.next += 1;
            } else {
                tape.is_lost = true;
                tape.held.clear();
            }
            piece
        };
        tape.passed += piece.len() as u64;
        this.left = this.left.map(|left| left.saturating_sub(piece.len() as u64));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=b";

    fn form(model: Option<&str>, file_bytes: usize) -> String {
        let part = |name: &str, value: &str| format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        format!("{}{}--b--\r\n", model.map(|m| part("model", m)).unwrap_or_default(), part("file", &"x".repeat(file_bytes)))
    }

    async fn open(form: &str, bytes_max: u64) -> Result<Upload, Failure> {
        let pieces: Vec<_> =
            form.as_bytes().chunks(1000).map(|piece| Ok::<_, BodyError>(Frame::data(Bytes::copy_from_slice(piece)))).collect();
        let scanner = Scanner::of(TYPE).unwrap().unwrap();
        let body = Box::pin(StreamBody::new(futures_util::stream::iter(pieces)));
        Upload::open(body, HeaderValue::from_static(TYPE), scanner, Some(form.len() as u64), bytes_max).await
    }

    async fn read(upload: &Upload, model: &str) -> Result<String, BodyError> {
        let reader = upload.reader(model);
        let announced = reader.size_hint().exact();
        let bytes = reader.collect().await?.to_bytes();
        assert_eq!(announced, Some(bytes.len() as u64));
        Ok(String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_small_form_is_sent_again_and_again_under_any_name() {
        let upload = open(&form(Some("alias"), 5000), 1 << 20).await.unwrap();
        assert_eq!(upload.model(), "alias");
        for model in ["a-much-longer-name", "alias", "m"] {
            assert_eq!(read(&upload, model).await.unwrap(), form(Some(model), 5000));
            assert!(upload.is_whole());
        }
        let unnamed = open(&form(None, 50), 1 << 20).await.unwrap();
        assert_eq!((unnamed.model(), read(&unnamed, "m").await.unwrap()), ("", form(Some("m"), 50)));
    }

    #[tokio::test]
    async fn a_large_form_is_sent_once_and_not_held() {
        let whole = form(Some("m"), 2 << 20);
        let upload = open(&whole, 8 << 20).await.unwrap();
        assert!(upload.bytes_read() < 2000, "nothing more is read than it takes to find the model");
        assert_eq!(read(&upload, "other").await.unwrap(), form(Some("other"), 2 << 20));
        assert!(!upload.is_whole() && upload.tape().held.is_empty());
        assert_eq!(upload.bytes_read(), whole.len() as u64);
    }

    #[tokio::test]
    async fn the_bound_ends_a_form_wherever_it_is() {
        let upload = open(&form(Some("m"), 20_000), 10_000).await.unwrap();
        assert!(read(&upload, "m").await.is_err());
        assert_eq!((upload.failure().map(|f| f.code), upload.is_whole()), (Some(Code::PayloadTooLarge), false));
        assert_eq!(open(&form(None, 20_000), 10_000).await.unwrap_err().code, Code::PayloadTooLarge);
        let cut = form(Some("m"), 10).replace("--b--\r\n", "");
        assert!(open(&cut.replace("name=\"model\"", "name=\"other\""), 10_000).await.is_err(), "a form without an end");
    }
}
