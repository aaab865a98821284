//! What was recorded becomes rows here, and its texts go to their files.

use std::{
    io, mem,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use store::{
    bodies::{Appender, Bodies},
    requests::Row,
};
use tokio::sync::mpsc;

use crate::{BATCH_BYTES_MAX, BATCH_ROWS_MAX, recorder::Shared};

/// The other end of the queue.
pub(crate) struct Intake<R, F> {
    queue: mpsc::Receiver<R>,
    make: F,
    texts: Appender,
    shared: Arc<Shared>,
    /// The last texts could not be written.
    is_textless: bool,
}

impl<R, F: FnMut(R) -> (Row, Option<Bodies>)> Intake<R, F> {
    pub(crate) fn new(queue: mpsc::Receiver<R>, make: F, texts: Appender, shared: Arc<Shared>) -> Self {
        Self { queue, make, texts, shared, is_textless: false }
    }

    /// What waits.
    pub(crate) fn rows(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    pub(crate) fn close(&mut self) {
        self.queue.close();
    }

    /// Takes what fits into a transaction out of the queue; the texts are in their files then. True: there may be more.
    pub(crate) fn gather(&mut self, batch: &mut Vec<Row>) -> bool {
        let mut bytes = 0;
        while batch.len() < BATCH_ROWS_MAX
            && bytes < BATCH_BYTES_MAX
            && let Ok(recorded) = self.queue.try_recv()
        {
            let (mut row, bodies) = (self.make)(recorded);
            row.bodies = bodies.and_then(|bodies| self.texts.add(&bodies).map_err(|error| self.left_out(&error, 1)).ok());
            bytes += row.bytes();
            batch.push(row);
        }
        self.flush(batch);
        batch.len() == BATCH_ROWS_MAX || bytes >= BATCH_BYTES_MAX
    }

    fn flush(&mut self, batch: &[Row]) {
        let texts = batch.iter().filter(|row| row.bodies.is_some()).count() as u64;
        match self.texts.flush() {
            Err(error) => self.left_out(&error, texts),
            Ok(()) if texts > 0 && mem::take(&mut self.is_textless) => tracing::info!("texts of requests are kept again"),
            Ok(()) => {}
        }
    }

    /// A row without its texts is better than none.
    fn left_out(&mut self, error: &io::Error, texts: u64) {
        self.shared.textless.fetch_add(texts, Relaxed);
        if !mem::replace(&mut self.is_textless, true) {
            tracing::error!(%error, "texts of requests can't be written: their records are kept without them");
        }
    }
}
