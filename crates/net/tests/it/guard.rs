//! Clients that may not go everywhere.

use http::Request;
use net::{Body, Client, Error, ProxySettings, Reach, Settings};
use testkit::{FakeUpstream, Script};

use crate::{PATIENT, client};

async fn get(client: &Client, url: &str) -> Result<u16, Error> {
    let request = Request::get(url).body(Body::empty()).expect("a request");
    client.fetch(request, &PATIENT, 1000).await.map(|answer| answer.status().as_u16())
}

/// Everything that means this machine, at a port.
fn names(port: u16) -> [String; 5] {
    ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "127.1"].map(|host| format!("http://{host}:{port}/"))
}

#[tokio::test]
async fn what_is_too_near_is_not_even_connected_to() {
    let upstream = FakeUpstream::start(Script::default());
    let port = upstream.address().port();
    for reach in [Reach::Public, Reach::Private] {
        for url in names(port).iter().chain(&["http://[::1]/".to_owned(), "http://169.254.169.254/".to_owned()]) {
            let said = get(&client().within(reach), url).await.expect_err(url);
            assert!(matches!(&said, Error::Barred { .. }) && !said.was_sent(), "{url}: {said}");
        }
    }
    let said = get(&client().within(Reach::LinkLocal), "http://[::ffff:169.254.169.254]/latest").await.expect_err("metadata");
    assert_eq!(said.to_string(), "[::ffff:169.254.169.254] is at ::ffff:169.254.169.254, and nothing may be sent there");
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn what_is_far_enough_is_reached_by_name_and_by_address() {
    let upstream = FakeUpstream::start(Script::default());
    let port = upstream.address().port();
    for url in &names(port)[..2] {
        assert!(get(&client().within(Reach::Loopback), url).await.is_ok(), "{url}");
    }
    // Lines of a client that may go anywhere are no way around it.
    let open = client();
    assert!(get(&open, &names(port)[0]).await.is_ok());
    assert!(matches!(get(&open.within(Reach::Public), &names(port)[0]).await, Err(Error::Barred { .. })));
}

#[tokio::test]
async fn a_proxy_may_stand_anywhere_but_is_not_asked_for_what_is_barred() {
    let proxy = FakeUpstream::start(Script::default());
    let settings = Settings { proxy: ProxySettings { http: proxy.url(), ..ProxySettings::default() }, ..Settings::default() };
    let client = Client::new(settings).within(Reach::Public);
    assert!(get(&client, "http://somewhere.invalid/").await.is_ok());
    assert!(matches!(get(&client, "http://10.0.0.1/").await, Err(Error::Barred { .. })));
    assert_eq!(proxy.requests().len(), 1);
}
