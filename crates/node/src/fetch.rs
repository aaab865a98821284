//! What fetches models, made from the settings.

use config::NodeSettings;
use models::{Puller, hub::Hub};
use net::{Client, download::DownloadOptions};

/// The hub of the settings.
pub fn hub(settings: &NodeSettings, client: Client) -> Hub {
    Hub::new(client, &settings.hub.url, settings.hub.token.as_ref().map(config::Secret::expose))
}

/// What brings models into the models directory.
pub fn puller(settings: &NodeSettings, client: Client) -> Puller {
    let wanted = &settings.downloads;
    let options = DownloadOptions {
        attempts_max: wanted.retries,
        backoff: wanted.backoff,
        parallel: wanted.concurrency as usize,
        bytes_per_second_max: wanted.rate_bytes_max,
        reserve_bytes: wanted.reserve_bytes,
        ..DownloadOptions::default()
    };
    Puller::new(client, &settings.models_dir, options).with_chunk_bytes(wanted.chunk_bytes)
}
