//! A server of files for tests of downloads: a function says what is answered, a [`Tap`] gives out ranges, counts bytes, and stops where it is told.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// Bytes that are written at once.
const PIECE_BYTES: usize = 16 << 10;
/// How often a tap that is stopped looks whether it may go on.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A request without its body, which is read and not kept.
#[derive(Debug, Clone)]
pub struct Asked {
    /// With the query.
    pub path: String,
    headers: Vec<(String, String)>,
}

impl Asked {
    /// The value of a header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// First byte of the range that is asked for, and the one after its last.
    pub fn range(&self) -> Option<(usize, usize)> {
        let (from, to) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((from.parse().ok()?, to.parse::<usize>().ok()? + 1))
    }
}

/// Listens on a free port of the loopback, which it returns, for as long as the process lives. Each request goes to `answer`; an error of it ends
/// the connection.
///
/// # Panics
/// If the machine gives no port.
pub fn listen(answer: impl Fn(&Asked, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("a bound listener has an address").port();
    let answer = std::sync::Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            thread::spawn(move || serve(stream, &*answer));
        }
    });
    port
}

fn serve(stream: TcpStream, answer: &impl Fn(&Asked, &mut TcpStream) -> io::Result<()>) -> io::Result<()> {
    let mut out = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    while let Some(asked) = read(&mut reader)? {
        answer(&asked, &mut out)?;
    }
    Ok(())
}

fn read(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Asked>> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let Some(path) = line.split(' ').nth(1).map(str::to_owned) else { return Ok(None) };
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let asked = Asked { path, headers };
    let length = asked.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    io::copy(&mut reader.take(length), &mut io::sink())?;
    Ok(Some(asked))
}

/// An answer in one piece.
///
/// # Errors
/// The connection's.
pub fn say(out: &mut impl Write, status: u16, headers: &[(&str, &str)], body: &str) -> io::Result<()> {
    write!(out, "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len())?;
    headers.iter().try_for_each(|(name, value)| write!(out, "{name}: {value}\r\n"))?;
    write!(out, "\r\n{body}")
}

/// Where the bytes of files come out.
#[derive(Debug, Default)]
pub struct Tap {
    sent: Mutex<usize>,
    /// Nothing comes beyond so many bytes, and nothing ends.
    until: Mutex<Option<usize>>,
}

impl Tap {
    /// Bytes of files so far.
    pub fn sent(&self) -> usize {
        *lock(&self.sent)
    }

    /// Stops after so many bytes in all; `None` lets it go on.
    pub fn stop_after(&self, bytes: Option<usize>) {
        *lock(&self.until) = bytes;
    }

    /// A range of a file of `length` bytes, of which `data` are those asked for, from `from` on.
    ///
    /// # Errors
    /// The connection's.
    pub fn give(&self, out: &mut impl Write, data: &[u8], from: usize, length: usize) -> io::Result<()> {
        let (count, last) = (data.len(), from + data.len() - 1);
        write!(out, "HTTP/1.1 206 X\r\ncontent-length: {count}\r\ncontent-range: bytes {from}-{last}/{length}\r\n\r\n")?;
        for piece in data.chunks(PIECE_BYTES) {
            let sent = {
                let mut sent = lock(&self.sent);
                *sent += piece.len();
                *sent
            };
            out.write_all(piece)?;
            while lock(&self.until).is_some_and(|most| sent >= most) {
                thread::sleep(LOOK_EVERY);
            }
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
