//! Sockets whose writes go out one after the other, behind what else a runtime has to do at the moment.
//!
//! What a task writes waits in an outbox, and is sent together with what the others wrote once all tasks that were ready have run. So one
//! task's work follows the other's while its code is at hand, and then the kernel's way out is gone through many times in a row; and who
//! waits at the other ends is woken once. Where nothing else is ready, that is at once.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    mem,
    net::Shutdown,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::AbortHandle,
};

/// Most bytes of one socket that wait; a write that would make them more is not left here.
const LETTER_BYTES_MAX: usize = 16 << 10;
/// Most sockets whose bytes wait; who fills the outbox empties it.
const LETTERS_MAX: usize = 64;

/// Where the sockets of one single-threaded runtime leave what they write. Cheap to clone; it lasts as long as the runtime.
#[derive(Clone)]
pub struct Outbox(Arc<Mutex<Letters>>);

#[derive(Default)]
struct Letters {
    /// Sockets with a letter that is to be sent.
    waiting: Vec<Arc<Writer>>,
    /// Buffers of letters that were sent.
    spare: Vec<Vec<u8>>,
    /// Wakes the task that sends.
    carrier: Option<Waker>,
}

impl Outbox {
    /// The outbox of the runtime that this is called in.
    ///
    /// # Panics
    /// Outside a runtime.
    #[expect(clippy::new_without_default, reason = "it starts a task")]
    pub fn new() -> Self {
        let outbox = Self(Arc::default());
        let carried = outbox.clone();
        tokio::spawn(poll_fn(move |cx| {
            lock(&carried.0).carrier.get_or_insert_with(|| cx.waker().clone());
            carried.send();
            Poll::<()>::Pending
        }));
        outbox
    }

    /// Sends all letters. Those that the kernel does not take as a whole get tasks of their own.
    fn send(&self) {
        let waiting = mem::replace(&mut lock(&self.0).waiting, Vec::with_capacity(LETTERS_MAX));
        for writer in waiting {
            let mut letter = lock(&writer.letter);
            let sent = writer.try_send(&mut letter);
            if is_blocked(&sent) {
                // Where the socket is gone, nobody would see to it that the task ends.
                if Arc::strong_count(&writer) > 1 {
                    letter.standing = Standing::Blocked(tokio::spawn(go_on(writer.clone())).abort_handle());
                }
                continue;
            }
            let buffer = letter.done(sent);
            drop(letter);
            let mut letters = lock(&self.0);
            if letters.spare.len() < LETTERS_MAX {
                letters.spare.push(buffer);
            }
        }
    }

    /// Takes in a socket's letter. Returns whether it is full with it.
    fn add(&self, writer: &Arc<Writer>, letter: &mut Letter) -> bool {
        let mut letters = lock(&self.0);
        letter.standing = Standing::Waiting;
        letter.bytes = letters.spare.pop().unwrap_or_default();
        letters.waiting.push(writer.clone());
        if letters.waiting.len() == 1
            && let Some(carrier) = &letters.carrier
        {
            carrier.wake_by_ref();
        }
        letters.waiting.len() >= LETTERS_MAX
    }
}

/// Sends the rest of a letter as its other side takes it.
async fn go_on(writer: Arc<Writer>) {
    loop {
        let writable = writer.socket.writable().await;
        let mut letter = lock(&writer.letter);
        let sent = writable.and_then(|()| writer.try_send(&mut letter));
        if !is_blocked(&sent) {
            letter.done(sent);
            return;
        }
    }
}

fn is_blocked(sent: &io::Result<()>) -> bool {
    sent.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A socket's way out.
struct Writer {
    socket: OwnedWriteHalf,
    letter: Mutex<Letter>,
}

/// What a socket has left in the outbox.
#[derive(Default)]
struct Letter {
    bytes: Vec<u8>,
    sent: usize,
    standing: Standing,
    /// Who waits until it is sent.
    owner: Option<Waker>,
}

#[derive(Default)]
enum Standing {
    #[default]
    Empty,
    /// In the outbox; more may be added.
    Waiting,
    /// Sent in part; this is the task that goes on with it.
    Blocked(AbortHandle),
    Failed(io::ErrorKind),
}

impl Letter {
    /// Notes that it was sent, or can't be. Returns its buffer, empty.
    fn done(&mut self, sent: io::Result<()>) -> Vec<u8> {
        self.standing = sent.map_or_else(|error| Standing::Failed(error.kind()), |()| Standing::Empty);
        self.sent = 0;
        if let Some(owner) = self.owner.take() {
            owner.wake();
        }
        let mut bytes = mem::take(&mut self.bytes);
        bytes.clear();
        bytes
    }

    fn wait<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        self.owner = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Writer {
    fn try_send(&self, letter: &mut Letter) -> io::Result<()> {
        while let Some(rest) = letter.bytes.get(letter.sent..).filter(|rest| !rest.is_empty()) {
            match self.socket.try_write(rest)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => letter.sent += count,
            }
        }
        Ok(())
    }
}

/// A TCP connection that leaves what it writes in an outbox, where it has one.
///
/// Flushing waits for nothing: what was written is on its way then, as it is in the buffers of a kernel. Shutting down waits until all is
/// sent. A letter that could not be sent fails what is done with the socket next. What a socket leaves when it is dropped is sent as far as
/// the kernel takes it.
pub struct Socket {
    reader: OwnedReadHalf,
    writer: Arc<Writer>,
    outbox: Option<Outbox>,
}

impl Socket {
    /// The connection, of the runtime whose outbox it is.
    pub fn new(tcp: TcpStream, outbox: Option<Outbox>) -> Self {
        let (reader, socket) = tcp.into_split();
        Self { reader, writer: Arc::new(Writer { socket, letter: Mutex::default() }), outbox }
    }

    fn poll_write_now(&self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let socket = &self.writer.socket;
        loop {
            match socket.try_write_vectored(pieces) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(socket.as_ref().poll_write_ready(cx))?,
                done => return Poll::Ready(done),
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(cx, into)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let Some(outbox) = &this.outbox else { return this.poll_write_now(cx, pieces) };
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        let mut letter = lock(&this.writer.letter);
        let is_full = match &letter.standing {
            Standing::Failed(kind) => return Poll::Ready(Err((*kind).into())),
            Standing::Empty if length > LETTER_BYTES_MAX => {
                drop(letter);
                return this.poll_write_now(cx, pieces);
            }
            Standing::Empty => outbox.add(&this.writer, &mut letter),
            Standing::Waiting if letter.bytes.len() + length <= LETTER_BYTES_MAX => false,
            Standing::Waiting | Standing::Blocked(_) => return letter.wait(cx),
        };
        for piece in pieces {
            letter.bytes.extend_from_slice(piece);
        }
        drop(letter);
        if is_full {
            outbox.send();
        }
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &lock(&self.writer.letter).standing {
            Standing::Failed(kind) => Poll::Ready(Err((*kind).into())),
            Standing::Empty | Standing::Waiting | Standing::Blocked(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut letter = lock(&self.writer.letter);
        match &letter.standing {
            Standing::Failed(kind) => Poll::Ready(Err((*kind).into())),
            Standing::Waiting | Standing::Blocked(_) => letter.wait(cx),
            Standing::Empty => Poll::Ready(SockRef::from(self.writer.socket.as_ref()).shutdown(Shutdown::Write)),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Nobody would see to it that this ends.
        if let Standing::Blocked(task) = &lock(&self.writer.letter).standing {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        net::{TcpListener, TcpStream as Peer},
        time::Duration,
    };

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        runtime::Handle,
        task::yield_now,
        time::timeout,
    };

    use super::*;

    /// A connection of the loopback: our end, which leaves what it writes in the outbox, and the other one.
    async fn pair(outbox: &Outbox) -> (Socket, Peer) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (theirs, _) = listener.accept().unwrap();
        theirs.set_nonblocking(true).unwrap();
        (Socket::new(ours, Some(outbox.clone())), theirs)
    }

    /// An outbox whose task has begun to wait for letters.
    async fn outbox() -> Outbox {
        let outbox = Outbox::new();
        until(|| lock(&outbox.0).carrier.is_some()).await;
        outbox
    }

    async fn until(mut is_so: impl FnMut() -> bool) {
        let waiting = async {
            while !is_so() {
                yield_now().await;
            }
        };
        timeout(Duration::from_secs(30), waiting).await.expect("within 30 s");
    }

    fn has_come(theirs: &mut Peer) -> usize {
        match theirs.read(&mut [0; 1024]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            read => read.unwrap(),
        }
    }

    /// Writes until the kernel takes no more.
    async fn fill(ours: &mut Socket) {
        let piece = vec![1; LETTER_BYTES_MAX];
        until(|| {
            let _ = poll_once(|cx| Pin::new(&mut *ours).poll_write(cx, &piece));
            matches!(lock(&ours.writer.letter).standing, Standing::Blocked(_))
        })
        .await;
    }

    fn poll_once<T>(poll: impl FnOnce(&mut Context<'_>) -> T) -> T {
        poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn a_letter_is_sent_once_the_tasks_that_are_ready_have_run() {
        let outbox = outbox().await;
        let (mut ours, mut theirs) = pair(&outbox).await;
        ours.write_all(b"one").await.unwrap();
        ours.write_all(b"two").await.unwrap();
        ours.flush().await.unwrap();
        assert_eq!(has_come(&mut theirs), 0);
        let mut come = 0;
        until(|| {
            come = has_come(&mut theirs);
            come > 0
        })
        .await;
        assert_eq!(come, 6, "in one piece");
    }

    #[tokio::test]
    async fn who_fills_the_outbox_empties_it() {
        let outbox = outbox().await;
        let mut pairs = Vec::new();
        for _ in 0..LETTERS_MAX {
            pairs.push(pair(&outbox).await);
        }
        let before: usize = pairs.len() - 1;
        for (ours, _) in &mut pairs[..before] {
            assert!(poll_once(|cx| Pin::new(&mut *ours).poll_write(cx, b"x")).is_ready());
        }
        assert_eq!(lock(&outbox.0).waiting.len(), before);
        assert!(poll_once(|cx| Pin::new(&mut pairs[before].0).poll_write(cx, b"x")).is_ready());
        assert!(lock(&outbox.0).waiting.is_empty());
        for (_, theirs) in &mut pairs {
            until(|| has_come(theirs) == 1).await;
        }
    }

    #[tokio::test]
    async fn all_comes_in_order_however_much_it_is_and_however_slowly_it_is_taken() {
        let (mut ours, theirs) = pair(&outbox().await).await;
        let lengths = || (0..600).map(|n| if n % 5 == 4 { n * 300 } else { n * 11 });
        let writing = tokio::spawn(async move {
            for length in lengths() {
                let piece: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
                ours.write_all(&piece).await.unwrap();
                ours.flush().await.unwrap();
            }
            ours.shutdown().await.unwrap();
        });
        let mut come = Vec::new();
        TcpStream::from_std(theirs).unwrap().read_to_end(&mut come).await.unwrap();
        assert!(come.into_iter().eq(lengths().flat_map(|length| (0..length).map(|at| (at % 251) as u8))));
        writing.await.unwrap();
    }

    #[tokio::test]
    async fn a_socket_that_is_dropped_leaves_what_the_kernel_takes_and_no_task() {
        let outbox = outbox().await;
        let (mut ours, mut theirs) = pair(&outbox).await;
        ours.write_all(b"last").await.unwrap();
        drop(ours);
        until(|| has_come(&mut theirs) == 4).await;
        let tasks = Handle::current().metrics().num_alive_tasks();
        let (mut ours, _theirs) = pair(&outbox).await;
        fill(&mut ours).await;
        assert_eq!(Handle::current().metrics().num_alive_tasks(), tasks + 1);
        drop(ours);
        until(|| Handle::current().metrics().num_alive_tasks() == tasks).await;
    }

    #[tokio::test]
    async fn a_blocked_letter_goes_on_when_the_other_side_takes_it() {
        let (mut ours, mut theirs) = pair(&outbox().await).await;
        fill(&mut ours).await;
        assert!(poll_once(|cx| Pin::new(&mut ours).poll_write(cx, b"x")).is_pending());
        assert!(poll_once(|cx| Pin::new(&mut ours).poll_shutdown(cx)).is_pending());
        until(|| {
            has_come(&mut theirs);
            poll_once(|cx| Pin::new(&mut ours).poll_write(cx, b"x")).is_ready()
        })
        .await;
    }

    #[tokio::test]
    async fn a_letter_that_cannot_be_sent_fails_what_comes_next() {
        let (mut ours, theirs) = pair(&outbox().await).await;
        // The other side resets the connection instead of ending it.
        SockRef::from(&theirs).set_linger(Some(Duration::ZERO)).unwrap();
        drop(theirs);
        ours.write_all(b"lost").await.unwrap();
        until(|| !matches!(lock(&ours.writer.letter).standing, Standing::Waiting)).await;
        assert!(ours.flush().await.is_err());
        assert!(ours.write_all(b"more").await.is_err());
        assert!(ours.shutdown().await.is_err());
    }
}
