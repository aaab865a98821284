//! The deposit: a permit that settles by itself.

use std::{fmt, sync::Arc, time::Instant};

use bytes::Bytes;
use wire::losses::Losses;

use crate::{
    call::{Call, Request},
    caller::Caller,
    receipt::{AttemptOutcome, CacheUse, Outcome, Receipt},
};

/// Takes receipts; called once per permit, on the path, so it must not wait.
pub trait Settle: Send + Sync {
    /// A request has ended.
    fn settle(&self, receipt: Arc<Receipt>);

    /// What of a piece with an upstream's error in it the caller may read: never the credential of whoever answered.
    fn hidden(&self, receipt: &Receipt, piece: Bytes) -> Bytes {
        let _ = receipt;
        piece
    }
}

/// Something that was taken for a request and is settled by what the request came to. Called on the path, so it must not wait.
pub trait Deposit: Send {
    /// The request has ended.
    fn settle(self: Box<Self>, receipt: &Receipt);
}

/// Leave to go on, and the receipt in the making.
///
/// Dropping it settles, so a request whose task is dropped because the client hung up is recorded with what had happened so far.
#[must_use = "dropping a permit ends its request"]
pub struct Permit {
    /// Nobody else holds it before it is settled; shared from the start, so that it is never copied.
    receipt: Option<Arc<Receipt>>,
    began: Instant,
    deposits: Vec<Box<dyn Deposit>>,
    sink: Arc<dyn Settle>,
}

impl Permit {
    /// A permit for an admitted call.
    pub fn new(call: &Call, request: &Request, caller: &Caller, sink: Arc<dyn Settle>) -> Self {
        let receipt = Receipt {
            request_id: call.request_id.clone(),
            operation: call.operation,
            path: call.path.clone(),
            client: call.client,
            key: caller.key.clone(),
            received_at: call.received_at,
            duration_ms: 0.0,
            first_byte_ms: None,
            overhead_ms: None,
            model_requested: request.model().into(),
            model_served: None,
            target: None,
            provider: None,
            node: None,
            rule: None,
            plan: None,
            attempts: Vec::new(),
            stream: request.head.stream,
            shape: request.head.shape,
            status: 499,
            outcome: Outcome::Cancelled,
            error_code: None,
            usage: None,
            usage_is_estimated: false,
            losses: Losses::default(),
            cache: CacheUse::Off,
            remembered: None,
            bytes_in: call.body.len() as u64,
            bytes_out: 0,
            resumed: None,
            kept: None,
        };
        Self { receipt: Some(Arc::new(receipt)), began: call.received, deposits: Vec::new(), sink }
    }

    /// The receipt in the making.
    pub fn receipt(&mut self) -> &mut Receipt {
        self.parts().0
    }

    /// The receipt in the making, and what is settled with it.
    #[expect(clippy::missing_panics_doc, reason = "it is there until the drop")]
    pub fn parts(&mut self) -> (&mut Receipt, &mut Vec<Box<dyn Deposit>>) {
        let receipt = self.receipt.as_mut().and_then(Arc::get_mut);
        (receipt.expect("only drop takes it and shares it"), &mut self.deposits)
    }

    /// Settles `deposit` with the request, however that ends.
    pub fn keep(&mut self, deposit: Box<dyn Deposit>) {
        self.deposits.push(deposit);
    }

    /// What of a piece with an upstream's error in it the caller may read.
    pub(crate) fn hidden(&self, piece: Bytes) -> Bytes {
        match &self.receipt {
            Some(receipt) => self.sink.hidden(receipt, piece),
            None => piece,
        }
    }

    /// Milliseconds since the call arrived.
    pub fn elapsed_ms(&self) -> f64 {
        self.began.elapsed().as_secs_f64() * 1e3
    }

    /// When the call arrived.
    pub fn began(&self) -> Instant {
        self.began
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let duration_ms = self.elapsed_ms();
        if let Some(mut receipt) = self.receipt.take() {
            if let Some(receipt) = Arc::get_mut(&mut receipt) {
                receipt.duration_ms = duration_ms;
                for attempt in receipt.attempts.iter_mut().filter(|attempt| attempt.outcome == AttemptOutcome::Left) {
                    attempt.duration_ms = duration_ms - attempt.started_ms;
                }
            }
            for deposit in self.deposits.drain(..) {
                deposit.settle(&receipt);
            }
            self.sink.settle(receipt);
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("receipt", &self.receipt).finish_non_exhaustive()
    }
}
