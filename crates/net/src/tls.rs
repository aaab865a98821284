//! TLS: one configuration for all pools, built at the first `https` destination.

use std::sync::{Arc, OnceLock};

use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio_rustls::TlsConnector;

/// Built lazily: reading the platform's roots takes milliseconds and memory that a router with plain upstreams never needs.
#[derive(Clone, Default)]
pub(crate) struct Tls(Arc<OnceLock<Result<TlsConnector, String>>>);

impl Tls {
    /// The connector; the first call reads the roots on a thread where blocking is allowed.
    pub(crate) async fn connector(&self) -> Result<TlsConnector, String> {
        if let Some(made) = self.0.get() {
            return made.clone();
        }
        let cell = self.0.clone();
        tokio::task::spawn_blocking(move || cell.get_or_init(|| client_config().map(|config| TlsConnector::from(Arc::new(config)))).clone())
            .await
            .unwrap_or_else(|error| Err(error.to_string()))
    }
}

/// The platform's roots, or the bundled ones where the platform has none (a bare container).
fn client_config() -> Result<ClientConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = || ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let platform = builder().and_then(BuilderVerifierExt::with_platform_verifier);
    let mut config = match platform {
        Ok(config) => config.with_no_client_auth(),
        Err(error) => {
            tracing::warn!(%error, "the platform has no root certificates; using the bundled ones");
            let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
            builder().map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth()
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
