//! One open connection to every node that bears it. Nothing is said over it: when the node's process ends, its system closes the connection, and
//! nothing more is sent there, long before the node would have missed a heartbeat.
//!
//! The end of a connection by itself says little, for servers close what is idle. So another is opened at once, and only where nobody listens any
//! more the node is cut off: asked last, until a connection stands again.

use std::{collections::HashMap, sync::Arc, time::Duration};

use http::Uri;
use tokio::{
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep},
};

use crate::{Fleet, live::Live, view::Peer};

/// How long the opening of one may take. Silence is judged by heartbeats, not here.
const OPEN_TIME: Duration = Duration::from_secs(5);
/// One that stood so long was closed for being idle, or with its process: it is followed at once.
const STOOD: Duration = Duration::from_secs(1);
/// Pause before the next where it could not be opened or did not stand; doubled from one to the other.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A node that is watched.
struct Tied {
    url: Arc<str>,
    live: Arc<Live>,
    task: AbortHandle,
}

impl Tied {
    fn is_to(&self, peer: &Peer) -> bool {
        self.url == peer.url && Arc::ptr_eq(&self.live, &peer.live)
    }
}

impl Fleet {
    /// Holds a connection to each node that is there, as nodes come and go; never returns. Part of [`Fleet::tend`].
    pub(crate) async fn hold_tethers(self: &Arc<Self>) {
        let mut changes = self.changes();
        // At most as many as there are nodes. Dropped with this future, and all tasks with it.
        let (mut tasks, mut tied) = (JoinSet::new(), HashMap::<Arc<str>, Tied>::new());
        loop {
            let view = self.view();
            tied.retain(|id, tied| {
                let stays = view.peer(id).is_some_and(|peer| peer.is_tethered && tied.is_to(peer));
                if !stays {
                    tied.task.abort();
                    tied.live.set_cut_off(false);
                }
                stays
            });
            for peer in view.tethered() {
                if !tied.contains_key(&peer.id) {
                    let task = tasks.spawn(self.clone().hold_tether(peer.clone()));
                    tied.insert(peer.id.clone(), Tied { url: peer.url.clone(), live: peer.live.clone(), task });
                }
            }
            drop(view);
            while tasks.try_join_next().is_some() {}
            // The sender is the fleet's own, and the fleet is ours.
            let _ = changes.changed().await;
        }
    }

    async fn hold_tether(self: Arc<Self>, peer: Arc<Peer>) {
        let Ok(url) = peer.url.parse::<Uri>() else { return };
        let mut pause = PAUSE_MIN;
        loop {
            match self.client.tether(&url, OPEN_TIME).await {
                Ok(tether) => {
                    self.found(&peer, true);
                    let since = Instant::now();
                    tether.parted().await;
                    if since.elapsed() >= STOOD {
                        pause = PAUSE_MIN;
                        continue;
                    }
                }
                Err(error) if error.is_refusal() => self.found(&peer, false),
                Err(_) => {}
            }
            tokio::select! {
                () = sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
                () = peer.live.stirs() => pause = PAUSE_MIN,
            }
        }
    }

    /// Somebody listens at a node's address, or nobody.
    fn found(&self, peer: &Peer, listens: bool) {
        let was_cut_off = peer.live.set_cut_off(!listens);
        if was_cut_off != listens {
            return;
        }
        if listens {
            tracing::info!(node = %peer.id, name = %peer.name, "a node can be reached again");
        } else {
            tracing::warn!(node = %peer.id, name = %peer.name, "nobody listens at a node's address any more: it is asked last");
        }
        self.publish(&self.registry());
    }
}
