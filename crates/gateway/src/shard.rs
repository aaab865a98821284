//! What belongs to one serving runtime: its upstream connections and its limits.

use std::{sync::Arc, time::Duration};

use crate::app::App;

/// Limits at the door, read once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub body_bytes_max: usize,
    pub form_bytes_max: u64,
    pub header_bytes_max: usize,
    pub header_timeout: Duration,
    /// How long a caller may take nothing of its answer.
    pub idle: Duration,
}

/// One runtime's share of the house.
pub struct Shard {
    pub app: Arc<App>,
    /// Connections to upstreams never change their runtime.
    pub client: net::Client,
    /// And those to nodes: past the proxies, and never to a cloud's services that give out credentials.
    pub node_client: net::Client,
    pub limits: Limits,
    /// Where its connections leave what they write, callers' and upstreams'.
    pub outbox: net::Outbox,
}

impl Shard {
    /// The share of the runtime that this is called in.
    pub fn new(app: Arc<App>) -> Self {
        let outbox = net::Outbox::new();
        let (client, node_client) = (app.client.through(outbox.clone()), app.node_client.through(outbox.clone()));
        let house = app.house();
        let server = &house.config.server;
        let limits = Limits {
            body_bytes_max: usize::try_from(server.max_body_bytes).unwrap_or(usize::MAX),
            form_bytes_max: server.max_upload_bytes,
            // hyper refuses less than 8 KiB.
            header_bytes_max: (server.max_header_bytes as usize).max(8 << 10),
            header_timeout: server.header_timeout,
            idle: house.config.timeouts.idle,
        };
        drop(house);
        Self { app, client, node_client, limits, outbox }
    }
}
