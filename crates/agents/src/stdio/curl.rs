//! A `curl` command as a request. Nothing is run: the few options that make a request are understood, all others are refused by name.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{TIMEOUT_S_MAX, origin::Origin, words};

/// What stays as it is in `--data-urlencode`.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Headers that belong to the connection, not to whoever writes a command.
const OWN_HEADERS: [HeaderName; 8] = [
    header::HOST,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::EXPECT,
    header::PROXY_AUTHORIZATION,
    header::TE,
];

/// A request that a command describes.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
    /// The answer's headers are wanted too (`-i`, `-I`).
    pub(super) with_headers: bool,
    /// `--max-time`.
    pub(super) time_max: Option<Duration>,
}

/// What an option does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// Its value is the method, a header and so on.
    Takes(Takes),
    Get,
    Head,
    Include,
    /// It changes only how `curl` shows things.
    Nothing,
    /// Its value too.
    NothingWithValue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    Method,
    Header,
    Data,
    RawData,
    Encoded,
    Json,
    Url,
    Agent,
    TimeMax,
}

/// The options that are understood: short name, long name, what it does.
const OPTIONS: [(Option<char>, &str, Meaning); 24] = [
    (Some('X'), "request", Meaning::Takes(Takes::Method)),
    (Some('H'), "header", Meaning::Takes(Takes::Header)),
    (Some('d'), "data", Meaning::Takes(Takes::Data)),
    (None, "data-ascii", Meaning::Takes(Takes::Data)),
    (None, "data-binary", Meaning::Takes(Takes::Data)),
    (None, "data-raw", Meaning::Takes(Takes::RawData)),
    (None, "data-urlencode", Meaning::Takes(Takes::Encoded)),
    (None, "json", Meaning::Takes(Takes::Json)),
    (None, "url", Meaning::Takes(Takes::Url)),
    (Some('A'), "user-agent", Meaning::Takes(Takes::Agent)),
    (Some('m'), "max-time", Meaning::Takes(Takes::TimeMax)),
    (None, "connect-timeout", Meaning::NothingWithValue),
    (Some('G'), "get", Meaning::Get),
    (Some('I'), "head", Meaning::Head),
    (Some('i'), "include", Meaning::Include),
    (None, "show-headers", Meaning::Include),
    (Some('s'), "silent", Meaning::Nothing),
    (Some('S'), "show-error", Meaning::Nothing),
    (Some('v'), "verbose", Meaning::Nothing),
    (Some('N'), "no-buffer", Meaning::Nothing),
    (Some('f'), "fail", Meaning::Nothing),
    (None, "fail-with-body", Meaning::Nothing),
    (None, "compressed", Meaning::Nothing),
    (None, "http1.1", Meaning::Nothing),
];

/// What the options have said so far.
#[derive(Debug, Default)]
struct Said {
    method: Option<Method>,
    headers: HeaderMap,
    data: Option<String>,
    is_json: bool,
    is_get: bool,
    is_head: bool,
    with_headers: bool,
    urls: Vec<String>,
    time_max: Option<Duration>,
}

/// Reads a command.
///
/// # Errors
/// In words for the assistant: why this is no request to the router.
pub(super) fn read(command: &str, origin: &Origin) -> Result<Command, String> {
    let mut words = words::split(command)?.into_iter();
    match words.next().as_deref() {
        Some("curl") => {}
        Some(other) => return Err(format!("only `curl` commands are understood, not `{other}`")),
        None => return Err("the command is empty".to_owned()),
    }
    let mut said = Said::default();
    while let Some(word) = words.next() {
        if let Some(long) = word.strip_prefix("--") {
            let option = OPTIONS.iter().find(|(_, name, _)| *name == long).ok_or_else(|| refused(&word))?.2;
            let value = if takes_value(option) { Some(words.next().ok_or_else(|| format!("{word} needs a value"))?) } else { None };
            said.take(option, &word, value)?;
        } else if word.len() > 1 && word.starts_with('-') {
            short(&word[1..], &mut words, &mut said)?;
        } else {
            said.urls.push(word);
        }
    }
    said.finish(origin)
}

/// Short options, several in a word; the value of the last may stand in the same word.
fn short(letters: &str, words: &mut impl Iterator<Item = String>, said: &mut Said) -> Result<(), String> {
    let mut rest = letters.chars();
    while let Some(letter) = rest.next() {
        let name = format!("-{letter}");
        let option = OPTIONS.iter().find(|(short, ..)| *short == Some(letter)).ok_or_else(|| refused(&name))?.2;
        if !takes_value(option) {
            said.take(option, &name, None)?;
            continue;
        }
        let here = rest.as_str();
        let value = if here.is_empty() { words.next() } else { Some(here.to_owned()) };
        return said.take(option, &name, Some(value.ok_or_else(|| format!("{name} needs a value"))?));
    }
    Ok(())
}

fn takes_value(option: Meaning) -> bool {
    matches!(option, Meaning::Takes(_) | Meaning::NothingWithValue)
}

fn refused(option: &str) -> String {
    let known: Vec<String> =
        OPTIONS.iter().map(|(short, long, _)| short.map_or_else(|| format!("--{long}"), |short| format!("-{short}"))).collect();
    format!(
        "the option {option} is not taken here: no file is read or written, no proxy, redirect or credential is set; {} are",
        known.join(" ")
    )
}

impl Said {
    fn take(&mut self, option: Meaning, name: &str, value: Option<String>) -> Result<(), String> {
        let value = value.unwrap_or_default();
        let takes = match option {
            Meaning::Nothing | Meaning::NothingWithValue => return Ok(()),
            Meaning::Get => return self.switch(|said| said.is_get = true),
            Meaning::Head => return self.switch(|said| (said.is_head, said.with_headers) = (true, true)),
            Meaning::Include => return self.switch(|said| said.with_headers = true),
            Meaning::Takes(takes) => takes,
        };
        let names_file =
            value.starts_with('@') || (takes == Takes::Encoded && value.split('=').next().is_some_and(|name| name.contains('@')));
        if names_file && takes != Takes::RawData && takes != Takes::Url {
            return Err(format!("{name} {value} would read a file: write the content itself"));
        }
        match takes {
            Takes::Method => self.method = Some(value.parse().map_err(|_| format!("`{value}` is no method"))?),
            Takes::Header => self.header(&value)?,
            Takes::Data | Takes::RawData => self.add("&", &value),
            Takes::Encoded => self.add("&", &encoded(&value)),
            Takes::Json => {
                self.is_json = true;
                self.add("", &value);
            }
            Takes::Url => self.urls.push(value),
            Takes::Agent => self.header(&format!("User-Agent: {value}"))?,
            Takes::TimeMax => {
                let seconds = value.parse::<f64>().ok().filter(|seconds| *seconds > 0.0 && *seconds <= TIMEOUT_S_MAX as f64);
                let seconds = seconds.ok_or_else(|| format!("{name} takes up to {TIMEOUT_S_MAX} seconds, not `{value}`"))?;
                self.time_max = Some(Duration::from_secs_f64(seconds));
            }
        }
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "it ends a match whose other arms may fail")]
    fn switch(&mut self, on: impl FnOnce(&mut Self)) -> Result<(), String> {
        on(self);
        Ok(())
    }

    fn add(&mut self, between: &str, data: &str) {
        match &mut self.data {
            Some(before) => {
                before.push_str(between);
                before.push_str(data);
            }
            None => self.data = Some(data.to_owned()),
        }
    }

    /// `Name: value`, `Name;` for an empty one; `Name:` takes away what `curl` would send, which is nothing here.
    fn header(&mut self, written: &str) -> Result<(), String> {
        let (name, value) = match written.split_once(':') {
            Some((_, value)) if value.trim().is_empty() => return Ok(()),
            Some((name, value)) => (name, value.trim()),
            None => (written.strip_suffix(';').ok_or_else(|| format!("`{written}` is no header"))?, ""),
        };
        let name: HeaderName = name.trim().parse().map_err(|_| format!("`{name}` is no header's name"))?;
        if OWN_HEADERS.contains(&name) {
            return Err(format!("the header `{name}` is the connection's own"));
        }
        let value = HeaderValue::from_str(value).map_err(|_| format!("the value of `{name}` has characters that no header may have"))?;
        self.headers.append(name, value);
        Ok(())
    }

    fn finish(mut self, origin: &Origin) -> Result<Command, String> {
        let url = match self.urls.as_slice() {
            [only] if only.contains(['{', '}']) => return Err("`{` and `}` in an address are not expanded here".to_owned()),
            [only] => only.clone(),
            [] => return Err("the command names no address".to_owned()),
            [_, second, ..] => return Err(format!("one address at a time; `{second}` is one too many")),
        };
        let mut data = self.data.take();
        let url = match data.take_if(|_| self.is_get) {
            Some(query) => format!("{url}{}{query}", if url.contains('?') { '&' } else { '?' }),
            None => url,
        };
        let uri = origin.place(&url)?;
        let method = self.method.take().unwrap_or(match &data {
            _ if self.is_head => Method::HEAD,
            Some(_) => Method::POST,
            None => Method::GET,
        });
        if method == Method::CONNECT {
            return Err("CONNECT opens no tunnel here".to_owned());
        }
        if let Some(data) = &data {
            // `curl` would call it a form; here it is what it looks like.
            let is_json = self.is_json || serde_json::from_str::<serde::de::IgnoredAny>(data).is_ok();
            let kind = if is_json { "application/json" } else { "application/x-www-form-urlencoded" };
            self.headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static(kind));
        }
        if self.is_json {
            self.headers.entry(header::ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        }
        let Self { headers, with_headers, time_max, .. } = self;
        Ok(Command { method, uri, headers, body: data.unwrap_or_default(), with_headers, time_max })
    }
}

/// `content`, `=content` or `name=content`, with the content encoded.
fn encoded(value: &str) -> String {
    match value.split_once('=') {
        Some(("", content)) => utf8_percent_encode(content, ENCODED).to_string(),
        Some((name, content)) => format!("{name}={}", utf8_percent_encode(content, ENCODED)),
        None => utf8_percent_encode(value, ENCODED).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(command: &str) -> Result<Command, String> {
        super::read(command, &Origin::of("http://127.0.0.1:8080").expect("an address"))
    }

    #[test]
    fn a_request_is_read_as_curl_would() {
        let made = read(r#"curl -sS -XPUT 127.0.0.1:8080/api/x -H 'X-Extra: a b' -H 'Accept:' -d '{"a":1}' -i -m 2.5"#).expect("a request");
        assert_eq!(
            (made.method, made.uri.to_string().as_str(), made.body.as_str()),
            (Method::PUT, "http://127.0.0.1:8080/api/x", r#"{"a":1}"#)
        );
        assert_eq!(made.headers["x-extra"], "a b");
        assert_eq!(made.headers[header::CONTENT_TYPE], "application/json");
        assert!(made.with_headers && !made.headers.contains_key(header::ACCEPT));
        assert_eq!(made.time_max, Some(Duration::from_millis(2500)));
    }

    #[test]
    fn data_decides_the_method_and_where_it_goes() {
        let post = read("curl http://127.0.0.1:8080/x -d a=1 --data-raw @b --data-urlencode 'c=x y'").expect("a request");
        assert_eq!((post.method, post.body.as_str()), (Method::POST, "a=1&@b&c=x%20y"));
        assert_eq!(post.headers[header::CONTENT_TYPE], "application/x-www-form-urlencoded");
        let get = read("curl -G http://127.0.0.1:8080/x?z=0 --data a=1").expect("a request");
        assert_eq!((get.method, get.uri.to_string().as_str(), get.body.as_str()), (Method::GET, "http://127.0.0.1:8080/x?z=0&a=1", ""));
        assert_eq!(read("curl -I http://127.0.0.1:8080/").expect("a request").method, Method::HEAD);
        assert_eq!(read("curl --json '{}' --url http://127.0.0.1:8080/").expect("a request").headers[header::ACCEPT], "application/json");
        assert_eq!(read("curl http://127.0.0.1:8080/ -H 'X-Empty;'").expect("a request").headers["x-empty"], "");
    }

    #[test]
    fn all_else_is_refused() {
        for rest in [
            "-o x",
            "--output x",
            "-O",
            "-K x",
            "--config x",
            "-x http://127.0.0.1:9",
            "--proxy p",
            "-T x",
            "-F a=b",
            "-u a:b",
            "-b c=d",
            "-L",
            "-k",
            "-E cert",
            "--unix-socket x",
            "--resolve a:1:b",
            "--connect-to a",
            "-w x",
            "-D x",
            "--next",
            "--data=x",
            "-Zs",
            "-d @x",
            "--data-binary @x",
            "--json @x",
            "--data-urlencode @x",
            "--data-urlencode n@x",
            "-H @x",
            "-H 'Host: x'",
            "-H 'Content-Length: 3'",
            "-H x",
            "-X 'A B'",
            "-X CONNECT",
            "-m 0",
            "-m 301",
            "-m x",
            "-d",
            "http://127.0.0.1:8080/b",
            "-H 'A: \u{1}'",
        ] {
            assert!(read(&format!("curl http://127.0.0.1:8080/a {rest}")).is_err(), "{rest}");
        }
        for command in [
            "",
            "curl",
            "wget http://127.0.0.1:8080/",
            "/usr/bin/curl http://127.0.0.1:8080/",
            "curl http://127.0.0.1:8080/{a,b}",
            "curl -s",
        ] {
            assert!(read(command).is_err(), "{command}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_goes_to_the_router(rest in prop::collection::vec("(-[A-Za-z]|--[a-z-]{1,12}|[a-z@:/.0-9=]{0,20}|http://127.0.0.1:8080/[a-z]*)", 0..8)) {
            if let Ok(made) = read(&format!("curl {}", rest.join(" "))) {
                prop_assert_eq!(made.uri.authority().map(http::uri::Authority::as_str), Some("127.0.0.1:8080"));
            }
        }
    }
}
