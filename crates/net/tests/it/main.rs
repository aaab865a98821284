//! The client against an upstream that behaves as badly as upstreams do.

mod cancel;
mod deadlines;
mod download;
mod exchanges;
mod guard;
mod proxies;
mod raw;
mod tether;
mod tls;

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use net::{Body, Client, Error, ResponseBody, Settings, Timeouts, read_all};
use testkit::FakeUpstream;

/// Long enough never to run out in a test that does not want it to.
const PATIENT: Timeouts = Timeouts {
    connect: Duration::from_secs(30),
    first_byte: Duration::from_secs(30),
    idle: Duration::from_secs(30),
    total: Duration::from_mins(1),
};
/// Short, for what must run out.
const SHORT: Duration = Duration::from_millis(30);

fn client() -> Client {
    Client::new(Settings { idle_plain: Duration::from_secs(30), ..Settings::default() })
}

fn post(upstream: &FakeUpstream, body: impl Into<Body>) -> Request<Body> {
    Request::post(format!("{}/chat/completions", upstream.base_url())).body(body.into()).expect("a request")
}

async fn text(response: Response<ResponseBody>) -> Result<String, Error> {
    let bytes = read_all(response.into_body(), 1 << 20).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn chat(client: &Client, upstream: &FakeUpstream) -> Result<String, Error> {
    text(client.send(post(upstream, Bytes::from_static(b"{\"model\":\"m\"}")), &PATIENT).await?).await
}
