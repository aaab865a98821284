//! A node that has a request and says nothing may be at work on a long prompt, stopped, or behind a network that swallows everything. So it is asked
//! whether it is there, as long as a request waits for its first byte or it has not answered that question: whoever works answers at once.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{Fleet, live::Live, record::Kind, view::Peer};

/// A request is answered or begun within this, or its node is asked whether it is there.
const LOOK_AFTER: Duration = Duration::from_secs(1);
/// Between two questions.
const ROUND: Duration = Duration::from_secs(1);
/// What a node has at least to answer.
const ANSWER_TIME_MIN: Duration = Duration::from_millis(500);
/// Most that is read of an answer, which says nothing but that there is one.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Why a request waits no longer for a node that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// It has been silent for so long that it counts as gone.
    Gone,
    /// It does not even answer when it is asked whether it is there, and another could be asked instead.
    Mute,
    /// It answers that question, but has said nothing of this request in the time that it may take while another could be asked instead.
    Late,
}

impl Fleet {
    /// Resolves when a request that waits for the first byte of `peer`'s answer should wait no longer. `has_others`: there are targets beside the
    /// fleet. `patience`: how long one that is there may take while another could be asked. A node that nobody could stand in for is waited for until it is
    /// gone.
    pub async fn lost(&self, peer: &Peer, model: &str, has_others: bool, patience: Option<Duration>) -> Lost {
        let began = Instant::now();
        let could_move = || has_others || self.view.load().has_other(model, peer);
        // The usual request is answered sooner, and costs one timer only.
        if !(self.is_gone(peer) || peer.live.is_mute() && could_move()) {
            sleep(LOOK_AFTER.min(self.gone_in(peer))).await;
        }
        let _vigil = Vigil::of(self, peer);
        let mut changes = self.changes();
        loop {
            changes.mark_unchanged();
            if self.is_gone(peer) {
                return Lost::Gone;
            }
            if peer.live.is_mute() && could_move() {
                return Lost::Mute;
            }
            if patience.is_some_and(|patience| began.elapsed() >= patience) && could_move() {
                return Lost::Late;
            }
            let pause = LOOK_AFTER.min(self.gone_in(peer));
            // The sender is the fleet's own.
            let _ = tokio::time::timeout(pause, changes.changed()).await;
        }
    }

    fn is_gone(&self, peer: &Peer) -> bool {
        self.left_ms(peer) < 0 || self.view.load().peer(&peer.id).is_none_or(|now| now.is_offline())
    }

    fn gone_in(&self, peer: &Peer) -> Duration {
        Duration::from_millis(self.left_ms(peer).max(1).unsigned_abs())
    }

    fn left_ms(&self, peer: &Peer) -> i64 {
        self.timeout_ms() - peer.silent_ms(self.clock.tick_ms())
    }

    /// Asks those who have to be asked; never returns. Part of [`Fleet::tend`].
    pub(crate) async fn keep_vigil(self: &Arc<Self>) {
        // At most as many as there are nodes. Dropped with this future, and all tasks with it.
        let (mut tasks, mut asked) = (JoinSet::new(), HashSet::new());
        loop {
            let view = self.view();
            for peer in view.watched() {
                if asked.insert(peer.id.clone()) {
                    tasks.spawn(self.clone().ask(peer.clone()));
                }
            }
            drop(view);
            tokio::select! {
                () = self.vigils.notified() => {}
                // Looked at once more: somebody may have begun to wait as it ended.
                Some(ended) = tasks.join_next() => if let Ok(id) = ended {
                    asked.remove(&id);
                },
            }
        }
    }

    /// Asks one node again and again, as long as it has to be.
    async fn ask(self: Arc<Self>, peer: Arc<Peer>) -> Arc<str> {
        while peer.live.is_watched() && !self.is_gone(&peer) {
            // One that is known to be silent is looked for as often as may be.
            let silence = if peer.live.is_mute() { LOOK_AFTER + ROUND } else { self.settings().silence_timeout };
            let time = silence.saturating_sub(LOOK_AFTER).max(ANSWER_TIME_MIN);
            let answer = self.read(&format!("{}{}", peer.url, peer.question), &peer.router_secret, time, ANSWER_BYTES_MAX).await;
            self.answered(&peer, answer.err());
            sleep(ROUND).await;
        }
        peer.live.set_mute(false);
        peer.id.clone()
    }

    /// It is there, or not, and why.
    fn answered(&self, peer: &Peer, fault: Option<String>) {
        let is_mute = fault.is_some();
        if peer.live.set_mute(is_mute) == is_mute {
            return;
        }
        match fault {
            Some(why) => {
                tracing::warn!(node = %peer.id, name = %peer.name, why, "a node has requests and does not answer when it is asked whether it is there: it is asked last");
            }
            None => tracing::info!(node = %peer.id, name = %peer.name, "a node answers again"),
        }
        self.publish(&self.registry());
    }
}

/// A request that waits. As long as one does, its node is asked.
struct Vigil(Arc<Live>);

impl Vigil {
    fn of(fleet: &Fleet, peer: &Peer) -> Self {
        if peer.live.waited_for() && peer.kind != Kind::Agent {
            fleet.vigils.notify_one();
        }
        Self(peer.live.clone())
    }
}

impl Drop for Vigil {
    fn drop(&mut self) {
        self.0.left_alone();
    }
}
