//! What failed attempts come to.

use std::{sync::Arc, time::Duration};

use journey::AttemptOutcome;
use serde_json::{Map, Value, json};
use wire::{Code, Failure};

/// Why an attempt failed, and whether its target is worth another.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) target: Arc<str>,
    pub(crate) outcome: AttemptOutcome,
    pub(crate) status: Option<u16>,
    /// In the router's own words, for records: an upstream's may repeat a prompt.
    pub(crate) message: String,
    /// In the upstream's words, for the caller alone; the account's credentials are masked in them.
    pub(crate) said: Option<Box<str>>,
    pub(crate) retry_after: Option<Duration>,
    /// The upstream's own id of the request.
    pub(crate) request_id: Option<Box<str>>,
    /// Another try of the same target could go better.
    pub(crate) is_passing: bool,
    /// Nothing was sent: the target could not be called at all.
    pub(crate) obstacle: Option<Failure>,
    /// The target does not speak the wire that it was asked on; on another it may serve.
    pub(crate) is_language: bool,
    /// The target's own key or purse is at fault, not the request.
    pub(crate) is_credential: bool,
    /// It was not asked only because others might serve sooner.
    pub(crate) is_guess: bool,
    /// It waited for the model to be loaded, and that goes on.
    pub(crate) is_loading: bool,
}

impl Fault {
    /// What the caller hears.
    fn told(&self) -> String {
        self.said.as_ref().map_or_else(|| self.message.clone(), |said| format!("{}: {said}", self.message))
    }

    /// The status class by which faults are compared.
    fn class(&self) -> Option<u16> {
        match (self.outcome, self.status) {
            (AttemptOutcome::TimedOut, _) => Some(504),
            (_, Some(503 | 529)) => Some(503),
            (_, status) => status,
        }
    }
}

/// The client's answer where nothing was asked because limits are full: waiting for the first of them helps.
fn all_limited(faults: &[Fault]) -> Option<Failure> {
    faults.iter().find(|f| f.outcome == AttemptOutcome::Limited)?;
    let limited = || faults.iter().filter_map(|f| f.obstacle.as_ref()).filter(|o| o.code == Code::RateLimitExceeded);
    let reasons: Vec<Value> = faults.iter().map(|f| json!({"target": &*f.target, "error": f.message})).collect();
    let message = match faults {
        [only] => format!("All configured services are rate limited: {}", only.message),
        _ => "All configured services are rate limited".to_owned(),
    };
    let failure = Failure { retry_after: limited().filter_map(|o| o.retry_after).min(), ..Failure::new(Code::RateLimitExceeded, message) };
    Some(failure.with("attempted_services", limited().count()).with("total_services", faults.len()).with("skipped", reasons))
}

/// Whether nobody answered at all, some in time and some not to be reached: together that is "nothing is there".
fn nobody_there(called: &[&Fault]) -> bool {
    let silent = |f: &&Fault| f.status.is_none() && matches!(f.outcome, AttemptOutcome::TimedOut | AttemptOutcome::Unreachable);
    called.iter().all(silent) && called.windows(2).any(|pair| pair[0].outcome != pair[1].outcome)
}

/// The client's answer when every attempt failed: the one common status if they agree, else 502; among services alone 503 where
/// [`nobody_there`].
pub(crate) fn conclusion(faults: &[Fault], model: &str, services_only: bool) -> Failure {
    let called: Vec<&Fault> = faults.iter().filter(|f| f.obstacle.is_none()).collect();
    let Some(last) = called.last() else {
        if let Some(failure) = all_limited(faults) {
            return failure;
        }
        let obstacles = || faults.iter().filter_map(|f| f.obstacle.as_ref());
        let first = obstacles().next().cloned().map(|first| Failure {
            // Of many that are left alone the one that comes back soonest counts.
            retry_after: obstacles().filter(|o| o.code == first.code).filter_map(|o| o.retry_after).min(),
            ..first
        });
        return first.unwrap_or_else(|| {
            Failure::new(Code::NoAvailableTarget, format!("no target for the model `{model}` is available now"))
                .retry_after(Duration::from_secs(1))
        });
    };
    let common = last.class().filter(|class| called.iter().all(|f| f.class() == Some(*class)));
    let code = match common {
        Some(429) => Code::RateLimitExceeded,
        Some(503) if called.iter().all(|f| f.is_loading) => Code::ModelLoading,
        Some(503) => Code::NoAvailableTarget,
        None if services_only && nobody_there(&called) => Code::NoAvailableTarget,
        Some(504) => Code::UpstreamTimeout,
        Some(404) => Code::ModelNotFound,
        Some(401..=403) => Code::UpstreamCredentials,
        Some(501) => Code::Unsupported,
        Some(507) => Code::InsufficientStorage,
        _ => Code::UpstreamError,
    };
    let message = match called.as_slice() {
        [only] => only.told(),
        all => format!("all {} attempts failed; the last: {}", all.len(), last.told()),
    };
    let wait = called.iter().filter_map(|f| f.retry_after).min();
    let attempt = |f: &Fault| {
        let mut attempt = json!({"target": &*f.target, "status": f.status, "error": f.told()});
        if f.obstacle.is_some() {
            attempt["skipped"] = true.into();
        }
        attempt
    };
    let attempts: Vec<Value> = faults.iter().map(attempt).collect();
    let mut details = Map::new();
    if let Some(status) = last.status {
        details.insert("upstream_status".to_owned(), status.into());
    }
    if let Some(id) = &last.request_id {
        details.insert("upstream_request_id".to_owned(), (&**id).into());
    }
    details.insert("attempts".to_owned(), attempts.into());
    let mut failure = Failure { details, ..Failure::new(code, message) };
    if matches!(code, Code::NoAvailableTarget | Code::RateLimitExceeded | Code::ModelLoading) {
        failure.retry_after = Some(wait.unwrap_or(Duration::from_secs(1)));
    }
    failure
}

/// What a fault of the connection is.
pub(crate) fn fault_of(name: &Arc<str>, error: &net::Error) -> Fault {
    let outcome = match error {
        e if e.timeout().is_some() => AttemptOutcome::TimedOut,
        e if !e.was_sent() => AttemptOutcome::Unreachable,
        _ => AttemptOutcome::Broken,
    };
    // Where nothing may ever be sent, waiting changes nothing.
    let is_passing = !matches!(error, net::Error::Url(_) | net::Error::Barred { .. });
    Fault { is_passing, ..fault(name, outcome, None, format!("`{name}`: {}", public(error))) }
}

/// What a client may read of a fault: no address of ours.
fn public(error: &net::Error) -> String {
    match error {
        net::Error::Connect { .. } | net::Error::Barred { .. } => "the connection could not be made".to_owned(),
        net::Error::Closed { .. } => "the connection was closed before an answer".to_owned(),
        other => other.to_string(),
    }
}

/// A fault that another try may not have.
pub(crate) fn fault(name: &Arc<str>, outcome: AttemptOutcome, status: Option<u16>, message: String) -> Fault {
    Fault {
        target: name.clone(),
        outcome,
        status,
        message,
        said: None,
        retry_after: None,
        request_id: None,
        is_passing: true,
        obstacle: None,
        is_language: false,
        is_credential: false,
        is_guess: false,
        is_loading: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(status: Option<u16>, outcome: AttemptOutcome) -> Fault {
        Fault {
            target: "t".into(),
            outcome,
            status,
            message: "no".to_owned(),
            said: None,
            retry_after: status.filter(|s| *s == 429).map(|_| Duration::from_secs(7)),
            request_id: None,
            is_passing: true,
            obstacle: None,
            is_language: false,
            is_credential: false,
            is_guess: false,
            is_loading: false,
        }
    }

    #[test]
    fn silent_services_are_none_at_all() {
        use AttemptOutcome::{Refused, TimedOut, Unreachable};
        for (faults, status) in [
            (vec![(None, TimedOut), (None, Unreachable)], 503),
            (vec![(None, TimedOut), (None, TimedOut)], 504),
            (vec![(None, Unreachable), (None, Unreachable)], 502),
            (vec![(None, TimedOut), (Some(500), Refused)], 502),
        ] {
            let faults: Vec<_> = faults.into_iter().map(|(s, o)| fault(s, o)).collect();
            assert_eq!(conclusion(&faults, "m", true).status(), status, "{faults:?}");
            assert_ne!(conclusion(&faults, "m", false).status(), 503, "elsewhere what does not agree is 502");
        }
    }

    #[test]
    fn agreeing_faults_keep_their_status() {
        use AttemptOutcome::{Refused, TimedOut, Unreachable};
        for (faults, status) in [
            (vec![(Some(429), Refused), (Some(429), Refused)], 429),
            (vec![(Some(503), Refused), (Some(529), Refused)], 503),
            (vec![(None, TimedOut)], 504),
            (vec![(Some(404), Refused)], 404),
            (vec![(Some(401), Refused)], 502),
            (vec![(Some(500), Refused)], 502),
            (vec![(Some(501), Refused), (Some(501), Refused)], 501),
            (vec![(Some(507), Refused)], 507),
            (vec![(Some(507), Refused), (Some(501), Refused)], 502),
            (vec![(Some(429), Refused), (None, Unreachable)], 502),
            (vec![], 503),
        ] {
            let faults: Vec<_> = faults.into_iter().map(|(s, o)| fault(s, o)).collect();
            let failure = conclusion(&faults, "m", false);
            assert_eq!(failure.status(), status, "{faults:?}");
            assert_eq!(
                failure.retry_after.map(|d| d.as_secs()),
                match status {
                    429 => Some(7),
                    503 => Some(1),
                    _ => None,
                }
            );
        }
    }

    #[test]
    fn full_services_make_wait_for_the_first_of_them() {
        let limited = |seconds| {
            let obstacle = Failure::new(Code::RateLimitExceeded, "full").retry_after(Duration::from_secs(seconds));
            Fault { obstacle: Some(obstacle), ..fault(None, AttemptOutcome::Limited) }
        };
        let failure = conclusion(&[limited(9), limited(4)], "m", false);
        assert_eq!((failure.status(), failure.retry_after), (429, Some(Duration::from_secs(4))));
        let keyless = Fault { obstacle: Some(Failure::new(Code::ProviderKeyMissing, "set X")), ..fault(None, AttemptOutcome::Skipped) };
        assert_eq!(conclusion(&[keyless, limited(9)], "m", false).status(), 429, "waiting helps");
        let asked = fault(Some(500), AttemptOutcome::Refused);
        assert_eq!(conclusion(&[limited(9), asked], "m", false).status(), 502);
    }

    #[test]
    fn what_could_not_be_called_does_not_hide_what_was() {
        let skipped = Fault { obstacle: Some(Failure::new(Code::ProviderKeyMissing, "set X")), ..fault(None, AttemptOutcome::Skipped) };
        assert_eq!(conclusion(std::slice::from_ref(&skipped), "m", false).code, Code::ProviderKeyMissing);
        assert_eq!(conclusion(&[skipped, fault(Some(429), AttemptOutcome::Refused)], "m", false).code, Code::RateLimitExceeded);
    }
}
