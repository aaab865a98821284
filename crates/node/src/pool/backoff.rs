//! What went wrong with a model lately, and how long to wait before it is tried again.

use std::time::{Duration, Instant, SystemTime};

use wire::{Code, Failure};

use crate::library::Model;

/// Deaths older than this are forgotten.
const MEMORY: Duration = Duration::from_mins(1);
/// Wait after the second death; doubled with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const WAIT_MAX: Duration = Duration::from_secs(30);
/// A request waits itself up to so long; beyond that it is told to come back.
const PATIENCE: Duration = Duration::from_secs(3);
/// A file that could not be loaded is not tried again for so long, unless it changes.
const FAILURE_KEPT: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct History {
    deaths: Vec<Instant>,
    failure: Option<(Instant, u64, SystemTime, Failure)>,
}

impl History {
    /// An engine died.
    pub(super) fn died(&mut self, now: Instant) {
        self.deaths.retain(|at| now.saturating_duration_since(*at) < MEMORY);
        self.deaths.push(now);
    }

    /// The model could not be loaded.
    pub(super) fn failed(&mut self, now: Instant, model: &Model, failure: Failure) {
        self.failure = Some((now, model.bytes, model.modified, failure));
    }

    /// How long to wait before loading.
    ///
    /// # Errors
    /// It failed a moment ago and would fail again; or it dies too often, with when to come back.
    pub(super) fn check(&mut self, now: Instant, model: &Model) -> Result<Duration, Failure> {
        if let Some((at, bytes, modified, failure)) = &self.failure
            && now.saturating_duration_since(*at) < FAILURE_KEPT
            && (*bytes, *modified) == (model.bytes, model.modified)
        {
            return Err(failure.clone());
        }
        self.failure = None;
        self.deaths.retain(|at| now.saturating_duration_since(*at) < MEMORY);
        let (Some(last), repeats) = (self.deaths.last(), self.deaths.len().saturating_sub(2)) else { return Ok(Duration::ZERO) };
        if self.deaths.len() < 2 {
            return Ok(Duration::ZERO);
        }
        let wait = FIRST_WAIT.saturating_mul(1 << repeats.min(10)).min(WAIT_MAX);
        let left = (*last + wait).saturating_duration_since(now);
        if left <= PATIENCE {
            return Ok(left);
        }
        let said = format!("the engine of the model `{}` has died {} times within a minute", model.id, self.deaths.len());
        Err(Failure::new(Code::ModelLoading, said).retry_after(left))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn model() -> Model {
        let header = Arc::default();
        Model { id: "m".to_owned(), path: "m.gguf".into(), bytes: 1, modified: SystemTime::UNIX_EPOCH, quant: None, header }
    }

    #[test]
    fn the_first_death_costs_nothing_and_many_cost_more_and_more() {
        let (mut history, start, model) = (History::default(), Instant::now(), model());
        let mut waits = Vec::new();
        for _ in 0..6 {
            history.died(start);
            waits.push(history.check(start, &model).map(|wait| wait.as_millis()).map_err(|f| f.code));
        }
        assert_eq!(waits, [Ok(0), Ok(250), Ok(500), Ok(1000), Ok(2000), Err(Code::ModelLoading)]);
        assert_eq!(history.check(start + MEMORY, &model).unwrap(), Duration::ZERO);
    }

    #[test]
    fn a_failed_load_is_remembered_for_a_moment_or_until_the_file_changes() {
        let (mut history, start, mut model) = (History::default(), Instant::now(), model());
        history.failed(start, &model, Failure::new(Code::NoAvailableTarget, "broken"));
        assert!(history.check(start, &model).is_err());
        assert!(history.check(start + FAILURE_KEPT, &model).is_ok());
        history.failed(start, &model, Failure::new(Code::NoAvailableTarget, "broken"));
        model.bytes = 2;
        assert!(history.check(start, &model).is_ok());
    }
}
