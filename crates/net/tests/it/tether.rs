//! Connections that are held for their end only.

use http::Uri;
use net::{Error, Reach};
use testkit::{FakeUpstream, Script};

use crate::{PATIENT, client};

#[tokio::test]
async fn its_end_is_that_of_the_other_side_and_then_nobody_listens() {
    let upstream = FakeUpstream::start(Script::default());
    let to: Uri = format!("{}/any/path", upstream.url()).parse().expect("a URL");
    let client = client().within(Reach::Loopback);
    let tether = client.tether(&to, PATIENT.connect).await.expect("somebody listens");
    drop(upstream);
    tether.parted().await;
    let error = client.tether(&to, PATIENT.connect).await.expect_err("nobody listens");
    assert!(error.is_refusal(), "{error:?}");
}

#[tokio::test]
async fn it_goes_no_nearer_than_its_client_may() {
    let upstream = FakeUpstream::start(Script::default());
    let to: Uri = upstream.url().parse().expect("a URL");
    let error = client().within(Reach::Private).tether(&to, PATIENT.connect).await.expect_err("barred");
    assert!(matches!(error, Error::Barred { .. }) && !error.is_refusal(), "{error:?}");
    assert_eq!(upstream.connections(), 0);
}
