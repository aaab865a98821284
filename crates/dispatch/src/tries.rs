//! How often each name of a plan was tried, where the operator counts attempts by name.

use config::config::{Tries, TryBounds};
use journey::{AttemptOutcome, Candidate, Plan};

use crate::fault::Fault;

/// The count. Without bounds by name it is nothing and costs nothing.
pub(crate) struct Tally<'a> {
    bounds: Option<&'a Tries>,
    plan: &'a Plan,
    /// By place of the name: attempts so far, and how many there may be.
    counts: Vec<(u32, u32)>,
}

impl<'a> Tally<'a> {
    pub(crate) fn new(bounds: Option<&'a Tries>, plan: &'a Plan) -> Self {
        let mut tally = Self { bounds, plan, counts: Vec::new() };
        if let Some(tries) = bounds {
            tally.counts = (0..=plan.stand_ins.len()).map(|at| (0, tries.bounds(tally.name(at)).usual.max(1))).collect();
        }
        tally
    }

    fn name(&self, at: usize) -> &'a str {
        at.checked_sub(1).and_then(|at| self.plan.stand_ins.get(at)).unwrap_or(&self.plan.requested)
    }

    /// Whether the candidate's name has had its attempts.
    pub(crate) fn is_spent(&self, candidate: &Candidate) -> bool {
        self.counts.get(usize::from(candidate.name)).is_some_and(|(tried, most)| tried >= most)
    }

    /// Counts what a candidate came to; the last fault decides how many attempts its name has.
    pub(crate) fn count(&mut self, candidate: &Candidate, faults: &[Fault]) {
        let (Some(tries), at) = (self.bounds, usize::from(candidate.name)) else { return };
        let bounds = tries.bounds(self.name(at));
        let Some((tried, most)) = self.counts.get_mut(at) else { return };
        for fault in faults.iter().filter(|fault| fault.obstacle.is_none()) {
            *tried += 1;
            *most = of_kind(bounds, fault).unwrap_or(bounds.usual).max(1);
        }
    }
}

fn of_kind(bounds: &TryBounds, fault: &Fault) -> Option<u32> {
    match (fault.outcome, fault.status) {
        _ if fault.is_credential => bounds.credential,
        (AttemptOutcome::TimedOut, _) | (_, Some(408)) => bounds.timeout,
        (_, Some(429)) => bounds.limit,
        _ => bounds.failure,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use journey::Target;

    use super::*;
    use crate::fault::fault;

    #[test]
    fn each_name_has_its_own_and_the_last_fault_decides() {
        let name = |at| Candidate { name: at, ..Candidate::new(Target::Dummy, "m".into(), "exact") };
        let plan = Plan { requested: "a".into(), rule: "exact", candidates: Vec::new(), stand_ins: vec!["b".into()] };
        let usual = TryBounds { usual: 1, timeout: Some(3), ..TryBounds::default() };
        let patient = TryBounds { usual: 2, ..TryBounds::default() };
        let tries = Tries { usual, of: BTreeMap::from([("b".to_owned(), patient)]) };
        let mut tally = Tally::new(Some(&tries), &plan);
        let late = fault(&"x".into(), AttemptOutcome::TimedOut, None, String::new());
        let broken = fault(&"x".into(), AttemptOutcome::Refused, Some(500), String::new());
        tally.count(&name(0), &[late]);
        assert!(!tally.is_spent(&name(0)), "time-outs have three");
        tally.count(&name(0), std::slice::from_ref(&broken));
        assert!(tally.is_spent(&name(0)) && !tally.is_spent(&name(1)));
        tally.count(&name(1), std::slice::from_ref(&broken));
        assert!(!tally.is_spent(&name(1)));
        tally.count(&name(1), &[broken]);
        assert!(tally.is_spent(&name(1)));
        assert!(!Tally::new(None, &plan).is_spent(&name(0)));
        let mut left_alone = Tally::new(Some(&tries), &plan);
        left_alone.count(&name(0), &[crate::run::skipped(&"x".into(), wire::Failure::new(wire::Code::NoAvailableTarget, "resting"))]);
        assert!(!left_alone.is_spent(&name(0)), "who was not asked was not tried");
    }
}
