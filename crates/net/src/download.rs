//! Fetching a large file so that nothing is fetched twice: in chunks, several at once, from several sources in turn, each chunk checked on its own
//! where its hash is known, all of it at the end, and taken up where it was left after a broken connection or the end of the process.
//!
//! **Invariant.** The target appears whole and checked, by one rename, or not at all. Two downloads of one file never run at once, in whatever process.

mod partial;
mod source;

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt, stream};
use http::{HeaderValue, StatusCode};
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncSeekExt, AsyncWriteExt, BufWriter},
    sync::OnceCell,
    time::Instant,
};

pub use partial::{Hashes, hashes, sha256};
pub use source::Source;

use crate::{Client, Error, Timeouts};
use partial::Partial;
use source::Opened;

/// Between two notes of how far a chunk is: what the end of the process may cost per chunk under way, in bytes.
const NOTE_BYTES: u64 = 4 << 20;
/// An attempt that moved so much does not count as a failure, in bytes.
const MOVED_BYTES: u64 = 64 << 10;
/// Longest pause that a source may ask for.
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// Pieces are gathered to this size before they are written, in bytes.
const WRITE_BYTES: usize = 256 << 10;

/// What a file must be.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256 in lower-case hex, where known.
    pub sha256: Option<String>,
    /// Length of a chunk; the last one may be shorter.
    pub chunk_bytes: u64,
    /// SHA-256 of each chunk in lower-case hex; empty where not known.
    pub chunks: Vec<String>,
}

/// How a download behaves.
#[derive(Debug, Clone)]
pub struct DownloadOptions {
    /// Failures in a row after which a chunk, and with it the download, is given up.
    pub attempts_max: u32,
    /// Pause after the first failure; doubled with each further one.
    pub backoff: Duration,
    /// Chunks fetched at once.
    pub parallel: usize,
    /// Most bytes per second, all chunks together.
    pub bytes_per_second_max: Option<u64>,
    /// What must stay free on the disk, in bytes.
    pub reserve_bytes: u64,
    /// The timers of each exchange; `idle` is how long a source may give nothing. The total is not kept: large files take their time.
    pub timeouts: Timeouts,
}

impl Default for DownloadOptions {
    fn default() -> Self {
        let timeouts = Timeouts { idle: Duration::from_secs(30), first_byte: Duration::from_secs(30), ..Timeouts::default() };
        Self {
            attempts_max: 6,
            backoff: Duration::from_millis(200),
            parallel: 4,
            bytes_per_second_max: None,
            reserve_bytes: 1 << 30,
            timeouts,
        }
    }
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// Somebody else is fetching the same file.
    #[error("it is being downloaded already")]
    Busy,
    /// The disk would be too full.
    #[error("the disk has no room for it: {needed} more bytes are needed, {available} may be used")]
    NoSpace {
        /// Bytes still to fetch.
        needed: u64,
        /// Bytes free beyond the reserve.
        available: u64,
    },
    /// A source does not give it.
    #[error("{host} answered {status}")]
    Refused {
        /// Who.
        host: String,
        /// How.
        status: StatusCode,
    },
    /// A source gives something else.
    #[error("{host} has something else: {what}")]
    Different {
        /// Who.
        host: String,
        /// What differs.
        what: String,
    },
    /// A source was not reached, or broke off too often.
    #[error("{host}: {error}")]
    Net {
        /// Who.
        host: String,
        /// How.
        error: Error,
    },
    /// What came is not what was promised.
    #[error("what came is damaged: {0}")]
    Damaged(String),
    /// The disk refused.
    #[error("{path}: {error}", path = path.display())]
    Disk {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

impl DownloadError {
    /// Whether another try at the same source can help.
    fn may_pass(&self) -> bool {
        match self {
            Self::Net { error, .. } => !matches!(error, Error::Barred { .. }),
            Self::Damaged(_) => true,
            Self::Refused { status, .. } => status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429),
            Self::Busy | Self::NoSpace { .. } | Self::Different { .. } | Self::Disk { .. } => false,
        }
    }
}

/// Fetches `wanted` to `target`; what is there of it stands beside `partial` (with the endings `.part` and `.json`) until then.
/// `progress` is told how many bytes are there. Dropping the future stops the download and keeps what came.
///
/// Each chunk is asked of the first source that can still give something; the next one takes over where it fails.
///
/// Gives the hashes of what came.
///
/// # Errors
/// The last failure of a chunk that no source gave, or the disk's.
pub async fn download(
    client: &Client,
    sources: &[Source],
    wanted: &Wanted,
    (partial, target): (&Path, &Path),
    options: &DownloadOptions,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Hashes, DownloadError> {
    let partial = Partial::open(partial, wanted, options.reserve_bytes).await?;
    // What came may be damaged where nothing but the whole has a hash: it is fetched once more, from the start.
    for is_last in [false, true] {
        let fetching = Fetching {
            client,
            sources: sources
                .iter()
                .map(|source| Known { source, away: OnceCell::new(), is_useless: AtomicBool::new(false), etag: Mutex::default() })
                .collect(),
            partial: &partial,
            options,
            paid_until: Mutex::new(Instant::now()),
            progress,
        };
        let parallel = options.parallel.max(1);
        stream::iter(partial.missing()).map(|chunk| Ok(fetching.chunk(chunk))).try_buffer_unordered(parallel).try_collect::<()>().await?;
        match partial.finish(target).await {
            Err(DownloadError::Damaged(what)) if !is_last => tracing::warn!(target = %target.display(), what, "a download starts over"),
            done => return done,
        }
    }
    Err(DownloadError::Damaged("it never came whole".to_owned()))
}

/// Removes what is there of a download that nobody wants any more.
pub fn forget(partial: &Path) {
    for end in ["part", "json"] {
        let _ = std::fs::remove_file(partial::beside(partial, end));
    }
}

struct Known<'a> {
    source: &'a Source,
    /// Follows it to where it sends.
    away: OnceCell<Client>,
    /// It has answered that it does not have the file.
    is_useless: AtomicBool,
    /// What it calls this version of the file.
    etag: Mutex<Option<HeaderValue>>,
}

struct Fetching<'a> {
    client: &'a Client,
    sources: Vec<Known<'a>>,
    partial: &'a Partial,
    options: &'a DownloadOptions,
    /// The bytes that came are paid for, at the greatest speed, at this time.
    paid_until: Mutex<Instant>,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl Fetching<'_> {
    async fn chunk(&self, chunk: usize) -> Result<(), DownloadError> {
        let (mut failures, mut turn) = (0, 0);
        loop {
            let usable: Vec<&Known> = self.sources.iter().filter(|known| !known.is_useless.load(Relaxed)).collect();
            let Some(known) = usable.get(turn % usable.len().max(1)) else {
                return Err(DownloadError::Damaged("no source has it".to_owned()));
            };
            let before = self.partial.have(chunk);
            let (error, pause) = match self.transfer(chunk, known).await {
                Ok(()) if self.partial.check(chunk).await? => return Ok(()),
                Ok(()) => (DownloadError::Damaged(format!("chunk {chunk} from {}", known.source.host())), Duration::ZERO),
                Err(failed) => failed,
            };
            let moved = self.partial.have(chunk).saturating_sub(before);
            tracing::debug!(chunk, moved, %error, "a piece of a download did not come");
            if error.may_pass() {
                turn += 1;
                failures = if moved >= MOVED_BYTES { 0 } else { failures + 1 };
            } else {
                known.is_useless.store(true, Relaxed);
            }
            let is_disk = matches!(error, DownloadError::Disk { .. });
            if is_disk || failures >= self.options.attempts_max || usable.len() == usize::from(!error.may_pass()) {
                return Err(error);
            }
            if failures > 0 && turn % usable.len() == 0 {
                let usual = self.options.backoff.saturating_mul(1 << (failures - 1).min(10));
                tokio::time::sleep(usual.max(pause).min(PAUSE_MAX)).await;
            }
        }
    }

    /// Asks one source for what is missing of a chunk. With the error comes how long the source wants to be left alone.
    async fn transfer(&self, chunk: usize, known: &Known<'_>) -> Result<(), (DownloadError, Duration)> {
        let now = |error| (error, Duration::ZERO);
        let host = known.source.host();
        let (from, to) = self.partial.rest_of(chunk);
        if from == to {
            return Ok(());
        }
        let etag = known.etag.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let opened = known.source.open((self.client, &known.away), &self.options.timeouts, (from, to), etag).await?;
        let Opened { body, skip, etag } = opened.checked(host, (from, to), self.partial.bytes()).map_err(now)?;
        *known.etag.lock().unwrap_or_else(PoisonError::into_inner) = etag;
        let mut body = std::pin::pin!(body.with_idle_timeout(self.options.timeouts.idle));
        let disk = |error| now(self.partial.disk(error));
        let mut file = self.partial.writer().await.map_err(now)?;
        file.seek(std::io::SeekFrom::Start(from)).await.map_err(disk)?;
        let mut file = BufWriter::with_capacity(WRITE_BYTES, file);
        let (mut skip, mut left, mut unnoted, mut broke) = (skip, to - from, 0, None);
        while left > 0 {
            let mut data = match body.frame().await {
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(error)) => {
                    broke = Some(error);
                    break;
                }
                None => break,
            };
            let over = skip.min(data.len() as u64);
            skip -= over;
            data = data.slice(over as usize..);
            data.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            file.write_all(&data).await.map_err(disk)?;
            (left, unnoted) = (left - data.len() as u64, unnoted + data.len() as u64);
            self.pay(data.len() as u64).await;
            if unnoted >= NOTE_BYTES && left > 0 {
                file.flush().await.map_err(disk)?;
                self.note(chunk, std::mem::take(&mut unnoted)).map_err(now)?;
            }
        }
        file.flush().await.map_err(disk)?;
        if left == 0 {
            file.get_ref().sync_data().await.map_err(disk)?;
        }
        self.note(chunk, unnoted).map_err(now)?;
        let ended = || Error::Body("it ended too early".to_owned());
        if left == 0 { Ok(()) } else { Err(now(DownloadError::Net { host: host.to_owned(), error: broke.unwrap_or_else(ended) })) }
    }

    fn note(&self, chunk: usize, bytes: u64) -> Result<(), DownloadError> {
        self.partial.add(chunk, bytes)?;
        (self.progress)(self.partial.done());
        Ok(())
    }

    /// Waits as long as so many bytes take at the greatest speed.
    async fn pay(&self, bytes: u64) {
        let Some(rate) = self.options.bytes_per_second_max.filter(|rate| *rate > 0) else { return };
        let until = {
            let mut paid = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
            *paid = (*paid).max(Instant::now()) + Duration::from_secs_f64(bytes as f64 / rate as f64);
            *paid
        };
        tokio::time::sleep_until(until).await;
    }
}
