use std::{fs, net::SocketAddr, process::Command, sync::Arc};

use http::Request;
use net::{Body, Error};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use crate::{PATIENT, client};

/// Where the client finds the platform's roots, in place of the directories.
const ROOTS: &str = "SSL_CERT_FILE";
/// The file in the working directory that tells the child of a test what to ask.
const URL_FILE: &str = "url-to-ask";

/// A server with a certificate of its own for `localhost`; answers every request over every connection. Returns the certificate as PEM.
async fn serve() -> (SocketAddr, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key))
        .expect("a configuration");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await?;
                let mut buffer = vec![0; 4096];
                while stream.read(&mut buffer).await? > 0 {
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await?;
                }
                Ok::<_, std::io::Error>(())
            });
        }
    });
    (address, made.cert.pem())
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let (address, _) = serve().await;
    let request = Request::get(format!("https://localhost:{}/", address.port())).body(Body::empty()).expect("a request");
    let error = client().fetch(request, &PATIENT, 100).await.expect_err("an unknown issuer");
    assert!(matches!(&error, Error::Connect { cause, .. } if cause.contains("certificate")) && !error.was_sent(), "{error:?}");
}

/// Plays both parts: the roots are read from the environment, so the client is a process of its own.
#[tokio::test]
async fn the_platforms_roots_are_trusted() {
    if let Ok(url) = fs::read_to_string(URL_FILE) {
        let client = client();
        for _ in 0..3 {
            let request = Request::get(&url).body(Body::empty()).expect("a request");
            assert_eq!(&client.fetch(request, &PATIENT, 100).await.expect("an answer").body()[..], b"hi");
        }
        return;
    }
    let (address, certificate) = serve().await;
    let dir = tempfile::tempdir().expect("a directory");
    let roots = dir.path().join("roots.pem");
    fs::write(&roots, certificate).expect("written");
    fs::write(dir.path().join(URL_FILE), format!("https://localhost:{}/", address.port())).expect("written");
    let mut child = Command::new(std::env::current_exe().expect("this program"));
    child.args(["--exact", "tls::the_platforms_roots_are_trusted"]).env(ROOTS, &roots).current_dir(dir.path());
    let output = tokio::task::spawn_blocking(move || child.output()).await.expect("no panic").expect("a child");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
