use bytes::Bytes;
use http::Request;
use net::{Body, Client, Error, ProxySettings, Settings};
use testkit::{FakeUpstream, Reply, Script};

use crate::PATIENT;

fn through(proxy: ProxySettings) -> Client {
    Client::new(Settings { proxy, ..Settings::default() })
}

fn get(url: &str) -> Request<Body> {
    Request::get(url).body(Body::empty()).expect("a request")
}

#[tokio::test]
async fn plain_requests_go_to_the_proxy_in_absolute_form() {
    let proxy = FakeUpstream::start(Script::default().on("http://api.example/v1/x", Reply::whole("text/plain", "via")));
    let url = proxy.url().replace("http://", "http://me:pass@");
    let client = through(ProxySettings { http: url, ..ProxySettings::default() });
    let answer = client.fetch(get("http://api.example/v1/x"), &PATIENT, 100).await.expect("an answer");
    assert_eq!(answer.body(), &Bytes::from_static(b"via"));
    let seen = proxy.request().await;
    assert_eq!(seen.target, "http://api.example/v1/x");
    assert_eq!(seen.header("host"), Some("api.example"));
    assert_eq!(seen.header("proxy-authorization"), Some("Basic bWU6cGFzcw=="));
}

#[tokio::test]
async fn exempt_destinations_are_reached_directly() {
    let upstream = FakeUpstream::start(Script::default());
    let proxy = FakeUpstream::start(Script::default());
    let settings = ProxySettings { all: proxy.url(), none: "example.com, 127.0.0.0/8".into(), ..ProxySettings::default() };
    through(settings).fetch(get(&format!("{}/models", upstream.base_url())), &PATIENT, 1000).await.expect("an answer");
    assert_eq!((upstream.requests().len(), proxy.connections()), (1, 0));
}

#[tokio::test]
async fn tls_goes_through_a_tunnel() {
    let proxy = FakeUpstream::start(Script::always(Reply::error(403)));
    let client = through(ProxySettings { https: proxy.url(), ..ProxySettings::default() });
    let error = client.send(get("https://api.example/v1/x"), &PATIENT).await.expect_err("the proxy refuses");
    assert!(matches!(error, Error::Connect { .. }) && !error.was_sent(), "{error:?}");
    let seen = proxy.request().await;
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("CONNECT", "api.example:443"));
}

#[tokio::test]
async fn a_proxy_that_is_no_http_proxy_is_refused() {
    let client = through(ProxySettings { all: "socks5://127.0.0.1:1080".into(), ..ProxySettings::default() });
    let error = client.send(get("http://api.example/"), &PATIENT).await.expect_err("not supported");
    assert!(error.to_string().contains("socks5"), "{error}");
}
