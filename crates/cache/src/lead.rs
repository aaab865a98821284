//! The duty of the one who goes to an upstream: to say what came of it.

use std::{sync::Arc, time::Duration};

use store::leases::Lease;
use tokio::runtime::Handle;

use crate::{
    answer::Answer,
    answers::Answers,
    flight::{Flight, Landing},
    key::Key,
};

/// Leave to remember the answer to a request. Others may be waiting for it; dropped without a word, the next of them goes.
#[must_use = "others wait for what comes of it"]
pub struct Lead {
    pub(crate) answers: Arc<Answers>,
    pub(crate) key: Key,
    pub(crate) ttl: Duration,
    /// `None` where nobody waits for this one.
    pub(crate) flight: Option<Flight>,
    /// Keeps the other routers of a shared Redis from going too; given back when the answer is where they look for it.
    pub(crate) lease: Option<Lease>,
}

impl Lead {
    /// Keeps an answer and gives it to those who wait. One that is too large to be kept is theirs all the same.
    pub async fn remember(self, answer: Answer) {
        let answer = Arc::new(answer.kept(store::now_ms(), self.ttl));
        self.answers.keep(self.key, &answer, self.ttl).await;
        self.share(answer);
    }

    /// Gives those who wait what was found.
    pub(crate) fn share(self, answer: Arc<Answer>) {
        if let Some(flight) = self.flight {
            flight.land(Landing::Landed(answer));
        }
    }

    /// As [`Self::remember`], by someone who cannot wait: what goes to Redis goes there on `behind`, unless too much is waiting already.
    pub fn remember_behind(self, answer: Answer, behind: &Handle) {
        if self.answers.shared().is_none() {
            let answer = Arc::new(answer.kept(store::now_ms(), self.ttl));
            self.answers.keep_here(self.key, &answer);
            return self.share(answer);
        }
        match self.answers.writes.clone().try_acquire_owned() {
            Ok(place) => {
                behind.spawn(async move {
                    self.remember(answer).await;
                    drop(place);
                });
            }
            Err(_) => self.fail(),
        }
    }

    /// There is no answer, or none that others may have.
    pub fn fail(self) {
        if let Some(flight) = self.flight {
            flight.land(Landing::Failed);
        }
    }
}
