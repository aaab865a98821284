//! Downloads from servers that cut, lie, refuse and send elsewhere.

#![allow(clippy::unwrap_used, clippy::type_complexity, clippy::format_push_string, reason = "in a test it is the assertion")]

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::header::AUTHORIZATION;
use net::{
    Client, Settings,
    download::{DownloadError, DownloadOptions, Source, Wanted, download, forget, hashes, sha256},
};
use proptest::prelude::*;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// What a server does with one request instead of answering it well.
#[derive(Debug, Clone)]
enum Fault {
    /// The body ends after so many bytes.
    Cut(usize),
    /// Only a status, with `Retry-After: 0`.
    Status(u16),
    /// The byte at this place of the file is another one.
    Flip(usize),
    /// A redirect to there.
    To(String),
}

#[derive(Default)]
struct Shelf {
    data: Vec<u8>,
    faults: VecDeque<Fault>,
    /// Whether `Range` is not understood.
    is_simple: bool,
    /// Each request: its range and what it showed.
    asked: Vec<(Option<(usize, usize)>, Option<String>)>,
    sent: usize,
}

#[derive(Clone)]
struct Server {
    port: u16,
    shelf: Arc<Mutex<Shelf>>,
}

impl Server {
    async fn start(data: &[u8], faults: impl IntoIterator<Item = Fault>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shelf = Arc::new(Mutex::new(Shelf { data: data.to_vec(), faults: faults.into_iter().collect(), ..Shelf::default() }));
        let server = Self { port, shelf };
        let shared = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(shared.clone().serve(stream));
            }
        });
        server
    }

    async fn serve(self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        loop {
            let (mut range, mut shown, mut line) = (None, None, String::new());
            loop {
                line.clear();
                if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                    return;
                }
                let Some((name, value)) = line.trim().split_once(": ") else {
                    if line.trim().is_empty() {
                        break;
                    }
                    continue;
                };
                match name.to_ascii_lowercase().as_str() {
                    "range" => {
                        let (from, to) = value.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
                        range = Some((from.parse().unwrap(), to.parse::<usize>().unwrap() + 1));
                    }
                    "authorization" => shown = Some(value.to_owned()),
                    _ => {}
                }
            }
            let (head, body, is_cut) = self.shelf.lock().unwrap().answer(range, shown);
            let sent = stream.write_all(head.as_bytes()).await.and(stream.write_all(&body).await).and(stream.flush().await);
            if is_cut || sent.is_err() {
                return;
            }
        }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/file", self.port)
    }

    fn source(&self) -> Source {
        Source::new(&self.url()).unwrap().with_proof(AUTHORIZATION, "Bearer hub-token".parse().unwrap())
    }

    fn asked(&self) -> Vec<(usize, usize)> {
        self.shelf.lock().unwrap().asked.iter().filter_map(|(range, _)| *range).collect()
    }

    fn shown(&self) -> Vec<Option<String>> {
        self.shelf.lock().unwrap().asked.iter().map(|(_, shown)| shown.clone()).collect()
    }

    fn sent(&self) -> usize {
        self.shelf.lock().unwrap().sent
    }
}

impl Shelf {
    fn answer(&mut self, range: Option<(usize, usize)>, shown: Option<String>) -> (String, Vec<u8>, bool) {
        self.asked.push((range, shown));
        let fault = self.faults.pop_front();
        let head = |status: u16, more: String| format!("HTTP/1.1 {status} X\r\n{more}\r\n");
        match &fault {
            Some(Fault::Status(status)) => return (head(*status, "content-length: 0\r\nretry-after: 0\r\n".to_owned()), Vec::new(), false),
            Some(Fault::To(url)) => return (head(302, format!("content-length: 0\r\nlocation: {url}\r\n")), Vec::new(), false),
            _ => {}
        }
        let (from, to) = range.filter(|_| !self.is_simple).unwrap_or((0, self.data.len()));
        let to = to.min(self.data.len());
        let mut body = self.data[from..to].to_vec();
        if let Some(Fault::Flip(at)) = fault
            && (from..to).contains(&at)
        {
            body[at - from] ^= 1;
        }
        let whole = self.data.len();
        let mut more = format!("content-length: {}\r\netag: \"v1\"\r\n", body.len());
        let status = if range.is_some() && !self.is_simple {
            more.push_str(&format!("content-range: bytes {from}-{}/{whole}\r\n", to - 1));
            206
        } else {
            200
        };
        let is_cut = matches!(fault, Some(Fault::Cut(_)));
        if let Some(Fault::Cut(after)) = fault {
            body.truncate(after);
        }
        self.sent += body.len();
        (head(status, more), body, is_cut)
    }
}

/// Bytes without a pattern that a shift would hide.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

fn wanted(data: &[u8], chunk: usize, has_chunks: bool) -> Wanted {
    let chunks = if has_chunks { data.chunks(chunk).map(sha256).collect() } else { Vec::new() };
    Wanted { bytes: data.len() as u64, sha256: Some(sha256(data)), chunk_bytes: chunk as u64, chunks }
}

fn quick() -> DownloadOptions {
    DownloadOptions { backoff: Duration::from_millis(1), reserve_bytes: 0, ..DownloadOptions::default() }
}

struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn target(&self) -> PathBuf {
        self.dir.path().join("file")
    }

    async fn get(&self, sources: &[Source], wanted: &Wanted, options: &DownloadOptions) -> Result<Vec<u8>, DownloadError> {
        let client = Client::new(Settings::default());
        let target = self.target();
        let found = download(&client, sources, wanted, (&target, &target), options, &|_| {}).await?;
        assert_eq!(found, hashes(&target, wanted.chunk_bytes).unwrap());
        let left: Vec<_> = std::fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["file"], "nothing else is left");
        Ok(std::fs::read(target).unwrap())
    }
}

#[tokio::test]
async fn a_file_comes_in_chunks_over_cut_connections() {
    let data = noise(1_000_000);
    let server = Server::start(&data, [Fault::Cut(10_000), Fault::Cut(100), Fault::Cut(0), Fault::Cut(70_000)]).await;
    let options = DownloadOptions { parallel: 1, ..quick() };
    assert_eq!(Place::new().get(&[server.source()], &wanted(&data, 300_000, false), &options).await.unwrap(), data);
    assert_eq!(server.asked()[..3], [(0, 300_000), (10_000, 300_000), (10_100, 300_000)]);
    assert_eq!(server.sent(), data.len(), "nothing was sent twice");
}

#[tokio::test]
async fn only_a_damaged_chunk_is_fetched_again() {
    let data = noise(1_000_000);
    let server = Server::start(&data, [Fault::Flip(1), Fault::Flip(2)]).await;
    let options = DownloadOptions { parallel: 1, ..quick() };
    assert_eq!(Place::new().get(&[server.source()], &wanted(&data, 100_000, true), &options).await.unwrap(), data);
    assert_eq!(server.asked().iter().filter(|(from, _)| *from == 0).count(), 3);
    assert_eq!(server.asked().len(), 12);
}

#[tokio::test]
async fn without_hashes_of_chunks_a_damaged_file_is_fetched_once_more() {
    let data = noise(200_000);
    let server = Server::start(&data, [Fault::Flip(5)]).await;
    assert_eq!(Place::new().get(&[server.source()], &wanted(&data, 100_000, false), &quick()).await.unwrap(), data);
    let liar = Server::start(&noise(200_001)[1..], []).await;
    let place = Place::new();
    let said = place.get(&[liar.source()], &wanted(&data, 100_000, false), &quick()).await.unwrap_err();
    assert!(matches!(said, DownloadError::Damaged(_)), "{said}");
    assert!(!place.target().exists());
}

#[tokio::test]
async fn what_was_begun_is_taken_up() {
    let data = noise(1_000_000);
    let (place, wanted) = (Place::new(), wanted(&data, 100_000, true));
    let gone = Server::start(
        &data,
        [Fault::Cut(100_000), Fault::Cut(100_000), Fault::Cut(40_000)].into_iter().chain((0..9).map(|_| Fault::Status(404))),
    )
    .await;
    let options = DownloadOptions { parallel: 1, ..quick() };
    place.get(&[gone.source()], &wanted, &options).await.unwrap_err();
    assert!(!place.target().exists());
    let server = Server::start(&data, []).await;
    assert_eq!(place.get(&[server.source()], &wanted, &options).await.unwrap(), data);
    assert_eq!(server.asked()[0], (240_000, 300_000));
    assert_eq!(server.sent(), 760_000);
}

#[tokio::test]
async fn a_partial_file_of_something_else_is_not_taken_up() {
    let (old, new) = (noise(100_000), noise(100_001)[1..].to_vec());
    let place = Place::new();
    let gone = Server::start(&old, [Fault::Cut(50_000), Fault::Status(404)]).await;
    place.get(&[gone.source()], &wanted(&old, 100_000, false), &quick()).await.unwrap_err();
    let server = Server::start(&new, []).await;
    assert_eq!(place.get(&[server.source()], &wanted(&new, 100_000, false), &quick()).await.unwrap(), new);
    place.get(&[gone.source()], &Wanted { bytes: 7, ..Wanted::default() }, &quick()).await.unwrap_err();
}

#[tokio::test]
async fn refusals_that_pass_are_waited_out_and_others_lead_to_the_next_source() {
    let data = noise(50_000);
    let busy = Server::start(&data, [Fault::Status(429), Fault::Status(503), Fault::Status(500)]).await;
    let wanted = wanted(&data, 50_000, true);
    assert_eq!(Place::new().get(&[busy.source()], &wanted, &quick()).await.unwrap(), data);
    assert_eq!(busy.asked().len(), 4);
    let (missing, other) = (Server::start(&data, [Fault::Status(404)]).await, Server::start(&data, []).await);
    assert_eq!(Place::new().get(&[missing.source(), other.source()], &wanted, &quick()).await.unwrap(), data);
    let never = Server::start(&data, (0..99).map(|_| Fault::Status(503))).await;
    let said = Place::new().get(&[never.source()], &wanted, &quick()).await.unwrap_err();
    assert!(matches!(&said, DownloadError::Refused { status, .. } if status.as_u16() == 503), "{said}");
    assert_eq!(never.asked().len(), 6);
}

#[tokio::test]
async fn the_token_is_not_shown_to_whom_a_source_sends_to() {
    let data = noise(10_000);
    let store = Server::start(&data, []).await;
    let hub = Server::start(&[], (0..4).map(|_| Fault::To(store.url()))).await;
    assert_eq!(Place::new().get(&[hub.source()], &wanted(&data, 5_000, true), &quick()).await.unwrap(), data);
    assert_eq!(hub.shown(), vec![Some("Bearer hub-token".to_owned()); 2]);
    assert_eq!(store.shown(), [None, None]);
    let own = Server::start(&data, []).await;
    own.shelf.lock().unwrap().faults.push_back(Fault::To("/elsewhere".to_owned()));
    assert_eq!(Place::new().get(&[own.source()], &wanted(&data, 10_000, true), &quick()).await.unwrap(), data);
    assert_eq!(own.shown(), vec![Some("Bearer hub-token".to_owned()); 2], "its own host may see it again");
}

#[tokio::test]
async fn a_source_can_not_send_to_what_is_barred() {
    let data = noise(10_000);
    for to in ["http://169.254.169.254/latest/meta-data/", "http://[fe80::1]/", "http://0.0.0.0/"] {
        let hub = Server::start(&[], (0..9).map(|_| Fault::To(to.to_owned()))).await;
        let said = Place::new().get(&[hub.source()], &wanted(&data, 10_000, true), &quick()).await.unwrap_err();
        assert!(matches!(&said, DownloadError::Net { error: net::Error::Barred { .. }, .. }), "{said}");
        assert_eq!(hub.asked().len(), 1, "it is not tried again");
    }
}

#[tokio::test]
async fn a_server_without_ranges_will_do() {
    let data = noise(90_000);
    let server = Server::start(&data, []).await;
    server.shelf.lock().unwrap().is_simple = true;
    assert_eq!(Place::new().get(&[server.source()], &wanted(&data, 40_000, true), &quick()).await.unwrap(), data);
}

#[tokio::test]
async fn a_file_of_another_length_is_refused_at_once() {
    let data = noise(90_000);
    let server = Server::start(&data[1..], []).await;
    let said = Place::new().get(&[server.source()], &wanted(&data, 90_001, true), &quick()).await.unwrap_err();
    assert!(matches!(said, DownloadError::Damaged(_) | DownloadError::Different { .. }), "{said}");
}

#[tokio::test]
async fn the_reserve_of_the_disk_is_kept() {
    let data = noise(1_000);
    let server = Server::start(&data, []).await;
    let options = DownloadOptions { reserve_bytes: u64::MAX, ..quick() };
    let place = Place::new();
    let said = place.get(&[server.source()], &wanted(&data, 1_000, true), &options).await.unwrap_err();
    assert!(matches!(said, DownloadError::NoSpace { needed: 1_000, available: 0 }), "{said}");
    assert!(server.asked().is_empty() && !place.target().exists());
}

#[tokio::test]
async fn two_downloads_of_one_file_do_not_run_at_once() {
    let data = noise(200_000);
    let server = Server::start(&data, []).await;
    let (place, wanted) = (Place::new(), wanted(&data, 200_000, true));
    let slow = DownloadOptions { bytes_per_second_max: Some(100_000), ..quick() };
    let (client, target) = (Client::new(Settings::default()), place.target());
    let sources = [server.source()];
    let begun = tokio::sync::Notify::new();
    let told = |_| begun.notify_one();
    let first = download(&client, &sources, &wanted, (&target, &target), &slow, &told);
    let second = async {
        while server.asked().is_empty() {
            tokio::task::yield_now().await;
        }
        download(&client, &sources, &wanted, (&target, &target), &quick(), &|_| {}).await
    };
    tokio::select! {
        done = first => panic!("it is too fast: {done:?}"),
        said = second => assert!(matches!(said, Err(DownloadError::Busy)), "{said:?}"),
    }
    assert_eq!(place.get(&sources, &wanted, &quick()).await.unwrap(), data, "the lock goes with its holder");
}

#[tokio::test]
async fn an_empty_file_and_a_forgotten_one() {
    let place = Place::new();
    let server = Server::start(&[], []).await;
    assert_eq!(place.get(&[server.source()], &wanted(&[], 10, false), &quick()).await.unwrap(), b"");
    std::fs::remove_file(place.target()).unwrap();
    let gone = Server::start(&noise(10), [Fault::Status(404)]).await;
    place.get(&[gone.source()], &wanted(&noise(10), 10, false), &quick()).await.unwrap_err();
    forget(&place.target());
    assert_eq!(std::fs::read_dir(place.dir.path()).unwrap().count(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However a file is cut up and whatever happens on the way, what stands in its place in the end is the file.
    #[test]
    fn what_comes_is_the_file(
        length in 0usize..60_000,
        chunk in 1_000usize..70_000,
        has_chunks: bool,
        parallel in 1usize..5,
        faults in prop::collection::vec(prop_oneof![(0usize..20_000).prop_map(Fault::Cut), Just(Fault::Status(503)), (0usize..60_000).prop_map(Fault::Flip)], 0..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let data = noise(length);
            let server = Server::start(&data, faults).await;
            let options = DownloadOptions { parallel, ..quick() };
            let came = Place::new().get(&[server.source()], &wanted(&data, chunk, has_chunks), &options).await;
            match came {
                Ok(came) => assert_eq!(came, data),
                // Two damaged fetches in a row, and nothing but the whole has a hash.
                Err(error) => assert!(!has_chunks && matches!(error, DownloadError::Damaged(_)), "{error}"),
            }
        });
    }
}
