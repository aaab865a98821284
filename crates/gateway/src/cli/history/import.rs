//! Reads `request_history.json`: an array of records, or records one after the other.

use std::{
    collections::HashSet,
    fmt,
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use anyhow::Context as _;
use config::{Config, config::HistoryBodies};
use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer as _,
    de::{SeqAccess, Visitor},
};
use serde_json::{Value, json, value::RawValue};
use store::{
    Store, Text,
    bodies::{Appender, Bodies},
    requests::{self, Row},
};
use tokio::sync::mpsc;

use crate::{
    cli::{Failed, out},
    price::{self, Consumption, PriceBook},
    settle::bodies::kept_elsewhere,
};

/// Records that are stored at once.
const BATCH_ROWS: usize = 100;

/// What could not be done.
const TEXTS: &str = "the texts of the records could not be stored";

/// Machines that stand for clouds begin so.
const CLOUD: &str = "cloud:";

/// What became of a file.
#[derive(Debug, Default)]
pub(super) struct Done {
    imported: u64,
    /// They were there already.
    known: u64,
    unreadable: u64,
    /// Imported, and older than records are kept.
    expired: u64,
    /// Why the first one could not be read.
    reason: Option<String>,
}

impl Done {
    pub(super) fn say(self, as_json: bool) -> Result<(), Failed> {
        let Self { imported, known, unreadable, expired, reason } = self;
        if expired > 0 {
            out::remark(&format!(
                "{expired} of them are older than `history.retention` and will be removed with the next purge, which a router does by itself."
            ));
        }
        if as_json {
            out::json(&json!({"imported": imported, "known": known, "unreadable": unreadable, "expired": expired}))?;
        } else {
            out::line(&format!("{imported} records were imported, {known} were there already"))?;
        }
        match reason {
            Some(reason) => Err(Failed(1, format!("{unreadable} records could not be read; the first: {reason}"))),
            None => Ok(()),
        }
    }
}

/// A file, and how much of it was read.
struct Counted<R> {
    of: R,
    taken: Arc<AtomicU64>,
}

impl<R: io::Read> io::Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.of.read(buffer)?;
        self.taken.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

/// What the reading thread hands over.
enum Read {
    Row(Box<Row>, Option<Bodies>),
    Unreadable(String),
}

/// Imports the records of a file, those that are there already left out.
pub(super) async fn run(store: &Store, config: &Config, path: &Path) -> Result<Done, Failed> {
    let taken = Arc::new(AtomicU64::new(0));
    let (reader, bytes): (Box<dyn BufRead + Send>, _) = if path.as_os_str() == "-" {
        (Box::new(BufReader::new(Counted { of: io::stdin(), taken: taken.clone() })), None)
    } else {
        let failed = |e: io::Error| Failed(1, format!("{}: {e}", path.display()));
        let file = File::open(path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        (Box::new(BufReader::new(Counted { of: file, taken: taken.clone() })), Some(bytes))
    };
    let mut bar = out::Bar::new("read");
    let (sender, mut rows) = mpsc::channel(BATCH_ROWS);
    let bodies = config.history.bodies;
    let reading = thread::spawn(move || read(reader, &|read| sender.blocking_send(read).is_ok(), bodies));
    let retention_ms = i64::try_from(config.history.retention.as_millis()).unwrap_or(i64::MAX);
    let oldest_ms = store::now_ms().saturating_sub(retention_ms);
    let mut done = Done::default();
    let mut batch = Vec::with_capacity(BATCH_ROWS);
    let mut texts = Appender::new(store);
    let prices = PriceBook::of(config, &config.accounts);
    prices.remember(store).await;
    while let Some(read) = rows.recv().await {
        match read {
            Read::Row(mut row, bodies) => {
                // What a record says that it cost was paid, whatever prices are now.
                if row.cost_nano.is_none() {
                    row.cost_nano = prices.cost_nano(&Consumption::from(&*row));
                    row.price_version = Some(prices.version().clone().into());
                }
                batch.push((*row, bodies));
            }
            Read::Unreadable(why) => {
                done.unreadable += 1;
                done.reason.get_or_insert(why);
            }
        }
        if batch.len() == BATCH_ROWS {
            keep(store, &mut texts, &mut batch, oldest_ms, &mut done).await?;
            let taken = taken.load(Ordering::Relaxed);
            match bytes {
                Some(bytes) => bar.show(taken as f64 / bytes.max(1) as f64),
                None => bar.show_bytes(taken),
            }
        }
    }
    bar.end();
    keep(store, &mut texts, &mut batch, oldest_ms, &mut done).await?;
    let ended = reading.join().unwrap_or_else(|_| Err("the file could not be read".to_owned()));
    ended.map_err(|why| Failed(1, format!("{}: {why}; {} records before that were imported", path.display(), done.imported)))?;
    Ok(done)
}

/// Rows with their texts.
type Batch = Vec<(Row, Option<Bodies>)>;

async fn keep(store: &Store, texts: &mut Appender, batch: &mut Batch, oldest_ms: i64, done: &mut Done) -> Result<(), Failed> {
    let read = batch.len();
    let ids: Vec<&str> = batch.iter().map(|(row, _)| row.id.as_str()).collect();
    let mut known: HashSet<(String, i64)> = requests::known(store, &ids).await.context("the store could not be read")?;
    let mut rows = Vec::with_capacity(read);
    for (mut row, bodies) in batch.drain(..) {
        if known.insert((row.id.to_string(), row.started_at_ms)) {
            row.bodies = bodies.map(|bodies| texts.add(&bodies)).transpose().context(TEXTS)?;
            rows.push(row);
        }
    }
    texts.flush().context(TEXTS)?;
    requests::insert(store, &rows).await.context("the records could not be stored")?;
    done.imported += rows.len() as u64;
    done.known += (read - rows.len()) as u64;
    done.expired += rows.iter().filter(|row| row.started_at_ms < oldest_ms).count() as u64;
    Ok(())
}

/// Reads record after record; never more than one is in memory. `take` gives false where nobody wants more.
fn read(mut reader: impl BufRead, take: &dyn Fn(Read) -> bool, bodies: HistoryBodies) -> Result<(), String> {
    let one =
        |text: &RawValue| match serde_json::from_str::<Record>(text.get()).map_err(|e| e.to_string()).and_then(|record| record.row(bodies))
        {
            Ok((row, bodies)) => take(Read::Row(Box::new(row), bodies)),
            Err(why) => take(Read::Unreadable(why)),
        };
    if first(&mut reader).map_err(|e| e.to_string())? == Some(b'[') {
        let mut whole = serde_json::Deserializer::from_reader(reader);
        return whole.deserialize_seq(Each(&one)).and_then(|()| whole.end()).map_err(|e| e.to_string());
    }
    for value in serde_json::Deserializer::from_reader(reader).into_iter::<Box<RawValue>>() {
        if !one(&value.map_err(|e| e.to_string())?) {
            break;
        }
    }
    Ok(())
}

/// The first byte that is no space; it stays where it is.
fn first(reader: &mut impl BufRead) -> io::Result<Option<u8>> {
    loop {
        let held = reader.fill_buf()?;
        let Some(byte) = held.first().copied() else { return Ok(None) };
        if !byte.is_ascii_whitespace() {
            return Ok(Some(byte));
        }
        reader.consume(1);
    }
}

/// Takes the members of an array one by one.
struct Each<'a>(&'a dyn Fn(&RawValue) -> bool);

impl<'de> Visitor<'de> for Each<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(member) = members.next_element::<Box<RawValue>>()? {
            if !(self.0)(&member) {
                break;
            }
        }
        Ok(())
    }
}

/// A record as LLM Router writes it; what is new since stands at the end and need not be there.
#[derive(Debug, Deserialize)]
struct Record {
    id: String,
    #[serde(deserialize_with = "time")]
    timestamp: Timestamp,
    request_type: String,
    model: String,
    #[serde(default)]
    node_id: Option<String>,
    #[serde(default)]
    node_machine_name: Option<String>,
    #[serde(default)]
    client_ip: Option<String>,
    #[serde(default)]
    request_body: Option<Box<RawValue>>,
    #[serde(default)]
    response_body: Option<Box<RawValue>>,
    duration_ms: u64,
    /// `{type, message}`, or the type alone.
    status: Value,
    #[serde(default)]
    http_status: Option<u16>,
    #[serde(default)]
    error_code: Option<String>,
    #[serde(default)]
    model_served: Option<String>,
    #[serde(default)]
    target: Option<String>,
    #[serde(default)]
    provider: Option<String>,
    #[serde(default)]
    key_id: Option<String>,
    #[serde(default)]
    key_name: Option<String>,
    #[serde(default)]
    first_byte_ms: Option<i64>,
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
    #[serde(default)]
    cached_tokens: Option<u64>,
    #[serde(default)]
    cost_usd: Option<f64>,
    #[serde(default)]
    cache: Option<String>,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    attempts: Option<u32>,
    #[serde(default)]
    request_body_truncated: bool,
    #[serde(default)]
    response_body_truncated: bool,
}

impl Record {
    fn row(self, bodies: HistoryBodies) -> Result<(Row, Option<Bodies>), String> {
        let outcome: Text = match self.status.as_str().or_else(|| self.status["type"].as_str()) {
            Some("success") => "success".into(),
            Some("error") => "error".into(),
            Some("cancelled") => "cancelled".into(),
            _ => return Err(format!("record {}: its status {} is none of success, error and cancelled", self.id, self.status)),
        };
        let (dialect, path): (&str, &str) = match &*self.request_type {
            "generate" => ("completions", "/v1/completions"),
            "embeddings" => ("embeddings", "/v1/embeddings"),
            "count_tokens" => ("count_tokens", "/v1/messages/count_tokens"),
            "other" => ("other", "/v1"),
            _ => ("chat", "/v1/chat/completions"),
        };
        let said = self.response_body.as_deref().and_then(|body| wire::tap::whole(body.get().as_bytes())).and_then(|seen| seen.usage);
        let machine = self.node_machine_name;
        let cloud = machine.as_deref().and_then(|machine| machine.strip_prefix(CLOUD));
        let (is_cloud, cloud) = (cloud.is_some(), cloud.filter(|provider| !provider.is_empty()).map(str::to_owned));
        let is_success = &*outcome == "success";
        let decision = self.status["message"].as_str().map(|message| json!({"attempts": [{"error": message}]}).to_string());
        let text = |body: Option<Box<RawValue>>| body.map(|body| body_text(&body)).filter(|text| text != "null");
        let (request, response) = (text(self.request_body), text(self.response_body));
        let (bytes_in, bytes_out) = (request.as_ref().map_or(0, String::len) as u64, response.as_ref().map_or(0, String::len) as u64);
        let kept = |text: Option<String>| text.and_then(|text| kept_elsewhere(&text, bodies));
        let bodies = Bodies {
            request: kept(request),
            response: kept(response),
            is_request_cut: self.request_body_truncated,
            is_response_cut: self.response_body_truncated,
            ..Bodies::default()
        };
        let own = |text: Option<String>| text.map(Text::from);
        let row = Row {
            id: self.id.into(),
            started_at_ms: self.timestamp.as_millisecond(),
            duration_ms: i64::try_from(self.duration_ms).unwrap_or(i64::MAX),
            first_byte_ms: self.first_byte_ms,
            key_id: own(self.key_id),
            key_name: own(self.key_name),
            client_ip: own(self.client_ip),
            dialect: dialect.to_owned().into(),
            path: path.to_owned().into(),
            model_served: own(self.model_served.or_else(|| is_success.then(|| self.model.clone()))),
            model_requested: Some(self.model.into()),
            node_id: own(self.node_id).filter(|_| !is_cloud),
            target: own(self.target.or_else(|| cloud.clone()).or_else(|| machine.filter(|_| !is_cloud))),
            provider: own(self.provider.or(cloud)),
            attempts: self.attempts.unwrap_or(1),
            status: self.http_status.unwrap_or(if is_success { 200 } else { 0 }),
            outcome,
            error_code: own(self.error_code),
            stream: self.stream,
            prompt_tokens: self.prompt_tokens.or(said.map(|usage| usage.input())),
            completion_tokens: self.completion_tokens.or(said.map(|usage| usage.output())),
            cached_tokens: self.cached_tokens.or(said.and_then(|usage| usage.in_cache_read)),
            cost_nano: self.cost_usd.and_then(price::nanos),
            bytes_in,
            bytes_out,
            decision: own(decision),
            cache: own(self.cache),
            ..Row::default()
        };
        Ok((row, (bodies != Bodies::default()).then_some(bodies)))
    }
}

fn time<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
    String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
}

/// The text that was kept: a body that was none of JSON stands in the file as a text.
fn body_text(body: &RawValue) -> String {
    serde_json::from_str::<String>(body.get()).unwrap_or_else(|_| body.get().to_owned())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn rows(text: &str) -> (Batch, Vec<String>, Result<(), String>) {
        let (rows, bad) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        let take = |read| {
            match read {
                Read::Row(row, bodies) => rows.borrow_mut().push((*row, bodies)),
                Read::Unreadable(why) => bad.borrow_mut().push(why),
            }
            true
        };
        let ended = read(text.as_bytes(), &take, HistoryBodies::Full);
        (rows.into_inner(), bad.into_inner(), ended)
    }

    const RECORD: &str = r#"{"id": "0a", "timestamp": "2025-11-30T12:00:00.5Z", "request_type": "chat", "model": "openai:gpt-x",
        "node_id": "00000000-0000-0000-0000-00000000c001", "node_machine_name": "cloud:openai", "node_ip": "0.0.0.0", "client_ip": null,
        "request_body": {"model": "openai:gpt-x", "messages": []}, "response_body": null, "duration_ms": 12,
        "status": {"type": "error", "message": "no such model"}, "completed_at": "2025-11-30T12:00:00.512Z"}"#;

    #[test]
    fn records_of_the_program_before_are_read() {
        let (read, bad, ended) = rows(&format!(" [\n{RECORD}, {{\"id\": 7}} ]"));
        assert_eq!((read.len(), bad.len(), ended), (1, 1, Ok(())));
        let (row, bodies) = &read[0];
        assert_eq!((row.id.as_str(), row.started_at_ms, row.duration_ms, row.outcome.as_str()), ("0a", 1_764_504_000_500, 12, "error"));
        assert_eq!((row.node_id.as_ref(), row.provider.as_deref(), row.status, row.model_served.as_ref()), (None, Some("openai"), 0, None));
        assert!(row.decision.as_deref().unwrap().contains("no such model"));
        let bodies = bodies.as_ref().unwrap();
        assert_eq!((bodies.request.as_deref(), bodies.response.as_deref()), (Some(r#"{"model": "openai:gpt-x", "messages": []}"#), None));
    }

    #[test]
    fn records_one_after_the_other_are_read_too() {
        let node = r#"{"id": "b", "timestamp": "2025-11-30T12:00:00Z", "request_type": "embeddings", "model": "m", "node_id": "n1", "node_machine_name": "box",
            "request_body": {}, "response_body": {"usage": {"prompt_tokens": 5, "total_tokens": 5}}, "duration_ms": 1, "status": "success"}"#;
        let paid = RECORD.replacen('{', "{\"cost_usd\": 1.5, ", 1);
        assert_eq!(rows(&paid).0[0].0.cost_nano, Some(1_500_000_000), "what was paid stays");
        let (read, bad, ended) = rows(&format!("{RECORD}\n{node}\n"));
        assert_eq!((read.len(), bad.len(), ended), (2, 0, Ok(())));
        let (row, _) = &read[1];
        assert_eq!((row.node_id.as_deref(), row.target.as_deref(), row.prompt_tokens, row.status), (Some("n1"), Some("box"), Some(5), 200));
    }

    #[test]
    fn a_file_that_breaks_off_says_where() {
        let (read, _, ended) = rows(&format!("[{RECORD}, {{"));
        assert_eq!(read.len(), 1);
        assert!(ended.unwrap_err().contains("line"));
        assert_eq!(rows("").2, Ok(()));
    }
}
