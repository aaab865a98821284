//! Which of several equals comes first: accounts of one priority that serve one name.

use config::config::Strategy;
use journey::{Candidate, Target, Weighed};
use wire::Dialect;

use crate::{map::Nodes, prefer::Figures};

/// What routing sees of this moment, besides the map.
pub struct View<'a> {
    pub nodes: &'a dyn Nodes,
    /// The dialect in which the caller speaks.
    pub caller: Dialect,
    pub figures: &'a dyn Figures,
    /// A number from 0 to 1, another each time; asked for only where chance decides.
    pub chance: &'a dyn Fn() -> f64,
}

/// Orders a group of equals. What is alike is left to chance, in the proportion of the weights.
pub(crate) fn balance(strategy: Strategy, view: &View<'_>, group: &mut [Candidate], weight: impl Fn(&Candidate) -> f64) {
    let sum: f64 = group.iter().map(&weight).sum();
    let mut drawn: Vec<(f64, f64, Candidate)> = group
        .iter()
        .map(|candidate| {
            let share = weight(candidate);
            let figure = match strategy {
                Strategy::Shuffle => Some(if sum > 0.0 { share / sum } else { 0.0 }),
                _ => figure(strategy, view, candidate),
            };
            let first = match (strategy, figure) {
                (Strategy::Shuffle, _) => 0.0,
                // Who was not measured lately is, so that one that was slow once is not slow for ever.
                (Strategy::LatencyBased, None) => -1.0,
                (_, figure) => figure.unwrap_or(f64::INFINITY),
            };
            let candidate = Candidate { weighed: Some(Weighed { by: strategy.as_str(), figure }), ..candidate.clone() };
            (first, lot((view.chance)(), share), candidate)
        })
        .collect();
    drawn.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    for (place, (.., candidate)) in group.iter_mut().zip(drawn) {
        *place = candidate;
    }
}

/// A lot of exponential distribution: the least of several is drawn in proportion to the weights (Efraimidis and Spirakis, 2006).
/// A weight of nothing comes last.
fn lot(chance: f64, weight: f64) -> f64 {
    if weight > 0.0 { -(1.0 - chance.clamp(0.0, 1.0)).max(f64::MIN_POSITIVE).ln() / weight } else { f64::INFINITY }
}

fn figure(strategy: Strategy, view: &View<'_>, candidate: &Candidate) -> Option<f64> {
    let Target::Account { name } = &candidate.target else { return None };
    match strategy {
        Strategy::Shuffle => None,
        Strategy::LeastBusy => Some(view.figures.in_flight(name) as f64),
        Strategy::UsageBased => Some(view.figures.tokens_lately(name) as f64),
        Strategy::LatencyBased => view.figures.fresh_latency_s(name),
        Strategy::CostBased => view.figures.price_at(name, &candidate.model).map(|(prompt, completion)| prompt + completion),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use config::config::Strategy;
    use proptest::prelude::*;

    use super::{Candidate, Dialect, Figures, Nodes, Target, View, balance};
    use crate::map::Presence;

    struct World;
    impl Nodes for World {
        fn presence(&self, _: &str) -> Presence {
            Presence::Unknown
        }
        fn names(&self) -> Vec<String> {
            Vec::new()
        }
    }
    impl Figures for World {
        fn price(&self, model: &str) -> Option<(f64, f64)> {
            (model != "c").then(|| if model == "b" { (1.0, 2.0) } else { (5.0, 5.0) })
        }
        fn latency_s(&self, account: &str) -> Option<f64> {
            (account != "c").then(|| if account == "b" { 0.1 } else { 0.9 })
        }
        fn tokens_per_s(&self, _: &str) -> Option<f64> {
            None
        }
        fn in_flight(&self, account: &str) -> u64 {
            u64::from(account == "a") * 3 + u64::from(account == "b")
        }
        fn tokens_lately(&self, account: &str) -> u64 {
            if account == "c" { 10 } else { 5000 }
        }
    }

    fn group() -> Vec<Candidate> {
        ["a", "b", "c"].map(|name| Candidate::new(Target::Account { name: name.into() }, name.into(), "exact")).to_vec()
    }

    fn order(strategy: Strategy, chance: &dyn Fn() -> f64, weight: impl Fn(&Candidate) -> f64) -> String {
        let mut group = group();
        balance(strategy, &View { nodes: &World, caller: Dialect::Chat, figures: &World, chance }, &mut group, weight);
        assert!(group.iter().all(|c| c.weighed.is_some_and(|w| w.by == strategy.as_str())));
        group.iter().map(|c| &*c.model).collect()
    }

    #[test]
    fn each_strategy_has_its_first() {
        for (strategy, wanted) in
            [(Strategy::LeastBusy, "cba"), (Strategy::UsageBased, "cab"), (Strategy::LatencyBased, "cba"), (Strategy::CostBased, "bac")]
        {
            assert_eq!(order(strategy, &|| 0.5, |_| 1.0), wanted, "{strategy:?}");
        }
    }

    #[test]
    fn weights_are_shares() {
        let state = Cell::new(7_u64);
        let chance = || {
            // Knuth's MMIX generator.
            state.set(state.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
            (state.get() >> 11) as f64 / (1_u64 << 53) as f64
        };
        let weight = |c: &Candidate| if &*c.model == "a" { 3.0 } else { f64::from(u8::from(&*c.model == "b")) };
        let drawn: Vec<String> = (0..4000).map(|_| order(Strategy::Shuffle, &chance, weight)).collect();
        let first = drawn.iter().filter(|order| order.starts_with('a')).count();
        assert!((2880..3120).contains(&first), "{first} of 4000 for three to one");
        assert!(drawn.iter().all(|order| order.ends_with('c')), "a weight of nothing is for need only");
    }

    proptest! {
        #[test]
        fn nobody_is_lost(chances in prop::collection::vec(0.0_f64..=1.0, 3), weights in prop::collection::vec(0.0_f64..9.0, 3)) {
            let next = Cell::new(0);
            let chance = || {
                next.set(next.get() + 1);
                chances[next.get() - 1]
            };
            let weight = |c: &Candidate| weights[usize::from(c.model.as_bytes()[0] - b'a')];
            let mut all: Vec<char> = order(Strategy::Shuffle, &chance, weight).chars().collect();
            all.sort_unstable();
            prop_assert_eq!(all, ['a', 'b', 'c']);
        }
    }
}
