//! Equal requests at once: one leads, the others wait for what comes of it.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use crate::{answer::Answer, key::Key};

/// Parts of the map, so that unequal requests seldom wait for one lock.
const SHARDS: usize = 16;

/// Who leads for which request. Each entry belongs to a request that runs, so there are no more of them than of those.
#[derive(Default)]
pub(crate) struct Flights([Mutex<HashMap<Key, watch::Receiver<Landing>>>; SHARDS]);

/// What came of a leader.
#[derive(Debug, Clone, Default)]
pub(crate) enum Landing {
    #[default]
    Flying,
    Landed(Arc<Answer>),
    /// It has no answer that others may have.
    Failed,
    /// Its caller has gone.
    Abandoned,
}

/// A place in a flight.
pub(crate) enum Seat {
    Leads(Flight),
    Follows(watch::Receiver<Landing>),
}

/// The leader's end of a flight; dropped without a word it is abandoned.
pub(crate) struct Flight {
    flights: Arc<Flights>,
    key: Key,
    landing: Option<watch::Sender<Landing>>,
}

impl Flights {
    fn shard(&self, key: &Key) -> &Mutex<HashMap<Key, watch::Receiver<Landing>>> {
        &self.0[key.shard(SHARDS)]
    }

    /// Leads for `key`, or follows whoever does.
    pub(crate) fn join(self: &Arc<Self>, key: Key) -> Seat {
        let mut flying = self.shard(&key).lock().unwrap_or_else(PoisonError::into_inner);
        match flying.entry(key) {
            Entry::Occupied(entry) => Seat::Follows(entry.get().clone()),
            Entry::Vacant(entry) => {
                let (landing, seen) = watch::channel(Landing::Flying);
                entry.insert(seen);
                Seat::Leads(Flight { flights: self.clone(), key, landing: Some(landing) })
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.0.iter().map(|shard| shard.lock().unwrap().len()).sum()
    }
}

impl Flight {
    /// Ends it: whoever comes from now on does not follow any more.
    pub(crate) fn land(mut self, landing: Landing) {
        self.end(landing);
    }

    fn end(&mut self, landing: Landing) {
        let Some(sender) = self.landing.take() else { return };
        self.flights.shard(&self.key).lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
        sender.send_replace(landing);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.end(Landing::Abandoned);
    }
}
