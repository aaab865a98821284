//! The file in which rows wait while the database takes none, or takes them too slowly: a line that names the file, then a row a line, as JSON.
//!
//! How far it was taken out again stands in the database, stored together with the rows that were taken: whenever the process ends, no row is
//! stored twice or left behind.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use store::{Store, StoreError, requests::Row};

use crate::{BATCH_BYTES_MAX, BATCH_ROWS_MAX, SPILL_BYTES_MAX};

/// Where the database says how far the file was taken out.
pub(crate) const MARK: &str = "requests.spill";

/// Bytes that are read at once when the end of the last whole line is looked for.
const LOOK_BYTES: u64 = 64 << 10;

/// Rows on their way out.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) rows: Vec<Row>,
    /// How many of them were put in by this process; they are the last.
    pub(crate) own: u64,
    /// Lines that can't be read, and how many of those are this process's.
    pub(crate) damaged: u64,
    pub(crate) damaged_own: u64,
    /// Where the next page begins.
    end: u64,
}

/// The file.
#[derive(Debug)]
pub(crate) struct Spill {
    path: PathBuf,
    file: Option<File>,
    /// The name in its first line.
    name: String,
    /// What was taken out, in bytes.
    taken: u64,
    /// Its length.
    end: u64,
    /// Where this process's rows begin.
    own_from: u64,
    bytes_max: u64,
    line: Vec<u8>,
}

impl Spill {
    /// Takes up the file where it was left; there need not be one.
    ///
    /// # Errors
    /// A file that can't be read, or a database that does not say how far it was taken out.
    pub(crate) async fn open(path: PathBuf, store: &Store) -> Result<Self, SpillError> {
        let mut spill = Self::none(path);
        let mut file = match OpenOptions::new().read(true).write(true).open(&spill.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(spill),
            Err(error) => return Err(error.into()),
        };
        spill.end = whole_lines(&mut file)?;
        file.set_len(spill.end)?;
        file.seek(SeekFrom::Start(0))?;
        let mut first = String::new();
        BufReader::new(&mut file).read_line(&mut first)?;
        first.trim_end().clone_into(&mut spill.name);
        let mark = store::meta::get(store, MARK).await?;
        let taken = mark.as_deref().and_then(|mark| mark.rsplit_once(' ')).filter(|(name, _)| *name == spill.name);
        spill.taken = taken
            .and_then(|(_, bytes)| bytes.parse().ok())
            .unwrap_or(first.len() as u64)
            .clamp(first.len() as u64, spill.end.max(first.len() as u64));
        spill.own_from = spill.end;
        spill.file = Some(file);
        if spill.is_empty() {
            spill.clear()?;
        }
        Ok(spill)
    }

    /// An empty one, whatever may be in the file.
    pub(crate) fn none(path: PathBuf) -> Self {
        Self { path, file: None, name: String::new(), taken: 0, end: 0, own_from: 0, bytes_max: SPILL_BYTES_MAX, line: Vec::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the file to people, under another name.
    pub(crate) fn set_aside(&mut self) {
        let aside = self.path.with_extension("damaged");
        if let Err(error) = std::fs::rename(&self.path, &aside) {
            tracing::error!(%error, path = %self.path.display(), "it can't be renamed either");
        }
        *self = Self::none(std::mem::take(&mut self.path));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.taken >= self.end
    }

    /// Puts rows in: all or none.
    ///
    /// # Errors
    /// A file that can't be made or written; [`io::ErrorKind::StorageFull`] where it has its greatest length.
    pub(crate) fn append(&mut self, rows: &[Row]) -> io::Result<()> {
        if self.file.is_none() {
            self.make()?;
        }
        let mut text = std::mem::take(&mut self.line);
        text.clear();
        for row in rows {
            serde_json::to_writer(&mut text, row)?;
            text.push(b'\n');
        }
        let done = self.write(&text);
        if text.capacity() <= BATCH_BYTES_MAX {
            self.line = text;
        }
        done
    }

    fn make(&mut self) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        self.file = Some(options.open(&self.path)?);
        self.name = store::new_id("spill");
        self.end = 0;
        let first = format!("{}\n", self.name);
        if let Err(error) = self.write(first.as_bytes()) {
            self.file = None;
            return Err(error);
        }
        (self.taken, self.own_from) = (self.end, self.end);
        Ok(())
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        if self.end + text.len() as u64 > self.bytes_max {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!("it has {} bytes, and no more than {} are allowed", self.end, self.bytes_max),
            ));
        }
        let done = file.seek(SeekFrom::Start(self.end)).and_then(|_| file.write_all(text));
        match done {
            Ok(()) => self.end += text.len() as u64,
            // Half a line must not spoil the next one.
            Err(_) => drop(file.set_len(self.end)),
        }
        done
    }

    /// The next rows to be stored. They stay until [`Spill::took`] says that they are.
    ///
    /// # Errors
    /// A file that can't be read.
    pub(crate) fn next(&mut self) -> io::Result<Page> {
        let mut page = Page { end: self.taken, ..Page::default() };
        let Some(file) = &mut self.file else { return Ok(page) };
        file.seek(SeekFrom::Start(self.taken))?;
        let mut reader = BufReader::new(file).take(self.end - self.taken);
        let mut bytes = 0;
        while page.rows.len() < BATCH_ROWS_MAX && bytes < BATCH_BYTES_MAX {
            self.line.clear();
            let read = reader.read_until(b'\n', &mut self.line)?;
            if read == 0 {
                break;
            }
            let is_own = u64::from(page.end >= self.own_from);
            match serde_json::from_slice(&self.line) {
                Ok(row) => {
                    page.rows.push(row);
                    page.own += is_own;
                }
                Err(_) => {
                    page.damaged += 1;
                    page.damaged_own += is_own;
                }
            }
            bytes += read;
            page.end += read as u64;
        }
        Ok(page)
    }

    /// What the database is told when the rows of `page` are stored.
    pub(crate) fn mark(&self, page: &Page) -> String {
        format!("{} {}", self.name, page.end)
    }

    /// The rows of `page` are stored.
    pub(crate) fn took(&mut self, page: &Page) {
        self.taken = page.end;
        if self.is_empty()
            && let Err(error) = self.clear()
        {
            // It is empty all the same: the next row begins a new one.
            tracing::warn!(%error, path = %self.path.display(), "the spill file of request records can't be removed");
        }
    }

    fn clear(&mut self) -> io::Result<()> {
        self.file = None;
        (self.taken, self.end, self.own_from) = (0, 0, 0);
        std::fs::remove_file(&self.path)
    }

    #[cfg(test)]
    pub(crate) fn limit(&mut self, bytes_max: u64) {
        self.bytes_max = bytes_max;
    }
}

/// Why a file can't be taken up again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpillError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The length of a file up to the end of its last whole line.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut bytes = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(LOOK_BYTES);
        file.seek(SeekFrom::Start(start))?;
        bytes.clear();
        Read::by_ref(file).take(end - start).read_to_end(&mut bytes)?;
        if let Some(at) = bytes.iter().rposition(|b| *b == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(n: usize) -> Row {
        Row { id: format!("r{n}").into(), ..Row::default() }
    }

    fn ids(page: &Page) -> Vec<&str> {
        page.rows.iter().map(|row| row.id.as_str()).collect()
    }

    async fn store() -> (tempfile::TempDir, Store, PathBuf) {
        let home = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open("", home.path()).await.expect("a new database");
        let path = home.path().join("spill");
        (home, store, path)
    }

    #[tokio::test]
    async fn rows_come_out_as_they_went_in_and_the_file_goes() {
        let (_home, store, path) = store().await;
        let mut spill = Spill::open(path.clone(), &store).await.expect("no file");
        assert!(spill.is_empty());
        spill.append(&(0..600).map(row).collect::<Vec<_>>()).expect("room");
        let first = spill.next().expect("a page");
        assert!(first.rows.len() < 600, "a page is what a transaction takes");
        assert_eq!((first.own as usize, ids(&first)[0]), (first.rows.len(), "r0"));
        spill.took(&first);
        spill.append(&[row(600)]).expect("room");
        let mut taken = first.rows;
        while !spill.is_empty() {
            let page = spill.next().expect("a page");
            spill.took(&page);
            taken.extend(page.rows);
        }
        assert!(taken.iter().map(|row| row.id.to_string()).eq((0..=600).map(|n| format!("r{n}"))));
        assert!(!path.exists());
        spill.append(&[row(1)]).expect("a new file");
        assert_eq!(ids(&spill.next().expect("a page")), ["r1"]);
    }

    #[tokio::test]
    async fn a_file_is_taken_up_where_the_database_says() {
        let (_home, store, path) = store().await;
        let mut spill = Spill::none(path.clone());
        spill.append(&[row(1)]).expect("room");
        let page = spill.next().expect("a page");
        spill.append(&[row(2)]).expect("room");
        store::meta::set(&store, MARK, &spill.mark(&page)).await.expect("a mark");
        drop(spill);
        // A process that was killed while it wrote.
        OpenOptions::new().append(true).open(&path).and_then(|mut file| file.write_all(b"{\"id\":\"hal")).expect("half a row");
        let mut spill = Spill::open(path.clone(), &store).await.expect("a file");
        spill.append(&[row(3)]).expect("room");
        let page = spill.next().expect("a page");
        assert_eq!((ids(&page), page.own, page.damaged), (vec!["r2", "r3"], 1, 0));
        store::meta::set(&store, MARK, &spill.mark(&page)).await.expect("a mark");
        drop(spill);
        assert!(Spill::open(path.clone(), &store).await.expect("a file").is_empty(), "all was stored before the end");
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn it_is_bounded_and_its_owners_only() {
        let (_home, store, path) = store().await;
        let mut spill = Spill::open(path.clone(), &store).await.expect("no file");
        spill.limit(2000);
        let outcomes: Vec<bool> = (0..4).map(|n| spill.append(&[row(n)]).is_ok()).collect();
        let fitting = outcomes.iter().filter(|fits| **fits).count();
        assert!(outcomes.is_sorted_by(|a, b| a >= b) && (1..4).contains(&fitting), "{outcomes:?}");
        assert_eq!(spill.next().expect("a page").rows.len(), fitting);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(path.metadata().expect("a file").permissions().mode() & 0o777, 0o600);
        }
    }

    #[tokio::test]
    async fn lines_that_are_no_rows_are_counted() {
        let (_home, store, path) = store().await;
        std::fs::write(&path, "spill_x\nnonsense\n").expect("a file");
        let mut spill = Spill::open(path, &store).await.expect("a file");
        let page = spill.next().expect("a page");
        assert_eq!((page.rows.len(), page.damaged, page.damaged_own), (0, 1, 0));
        spill.took(&page);
        assert!(spill.is_empty());
    }
}
