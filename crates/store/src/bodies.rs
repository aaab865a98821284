//! What is kept of the texts of requests and their answers: in files beside the database, to which the rows of [`crate::requests`] point.
//!
//! Texts are many times as long as the rows and seldom read; through SQLite each would be written twice, on a core that requests share. So they
//! are appended to a **segment**: a file that one process writes (it holds the file's lock), named by the time of its beginning, never changed,
//! and removed whole when no row points to it any more. Nothing waits for the disk: a place whose record was never written, or not whole, reads
//! as if nothing had been kept.
//!
//! A record is a head of [`HEAD_BYTES`] and the texts. The head, all numbers in little endian: the CRC-32 of everything behind it; flags
//! (bit *n*: text *n* goes on, bit 8 + *n*: there is a text *n*); the lengths of the four texts in bytes.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Read, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use sqlx::{QueryBuilder, Row as _, Sqlite, Transaction};

use crate::{Store, StoreError, now_ms, open::make_directory, requests::Row};

/// Texts of a record: request and answer, as the caller and as the upstream saw them.
const TEXTS: usize = 4;
/// Bytes of a record before its texts.
const HEAD_BYTES: usize = 8 + 4 * TEXTS;
/// Bytes that are written at once, from one multiple of them in the file to the next: the kernel holds such a piece as one, and written across
/// its ends the same bytes take twice the time. Requests that share the core wait for each piece.
const PIECE_BYTES: usize = 64 << 10;
/// A longer segment gets no more records, and an older one neither: what is purged leaves the disk soon.
const SEGMENT_BYTES_MAX: u64 = 64 << 20;
const SEGMENT_TIME_MAX: Duration = Duration::from_hours(1);
/// Longer texts are no texts: the head is damaged.
const TEXT_BYTES_MAX: usize = 64 << 20;
/// What the names of segments end with.
const ENDING: &str = "segment";

/// The texts of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bodies {
    /// What was asked.
    pub request: Option<String>,
    /// What was answered; of a stream the whole.
    pub response: Option<String>,
    /// What the upstream was asked, where that is another text.
    pub upstream_request: Option<String>,
    /// What the upstream answered, where that is another text.
    pub upstream_response: Option<String>,
    /// The request went on.
    pub is_request_cut: bool,
    /// The answer went on.
    pub is_response_cut: bool,
}

/// Where the texts of a request stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Unix milliseconds of the segment's beginning: its name.
    pub segment: i64,
    /// Bytes before the record.
    pub offset: i64,
}

/// Where the segments of a database are: `router.bodies` beside `router.db`.
pub(crate) fn directory(database: &Path) -> PathBuf {
    database.with_extension("bodies")
}

fn segment_path(directory: &Path, segment: i64) -> PathBuf {
    directory.join(format!("{segment:013}.{ENDING}"))
}

/// The segments of a directory, oldest first; none where there is no directory.
fn segments(directory: &Path) -> io::Result<Vec<i64>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        found.extend(name.to_str().and_then(|name| name.strip_suffix(ENDING)?.strip_suffix('.')?.parse::<i64>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

/// The end that texts are appended to; each process has its own segment.
#[derive(Debug)]
pub struct Appender {
    directory: PathBuf,
    segment: Option<Segment>,
    /// Records that are not in the file yet.
    waiting: Vec<u8>,
}

#[derive(Debug)]
struct Segment {
    id: i64,
    /// Locked as long as it is open.
    file: File,
    /// Its length.
    written: u64,
    begun: Instant,
}

impl Segment {
    /// A new file (mode 0600) that nobody else writes.
    fn begin(directory: &Path) -> io::Result<Self> {
        make_directory(directory).map_err(io::Error::other)?;
        let mut options = OpenOptions::new();
        options.append(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut id = now_ms();
        let file = loop {
            match options.open(segment_path(directory, id)) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => id += 1,
                file => break file?,
            }
        };
        file.try_lock().map_err(io::Error::from)?;
        Ok(Self { id, file, written: 0, begun: Instant::now() })
    }

    fn is_full(&self) -> bool {
        self.written >= SEGMENT_BYTES_MAX || self.begun.elapsed() >= SEGMENT_TIME_MAX
    }

    /// Bytes up to the end of the present piece.
    fn room(&self) -> usize {
        PIECE_BYTES - (self.written % PIECE_BYTES as u64) as usize
    }
}

impl Appender {
    /// One that has written nothing yet.
    pub fn new(store: &Store) -> Self {
        Self { directory: directory(store.path()), segment: None, waiting: Vec::new() }
    }

    /// Takes the texts in; they can be read after [`Appender::flush`].
    ///
    /// # Errors
    /// A file that can't be made or written: these texts, and those that waited, are not kept.
    pub fn add(&mut self, bodies: &Bodies) -> io::Result<Place> {
        if self.segment.as_ref().is_some_and(Segment::is_full) {
            self.flush()?;
            self.segment = None;
        }
        let segment = match &mut self.segment {
            Some(segment) => segment,
            none => none.insert(Segment::begin(&self.directory)?),
        };
        let offset = segment.written + self.waiting.len() as u64;
        let place = Place { segment: segment.id, offset: i64::try_from(offset).unwrap_or(i64::MAX) };
        encode(bodies, &mut self.waiting);
        self.write(false)?;
        Ok(place)
    }

    /// Brings what waits into the file.
    ///
    /// # Errors
    /// A file that can't be written: the texts that waited are not kept.
    pub fn flush(&mut self) -> io::Result<()> {
        self.write(true)
    }

    /// Writes what waits: `all`, or what fills pieces.
    fn write(&mut self, all: bool) -> io::Result<()> {
        let mut rest = &self.waiting[..];
        while let Some(segment) = &mut self.segment
            && !rest.is_empty()
            && (all || rest.len() >= segment.room())
        {
            let (piece, more) = rest.split_at(segment.room().min(rest.len()));
            if let Err(error) = segment.file.write_all(piece) {
                // What comes next stands behind a record that is not whole.
                self.segment = None;
                self.waiting = Vec::new();
                return Err(error);
            }
            segment.written += piece.len() as u64;
            rest = more;
        }
        let written = self.waiting.len() - rest.len();
        self.waiting.drain(..written);
        self.waiting.shrink_to(2 * PIECE_BYTES);
        Ok(())
    }
}

fn encode(bodies: &Bodies, out: &mut Vec<u8>) {
    let texts: [&Option<String>; TEXTS] = [&bodies.request, &bodies.response, &bodies.upstream_request, &bodies.upstream_response];
    let start = out.len();
    let mut flags = u32::from(bodies.is_request_cut) | u32::from(bodies.is_response_cut) << 1;
    for (n, text) in texts.iter().enumerate() {
        flags |= u32::from(text.is_some()) << (8 + n);
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&flags.to_le_bytes());
    for text in texts {
        let length = text.as_ref().map_or(0, String::len);
        out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    }
    texts.into_iter().flatten().for_each(|text| out.extend_from_slice(text.as_bytes()));
    let crc = crc32fast::hash(&out[start + 4..]);
    out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
}

/// Flags and texts of a record.
type Record<'r> = (u32, [Option<&'r str>; TEXTS]);

/// Reads records, best in the order of their places.
struct Records {
    directory: PathBuf,
    open: Option<(i64, BufReader<File>, i64)>,
    record: Vec<u8>,
}

impl Records {
    fn new(directory: PathBuf) -> Self {
        Self { directory, open: None, record: Vec::new() }
    }

    /// The texts that stand there; `None` where there are none, or not whole.
    fn texts(&mut self, place: Place) -> io::Result<Option<Record<'_>>> {
        match self.load(place) {
            Ok(()) => Ok(decode(&self.record)),
            Err(error) => {
                self.open = None;
                match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => Ok(None),
                    _ => Err(error),
                }
            }
        }
    }

    fn load(&mut self, place: Place) -> io::Result<()> {
        if self.open.as_ref().is_none_or(|(segment, ..)| *segment != place.segment) {
            let file = File::open(segment_path(&self.directory, place.segment))?;
            self.open = Some((place.segment, BufReader::with_capacity(PIECE_BYTES, file), 0));
        }
        let Some((_, reader, position)) = &mut self.open else { return Err(io::ErrorKind::NotFound.into()) };
        reader.seek_relative(place.offset - *position)?;
        self.record.resize(HEAD_BYTES, 0);
        reader.read_exact(&mut self.record)?;
        let lengths = lengths(&self.record);
        if lengths.iter().any(|length| *length > TEXT_BYTES_MAX) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let whole = HEAD_BYTES + lengths.iter().sum::<usize>();
        self.record.resize(whole, 0);
        reader.read_exact(&mut self.record[HEAD_BYTES..])?;
        *position = place.offset + whole as i64;
        Ok(())
    }
}

fn number(record: &[u8], at: usize) -> u32 {
    record.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn lengths(head: &[u8]) -> [usize; TEXTS] {
    std::array::from_fn(|n| number(head, 8 + 4 * n) as usize)
}

fn decode(record: &[u8]) -> Option<Record<'_>> {
    if crc32fast::hash(record.get(4..)?) != number(record, 0) {
        return None;
    }
    let flags = number(record, 4);
    let mut rest = record.get(HEAD_BYTES..)?;
    let mut texts = [None; TEXTS];
    for (n, length) in lengths(record).into_iter().enumerate() {
        let (text, after) = rest.split_at_checked(length)?;
        rest = after;
        if flags & 1 << (8 + n) != 0 {
            texts[n] = Some(std::str::from_utf8(text).ok()?);
        }
    }
    Some((flags, texts))
}

/// Reads what a function wants of all places, off the threads that serve.
async fn read<T: Send + 'static>(
    store: &Store,
    mut places: Vec<(i64, Place)>,
    mut take: impl FnMut(i64, u32, [Option<&str>; TEXTS]) -> Option<T> + Send + 'static,
) -> Result<Vec<T>, StoreError> {
    let directory = directory(store.path());
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| StoreError::Open { path, source }
    };
    let reading = directory.clone();
    let work = move || {
        places.sort_unstable_by_key(|(_, place)| *place);
        let mut records = Records::new(reading);
        let mut taken = Vec::new();
        for (seq, place) in places {
            if let Some((flags, texts)) = records.texts(place)? {
                taken.extend(take(seq, flags, texts));
            }
        }
        Ok(taken)
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(io::Error::other).and_then(|read| read).map_err(failed(&directory))
}

/// The texts of rows with these [`crate::requests::Stored::seq`]; those without any are left out.
///
/// # Errors
/// The database's; a segment that can't be read.
pub async fn of(store: &Store, seqs: &[i64]) -> Result<HashMap<i64, Bodies>, StoreError> {
    let mut query =
        QueryBuilder::new("SELECT seq, bodies_segment, bodies_offset FROM requests WHERE bodies_segment IS NOT NULL AND seq IN (");
    let mut numbers = query.separated(", ");
    for seq in seqs {
        numbers.push_bind(seq);
    }
    query.push(")");
    let places = placed(&query.build().fetch_all(store.readers()).await?)?;
    let whole = |seq, flags: u32, texts: [Option<&str>; TEXTS]| {
        let [request, response, upstream_request, upstream_response] = texts.map(|text| text.map(str::to_owned));
        let (is_request_cut, is_response_cut) = (flags & 1 != 0, flags & 2 != 0);
        Some((seq, Bodies { request, response, upstream_request, upstream_response, is_request_cut, is_response_cut }))
    };
    Ok(read(store, places, whole).await?.into_iter().collect())
}

/// Which of these rows hold a text, whatever the case of its ASCII letters.
pub(crate) async fn told(store: &Store, places: Vec<(i64, Place)>, text: &str) -> Result<Vec<i64>, StoreError> {
    let sought = memchr::memmem::Finder::new(text.to_ascii_lowercase().as_bytes()).into_owned();
    let mut lower = Vec::new();
    let holds = move |seq, _, texts: [Option<&str>; TEXTS]| {
        let is_found = texts.into_iter().flatten().any(|text| {
            lower.clear();
            lower.extend_from_slice(text.as_bytes());
            lower.make_ascii_lowercase();
            sought.find(&lower).is_some()
        });
        is_found.then_some(seq)
    };
    read(store, places, holds).await
}

/// Places out of rows that have `seq`, `bodies_segment` and `bodies_offset`.
pub(crate) fn placed(rows: &[sqlx::sqlite::SqliteRow]) -> Result<Vec<(i64, Place)>, StoreError> {
    let place = |row: &sqlx::sqlite::SqliteRow| {
        Ok((row.try_get("seq")?, Place { segment: row.try_get("bodies_segment")?, offset: row.try_get("bodies_offset")? }))
    };
    rows.iter().map(place).collect()
}

/// Notes which rows point to which segments, in the transaction that stores them: they have the numbers from `first` on.
pub(crate) async fn note(transaction: &mut Transaction<'_, Sqlite>, rows: &[Row], first: i64) -> Result<(), sqlx::Error> {
    // One segment, but for rows that waited elsewhere.
    let mut used: Vec<(i64, i64, i64)> = Vec::new();
    for (row, seq) in rows.iter().zip(first..) {
        let Some(Place { segment, .. }) = row.bodies else { continue };
        match used.iter_mut().find(|(used, ..)| *used == segment) {
            Some((.., last)) => *last = seq,
            None => used.push((segment, seq, seq)),
        }
    }
    for (segment, first_seq, last_seq) in used {
        let query = sqlx::query(
            "INSERT INTO body_segments (segment, first_seq, last_seq) VALUES (?, ?, ?) ON CONFLICT (segment) DO UPDATE SET \
             first_seq = min(first_seq, excluded.first_seq), last_seq = max(last_seq, excluded.last_seq)",
        );
        query.bind(segment).bind(first_seq).bind(last_seq).execute(&mut **transaction).await?;
    }
    Ok(())
}

/// Removes the segments that no row points to any more; where no row ever did, those that were last written before a time (unix milliseconds).
/// Those that a process still writes stay. Gives how many are gone.
pub(crate) async fn sweep(store: &Store, before_ms: i64) -> Result<usize, StoreError> {
    let directory = directory(store.path());
    let failed = |source| StoreError::Open { path: directory.clone(), source };
    let known = "SELECT segment, EXISTS (SELECT 1 FROM requests WHERE seq BETWEEN first_seq AND last_seq) FROM body_segments";
    let known: HashMap<i64, bool> = sqlx::query_as(known).fetch_all(store.readers()).await?.into_iter().collect();
    let mut removed = 0;
    for segment in segments(&directory).map_err(failed)? {
        let path = segment_path(&directory, segment);
        let is_left = match known.get(&segment) {
            Some(is_used) => !is_used,
            None => is_older(&path, before_ms),
        };
        if !is_left || !nobody_writes(&path) {
            continue;
        }
        fs::remove_file(&path).map_err(failed)?;
        removed += 1;
        let mut writer = store.writer(crate::open::Durability::Process).await?;
        sqlx::query("DELETE FROM body_segments WHERE segment = ?").bind(segment).execute(&mut writer.connection).await?;
    }
    Ok(removed)
}

fn is_older(path: &Path, before_ms: i64) -> bool {
    let written = path.metadata().and_then(|metadata| metadata.modified()).ok();
    let written = written.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    written.is_some_and(|since| i64::try_from(since.as_millis()).is_ok_and(|ms| ms < before_ms))
}

fn nobody_writes(path: &Path) -> bool {
    OpenOptions::new().append(true).open(path).is_ok_and(|file| file.try_lock().is_ok())
}

/// What the segments beside a database take that nobody writes any more, in bytes.
pub(crate) fn closed_bytes(database: &Path) -> Result<u64, StoreError> {
    let directory = directory(database);
    let all = segments(&directory).map_err(|source| StoreError::Open { path: directory.clone(), source })?;
    let closed = all.into_iter().map(|segment| segment_path(&directory, segment)).filter(|path| nobody_writes(path));
    Ok(closed.filter_map(|path| path.metadata().ok()).map(|metadata| metadata.len()).sum())
}

/// Copies the segments beside one database to beside another; those that are there already stay.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (directory(from), directory(to));
    for segment in segments(&from)? {
        make_directory(&to).map_err(io::Error::other)?;
        let target = segment_path(&to, segment);
        if target.exists() {
            continue;
        }
        // Under another name until it is whole. The mode comes along.
        let part = target.with_extension("part");
        match fs::copy(segment_path(&from, segment), &part) {
            // Swept meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            done => done?,
        };
        File::open(&part)?.sync_all()?;
        fs::rename(&part, &target)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requests;

    async fn fresh() -> (tempfile::TempDir, Store) {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open("", home.path()).await.unwrap();
        (home, store)
    }

    fn bodies(n: usize) -> Bodies {
        let text = |what: &str| Some(format!("{what} {n} {}", "é".repeat(n)));
        Bodies {
            request: text("asked"),
            response: Some(String::new()),
            upstream_response: text("came").filter(|_| n.is_multiple_of(2)),
            is_response_cut: n.is_multiple_of(3),
            ..Bodies::default()
        }
    }

    /// Rows of these starts (unix milliseconds), each with its texts.
    async fn keep(store: &Store, texts: &mut Appender, starts: &[i64]) -> Vec<Place> {
        let row = |(n, start): (usize, &i64)| Row { started_at_ms: *start, bodies: Some(texts.add(&bodies(n)).unwrap()), ..Row::default() };
        let rows: Vec<Row> = starts.iter().enumerate().map(row).collect();
        texts.flush().unwrap();
        requests::insert(store, &rows).await.unwrap();
        rows.iter().filter_map(|row| row.bodies).collect()
    }

    #[tokio::test]
    async fn texts_come_back_as_they_were_kept() {
        let (_home, store) = fresh().await;
        let mut texts = Appender::new(&store);
        keep(&store, &mut texts, &[1; 300]).await;
        requests::insert(&store, &[Row::default()]).await.unwrap();
        let found = of(&store, &(1..=301).collect::<Vec<_>>()).await.unwrap();
        assert_eq!(found.len(), 300, "a row without texts has none");
        for (seq, kept) in found {
            assert_eq!(kept, bodies(seq as usize - 1));
        }
    }

    #[tokio::test]
    async fn what_waits_is_written_up_to_the_end_of_a_piece() {
        let (_home, store) = fresh().await;
        let mut texts = Appender::new(&store);
        let add = |texts: &mut Appender, n| texts.add(&bodies(n)).unwrap();
        let segment = segment_path(&directory(store.path()), add(&mut texts, 100).segment);
        let length = || fs::metadata(&segment).unwrap().len();
        texts.flush().unwrap();
        assert!((1..1000).contains(&length()));
        let piece = PIECE_BYTES as u64;
        let ends: Vec<u64> = (0..500).map(|_| add(&mut texts, 100)).map(|_| length()).filter(|length| *length >= piece).collect();
        assert!(ends.iter().all(|end| end.is_multiple_of(piece)) && ends.last() > Some(&piece), "{ends:?}");
        let last = add(&mut texts, PIECE_BYTES * 3);
        assert!(length().is_multiple_of(piece) && length() > last.offset as u64, "a long text is in the file, but for its end");
        texts.flush().unwrap();
        assert_eq!(texts.add(&bodies(0)).unwrap().offset as u64, length());
    }

    #[tokio::test]
    async fn a_record_that_is_not_whole_reads_as_none() {
        let (_home, store) = fresh().await;
        let mut texts = Appender::new(&store);
        let places = keep(&store, &mut texts, &[1; 3]).await;
        let path = segment_path(&directory(store.path()), places[0].segment);
        let mut bytes = fs::read(&path).unwrap();
        bytes[places[1].offset as usize + HEAD_BYTES] ^= 1;
        bytes.truncate(bytes.len() - 1);
        fs::write(&path, bytes).unwrap();
        let found = of(&store, &[1, 2, 3]).await.unwrap();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [(1, bodies(0))]);
        fs::remove_file(path).unwrap();
        assert!(of(&store, &[1, 2, 3]).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn each_process_writes_a_segment_of_its_own_which_only_its_owner_may_read() {
        let (_home, store) = fresh().await;
        let (mut one, mut other) = (Appender::new(&store), Appender::new(&store));
        let places = [keep(&store, &mut one, &[1]).await, keep(&store, &mut other, &[1]).await].concat();
        assert_ne!(places[0].segment, places[1].segment);
        assert_eq!(of(&store, &[1, 2]).await.unwrap().len(), 2);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
            let directory = directory(store.path());
            assert_eq!((mode(&directory), mode(&segment_path(&directory, places[0].segment))), (0o700, 0o600));
        }
    }

    #[tokio::test]
    async fn a_segment_goes_with_the_last_of_its_rows_but_not_while_it_is_written() {
        let (_home, store) = fresh().await;
        let left = || segments(&directory(store.path())).unwrap();
        let closed = async |starts: &[i64]| keep(&store, &mut Appender::new(&store), starts).await[0].segment;
        let old = closed(&[10, 20]).await;
        let mixed = closed(&[10, 30]).await;
        let mut texts = Appender::new(&store);
        let open = keep(&store, &mut texts, &[10]).await[0].segment;
        let stray = Segment::begin(&directory(store.path())).unwrap().id;
        assert_eq!(left(), [old, mixed, open, stray]);
        assert_eq!(requests::purge(&store, 25, 2).await.unwrap(), 4);
        assert_eq!(left(), [mixed, open, stray], "no row ever pointed to the last one, but it is young");
        assert_eq!(of(&store, &[4]).await.unwrap().len(), 1);
        drop(texts);
        requests::purge(&store, i64::MAX, 2).await.unwrap();
        assert_eq!(left(), [0; 0]);
    }

    #[tokio::test]
    async fn texts_that_find_no_place_are_given_up() {
        let (_home, store) = fresh().await;
        let mut texts = Appender::new(&store);
        fs::write(directory(store.path()), "no directory").unwrap();
        assert!(texts.add(&bodies(1)).is_err());
        fs::remove_file(directory(store.path())).unwrap();
        keep(&store, &mut texts, &[1]).await;
        assert_eq!(of(&store, &[1]).await.unwrap()[&1], bodies(0));
    }

    #[tokio::test]
    async fn what_was_said_is_looked_for() {
        let (_home, store) = fresh().await;
        let mut texts = Appender::new(&store);
        keep(&store, &mut texts, &[1; 20]).await;
        let search = |text: &str| crate::history::Search { text: Some(text.to_owned()), ..Default::default() };
        let count = async |text: &str| crate::history::count(&store, &search(text)).await.unwrap();
        assert_eq!((count("ASKED 1").await, count("came 3").await, count("came 4").await, count("é").await), (11, 0, 1, 19));
        let after = crate::history::after(&store, &search("asked 1"), 12, 100).await.unwrap();
        assert_eq!(after.iter().map(|stored| stored.seq).collect::<Vec<_>>(), (13..=20).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_copy_of_the_database_has_its_texts() {
        let (home, store) = fresh().await;
        let mut texts = Appender::new(&store);
        keep(&store, &mut texts, &[1]).await;
        let copy = home.path().join("copy.db");
        store.backup(&copy).await.unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        crate::upkeep::restore("", elsewhere.path(), &copy).await.unwrap();
        let restored = Store::open("", elsewhere.path()).await.unwrap();
        assert_eq!(of(&restored, &[1]).await.unwrap()[&1], bodies(0));
    }
}
