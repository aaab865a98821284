//! Which node first: pure functions over what is known of each candidate at one instant.

mod rank;
mod rise;

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use rank::{HAS_ITS_SHARE, NOT_DRAWN, NOT_LOADED, Rank, Rule, flag};
pub(crate) use rank::{Usage, incapability};
use rise::Share;
pub(crate) use rise::{RISEN, risen_after};

/// How nodes are put in order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balancer {
    /// By requests in flight, then by load in steps of ten percent; nodes above 80 % CPU come last while others are below.
    #[default]
    Auto,
    /// By the sum of CPU, memory, GPU and GPU memory in percent and ten for each request in flight.
    Metrics,
    /// In turn.
    RoundRobin,
    /// By requests in flight only.
    LeastBusy,
    /// The less busy of two taken at random.
    P2c,
}

impl Balancer {
    /// The names that settings may use.
    pub const NAMES: [&'static str; 5] = ["auto", "metrics", "round-robin", "least-busy", "p2c"];

    /// Its name in settings.
    pub const fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

impl FromStr for Balancer {
    type Err = String;

    /// # Errors
    /// Names what is allowed.
    fn from_str(name: &str) -> Result<Self, String> {
        Ok(match name {
            "auto" => Self::Auto,
            "metrics" => Self::Metrics,
            "round-robin" => Self::RoundRobin,
            "least-busy" => Self::LeastBusy,
            "p2c" => Self::P2c,
            _ => return Err(format!("`{name}` is no balancer: use one of {}", Self::NAMES.join(", "))),
        })
    }
}

/// What is known of a candidate. Percentages are 0..=100.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    pub cpu: f64,
    pub memory: f64,
    pub gpu: Option<f64>,
    pub gpu_memory: Option<f64>,
    /// Higher is better.
    pub capability: Option<f64>,
    /// Requests in flight there, whoever sent them.
    pub active: u32,
    /// Its last report of load is younger than two minutes.
    pub measured: bool,
    /// Moving average of its answers' times.
    pub average_ms: Option<f64>,
    /// Requests that this router ever sent there.
    pub assigned: u64,
    /// Grows with each request sent anywhere: the smallest has waited longest for its turn.
    pub last_turn: u64,
    /// The model is in memory there, not only on disk.
    pub loaded: bool,
    /// It joined or came back lately, and this part (0..1) of what others have in flight is enough for it. `None`: it has been there for long.
    pub risen: Option<f64>,
}

/// CPU above which a node counts as overloaded.
const CPU_PERCENT_MAX: f64 = 80.0;

/// What a policy asks of a candidate. Of most it asks little: what is not asked is not looked up.
pub(crate) trait Known {
    fn is_loaded(&self) -> bool;
    fn is_measured(&self) -> bool;
    fn active(&self) -> u32;
    fn usage(&self) -> Usage;
    /// Smaller is more capable; see [`incapability`].
    fn incapability(&self) -> u64;
    fn average_ms(&self) -> Option<f64>;
    fn assigned(&self) -> u64;
    fn last_turn(&self) -> u64;
    /// How much of its share it may have, of [`RISEN`].
    fn risen(&self) -> u32;
}

impl Known for &Facts {
    fn is_loaded(&self) -> bool {
        self.loaded
    }

    fn is_measured(&self) -> bool {
        self.measured
    }

    fn active(&self) -> u32 {
        self.active
    }

    fn usage(&self) -> Usage {
        Usage::of([Some(self.cpu), Some(self.memory), self.gpu, self.gpu_memory])
    }

    fn incapability(&self) -> u64 {
        incapability(self.capability)
    }

    fn average_ms(&self) -> Option<f64> {
        self.average_ms
    }

    fn assigned(&self) -> u64 {
        self.assigned
    }

    fn last_turn(&self) -> u64 {
        self.last_turn
    }

    fn risen(&self) -> u32 {
        self.risen.map_or(RISEN, |part| (part * f64::from(RISEN)) as u32)
    }
}

/// What a policy chose, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Positions of candidates, best first.
    pub order: Vec<usize>,
    /// Why the first was put before the second.
    pub reason: &'static str,
}

impl Balancer {
    /// The best candidates, at most `places` of them. A pure function of one instant: the same facts and the same `dice` choose the same, so that
    /// a policy can be tried out in a simulation. `dice` is any number that differs from call to call.
    pub fn choose(self, facts: &[Facts], places: usize, dice: u64) -> Choice {
        self.choose_of(facts.iter(), places, dice, facts.iter().any(|f| f.risen.is_some()))
    }

    /// The same of candidates that are looked at where they are. Gone through once or twice, and once more where some of them are `rising`.
    pub(crate) fn choose_of<K: Known>(
        self,
        known: impl ExactSizeIterator<Item = K> + Clone,
        places: usize,
        dice: u64,
        rising: bool,
    ) -> Choice {
        let of = known.len();
        let places = places.min(of);
        let rule = Rule::of(self, known.clone());
        let share = if rising { Share::of(known.clone()) } else { None };
        let drawn = if self == Self::P2c { draw(known.clone(), dice) } else { None };
        let mut best: Vec<(Rank, usize)> = Vec::with_capacity(places + 1);
        for (i, candidate) in known.enumerate() {
            let head = rule.head(&candidate)
                | flag(!candidate.is_loaded(), NOT_LOADED)
                | flag(share.is_some_and(|share| share.has_it(&candidate)), HAS_ITS_SHARE)
                | flag(drawn.is_some_and(|(first, second)| i != first && i != second), NOT_DRAWN);
            let worst = if best.len() == places { best.last().map(|(rank, _)| rank) } else { None };
            // Most go no further than this.
            if places == 0 || worst.is_some_and(|worst| worst[0] < head) {
                continue;
            }
            let [second, third, last] = rule.rest(&candidate);
            let rank = [head, second, third, last];
            if worst.is_some_and(|worst| *worst <= rank) {
                continue;
            }
            let place = best.partition_point(|(better, _)| *better <= rank);
            best.insert(place, (rank, i));
            best.truncate(places);
        }
        let reason = match best.as_slice() {
            [] => "nobody can be asked",
            [_] if of == 1 => "the only one that can be asked",
            [_] => "best by its policy",
            [(first, _), (second, _), ..] => rule.difference(first, second).unwrap_or("equal to others"),
        };
        Choice { order: best.into_iter().map(|(_, i)| i).collect(), reason }
    }
}

/// Two different ones of those that would come first, each pair as likely as any other.
fn draw<K: Known>(known: impl Iterator<Item = K> + Clone, dice: u64) -> Option<(usize, usize)> {
    let any_loaded = known.clone().any(|k| k.is_loaded());
    let may = |k: &K| k.is_loaded() || !any_loaded;
    let n = known.clone().filter(may).count() as u64;
    if n < 2 {
        return None;
    }
    let dice = mix(dice);
    let first = dice % n;
    let second = (first + 1 + (dice >> 32) % (n - 1)) % n;
    let nth = |n: u64| known.clone().enumerate().filter(|(_, k)| may(k)).nth(n as usize).map(|(i, _)| i);
    Some((nth(first)?, nth(second)?))
}

/// Spreads neighbouring numbers over all 64 bits (the finaliser of SplitMix64).
pub(crate) fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node(cpu: f64, memory: f64, active: u32) -> Facts {
        Facts { cpu, memory, active, measured: true, loaded: true, ..Facts::default() }
    }

    fn order(balancer: Balancer, facts: &[Facts], dice: u64) -> Vec<usize> {
        balancer.choose(facts, facts.len(), dice).order
    }

    /// Sends `n` requests one after the other, each ending before the next.
    fn send(balancer: Balancer, facts: &mut [Facts], n: u64) -> Vec<usize> {
        let turn = facts.iter().map(|f| f.last_turn).max().unwrap_or_default();
        (1..=n)
            .map(|k| {
                let first = order(balancer, facts, k)[0];
                facts[first].last_turn = turn + k;
                facts[first].assigned += 1;
                first
            })
            .collect()
    }

    #[test]
    fn metrics_takes_the_lowest_sum() {
        let gpu = |f: Facts, gpu, memory| Facts { gpu: Some(gpu), gpu_memory: Some(memory), ..f };
        for (a, b, winner) in [
            (node(20.0, 30.0, 1), node(70.0, 50.0, 5), 0),
            (node(10.0, 10.0, 5), node(40.0, 20.0, 0), 1),
            (node(10.0, 50.0, 0), node(30.0, 20.0, 0), 1),
            (gpu(node(20.0, 20.0, 0), 80.0, 10.0), gpu(node(50.0, 30.0, 0), 5.0, 5.0), 1),
        ] {
            assert_eq!(send(Balancer::Metrics, &mut [a, b], 10), [winner; 10]);
        }
    }

    #[test]
    fn metrics_breaks_ties_by_capability_and_then_in_turn() {
        let better = Facts { capability: Some(9.0), ..node(10.0, 10.0, 0) };
        let worse = Facts { capability: Some(1.0), cpu: 10.000_04, ..better.clone() };
        assert_eq!(send(Balancer::Metrics, &mut [worse, better], 3), [1, 1, 1]);
        assert_eq!(send(Balancer::Metrics, &mut [node(5.0, 5.0, 0), node(5.0, 5.0, 0)], 4), [0, 1, 0, 1]);
    }

    #[test]
    fn metrics_prefers_fresh_reports_and_goes_round_without_any() {
        let silent = Facts { measured: false, ..node(0.0, 0.0, 0) };
        assert_eq!(send(Balancer::Metrics, &mut [silent.clone(), node(70.0, 70.0, 9)], 3), [1, 1, 1]);
        assert_eq!(
            order(Balancer::Metrics, &[silent.clone(), node(70.0, 70.0, 9)], 0),
            [1, 0],
            "the silent one is still there to retry on"
        );
        assert_eq!(send(Balancer::Metrics, &mut [silent.clone(), silent], 4), [0, 1, 0, 1]);
        assert_eq!(send(Balancer::Metrics, &mut [node(90.0, 10.0, 0), node(95.0, 80.0, 3)], 4), [0, 1, 0, 1], "all above 80 % CPU");
    }

    #[test]
    fn auto_looks_at_requests_first_and_leaves_out_the_overloaded() {
        assert_eq!(order(Balancer::Auto, &[node(10.0, 10.0, 1), node(79.0, 90.0, 0)], 0), [1, 0]);
        assert_eq!(order(Balancer::Auto, &[node(95.0, 10.0, 0), node(60.0, 10.0, 3)], 0), [1, 0]);
        assert_eq!(order(Balancer::Auto, &[node(20.0, 10.0, 0), node(10.0, 10.0, 0)], 0), [1, 0]);
    }

    #[test]
    fn auto_compares_loads_in_steps() {
        let strong = Facts { capability: Some(10.0), ..node(14.0, 10.0, 0) };
        let weak = Facts { capability: Some(2.0), ..node(11.0, 10.0, 0) };
        assert_eq!(send(Balancer::Auto, &mut [weak, strong], 2), [1, 1], "three percent of CPU are noise, capability is not");
    }

    #[test]
    fn auto_with_everybody_overloaded_or_unmeasured() {
        assert_eq!(order(Balancer::Auto, &[node(99.0, 50.0, 0), node(85.0, 50.0, 4)], 0), [1, 0], "usage decides");
        let unmeasured = Facts { measured: false, ..node(0.0, 0.0, 1) };
        let capable = Facts { capability: Some(5.0), ..node(99.0, 99.0, 1) };
        assert_eq!(order(Balancer::Auto, &[unmeasured, capable], 0), [1, 0], "active, then capability");
    }

    #[test]
    fn auto_shares_out_between_equals() {
        let mut equal = vec![node(10.0, 10.0, 0); 3];
        let taken = send(Balancer::Auto, &mut equal, 9);
        assert!((0..3).all(|i| taken.iter().filter(|&&t| t == i).count() == 3), "{taken:?}");
    }

    #[test]
    fn round_robin_is_even_whatever_the_load() {
        let mut nodes = [node(5.0, 5.0, 9), node(99.0, 5.0, 0), node(50.0, 5.0, 3)];
        assert_eq!(send(Balancer::RoundRobin, &mut nodes, 6), [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn least_busy_sees_nothing_but_requests() {
        assert_eq!(order(Balancer::LeastBusy, &[node(5.0, 5.0, 1), node(75.0, 75.0, 0)], 0), [1, 0]);
    }

    #[test]
    fn p2c_never_takes_the_busiest_and_uses_the_others() {
        let nodes = [node(0.0, 0.0, 9), node(0.0, 0.0, 0), node(0.0, 0.0, 1), node(0.0, 0.0, 2)];
        let mut wins = [0; 4];
        (0..1000).for_each(|dice| wins[order(Balancer::P2c, &nodes, dice)[0]] += 1);
        assert_eq!(wins[0], 0);
        assert!(wins[1] > 400 && wins[2] > 200 && wins[3] > 80, "{wins:?}");
    }

    #[test]
    fn a_loaded_model_comes_before_one_on_disk() {
        let on_disk = Facts { loaded: false, ..node(0.0, 0.0, 0) };
        for balancer in [Balancer::Auto, Balancer::Metrics, Balancer::RoundRobin, Balancer::LeastBusy, Balancer::P2c] {
            assert_eq!(order(balancer, &[on_disk.clone(), node(70.0, 70.0, 3)], 1), [1, 0], "{balancer:?}");
        }
    }

    #[test]
    fn who_came_back_lately_gets_a_part_of_what_others_have() {
        for balancer in [Balancer::Auto, Balancer::Metrics, Balancer::RoundRobin, Balancer::LeastBusy] {
            let mut nodes = vec![node(10.0, 10.0, 7); 4];
            nodes[..3].iter_mut().for_each(|f| f.last_turn = 1);
            nodes[3] = Facts { risen: Some(0.25), active: 0, ..nodes[3].clone() };
            while balancer.choose(&nodes, 1, 0).order == [3] {
                nodes[3].active += 1;
            }
            assert_eq!(nodes[3].active, 2, "{balancer:?}: a quarter of eight");
            nodes[3].risen = Some(0.8);
            assert_eq!(balancer.choose(&nodes, 2, 0), Choice { order: vec![3, 0], reason: balancer.choose(&nodes, 2, 0).reason });
            for f in &mut nodes {
                f.risen = Some(0.25);
            }
            assert_eq!(balancer.choose(&nodes, 1, 0).order, [3], "{balancer:?}: where all are new, nobody is held back");
        }
        // One came a moment before the other: neither has been there for long.
        let new = [Facts { risen: Some(0.26), ..node(95.0, 10.0, 0) }, Facts { risen: Some(0.25), ..node(60.0, 10.0, 3) }];
        assert_eq!(order(Balancer::Auto, &new, 0), [1, 0]);
        let idle = [node(90.0, 10.0, 0), Facts { risen: Some(0.25), ..node(10.0, 10.0, 0) }];
        assert_eq!(order(Balancer::Metrics, &idle, 0), [1, 0], "what is idle is as it always was");
        let busy = [node(90.0, 10.0, 3), Facts { risen: Some(0.25), ..node(10.0, 10.0, 1) }];
        assert_eq!(Balancer::LeastBusy.choose(&busy, 2, 0).reason, "another came back lately and has its share for now");
    }

    #[test]
    fn a_choice_says_what_decided() {
        let reason = |balancer: Balancer, facts: &[Facts]| balancer.choose(facts, 2, 1).reason;
        assert_eq!(reason(Balancer::Auto, &[node(1.0, 1.0, 0)]), "the only one that can be asked");
        assert_eq!(reason(Balancer::Auto, &[node(1.0, 1.0, 2), node(50.0, 1.0, 1)]), "fewest requests");
        assert_eq!(reason(Balancer::Auto, &[node(1.0, 1.0, 1), node(50.0, 1.0, 1)]), "least CPU");
        assert_eq!(reason(Balancer::Auto, &[node(1.0, 1.0, 9), node(81.0, 1.0, 0)]), "its CPU is below 80 %");
        assert_eq!(reason(Balancer::Metrics, &[node(1.0, 1.0, 1), node(50.0, 1.0, 1)]), "lowest score");
        assert_eq!(reason(Balancer::RoundRobin, &[node(1.0, 1.0, 1), Facts { last_turn: 4, ..node(1.0, 1.0, 1) }]), "its turn");
        assert_eq!(reason(Balancer::P2c, &[node(1.0, 1.0, 1), node(1.0, 1.0, 0), node(1.0, 1.0, 2)]), "fewest requests");
        assert_eq!(
            reason(Balancer::LeastBusy, &[Facts { loaded: false, ..node(1.0, 1.0, 0) }, node(1.0, 1.0, 9)]),
            "the model is in its memory"
        );
    }

    #[test]
    fn names_go_both_ways() {
        for name in Balancer::NAMES {
            assert_eq!(name.parse::<Balancer>().map(Balancer::name).as_deref(), Ok(name));
            assert_eq!(serde_json::to_value(name.parse::<Balancer>().expect("a listed name")).expect("a name"), name);
        }
        assert!("fastest".parse::<Balancer>().expect_err("no such name").contains("least-busy"));
    }

    /// The policies as they read in words, over all candidates at once: what [`Balancer::choose`] is to come to.
    fn plain(balancer: Balancer, facts: &[Facts], dice: u64) -> Vec<usize> {
        let step = |percent: Option<f64>| percent.map_or(f64::INFINITY, |p| (p / 10.0).floor());
        let usage = |f: &Facts| vec![step(Some(f.cpu)), step(Some(f.memory)), step(f.gpu), step(f.gpu_memory)];
        let incapable = |f: &Facts| f.capability.map_or(f64::INFINITY, |c| -(c * 1e4).round());
        let overloaded = |f: &Facts| f.cpu > 80.0;
        let (active, turn) = (|f: &Facts| f64::from(f.active), |f: &Facts| f.last_turn as f64);
        let answers = |f: &Facts| f.average_ms.map_or(0.0, |ms| (ms.max(1.0).to_bits() >> 49) as f64);
        let score = |f: &Facts| ((f.cpu + f.memory + f.gpu.unwrap_or(0.0) + f.gpu_memory.unwrap_or(0.0)) * 1e4).round() + active(f) * 1e5;
        let (measured, drawn) = (facts.iter().all(|f| f.measured), draw(facts.iter(), dice));
        let none_below = facts.iter().filter(|f| f.measured).all(overloaded);
        let criteria = |f: &Facts| match balancer {
            Balancer::Metrics if none_below => vec![turn(f)],
            Balancer::Metrics if f.measured => vec![0.0, score(f), incapable(f), turn(f)],
            Balancer::Metrics => vec![1.0, 0.0, incapable(f), turn(f)],
            Balancer::Auto if !measured => vec![active(f), incapable(f), turn(f)],
            Balancer::Auto if none_below => [usage(f), vec![incapable(f), turn(f)]].concat(),
            Balancer::Auto => {
                let first = vec![f64::from(u8::from(overloaded(f))), active(f)];
                [first, usage(f), vec![incapable(f), answers(f), f.assigned as f64, turn(f)]].concat()
            }
            Balancer::RoundRobin => vec![turn(f)],
            Balancer::LeastBusy | Balancer::P2c => vec![active(f), turn(f)],
        };
        let risen = |f: &Facts| (f.risen.unwrap_or(1.0) * 1e3) as u64;
        let longest: Vec<u64> = facts.iter().filter(|f| risen(f) == 1000).map(|f| u64::from(f.active) + 1).collect();
        let (sum, count) = (longest.iter().sum::<u64>(), longest.len() as u64);
        let has_its_share = |f: &Facts| count > 0 && risen(f) < 1000 && u64::from(f.active) >= (sum * risen(f)).div_ceil(count * 1000);
        let drawn_out = |i: usize| balancer == Balancer::P2c && drawn.is_some_and(|(first, second)| i != first && i != second);
        let mut all: Vec<_> = facts.iter().enumerate().map(|(i, f)| (!f.loaded, drawn_out(i), has_its_share(f), criteria(f), i)).collect();
        all.sort_by(|a, b| a.partial_cmp(b).expect("no criterion is without order"));
        all.into_iter().map(|(.., i)| i).collect()
    }

    /// Percentages, some of them alike, and now and then none.
    fn percent() -> impl Strategy<Value = f64> {
        prop_oneof![Just(50.0), Just(80.0), Just(100.0), 0.0..=100.0]
    }

    prop_compose! {
        fn facts()(
            (cpu, memory, gpu, gpu_memory) in (percent(), percent(), proptest::option::of(percent()), proptest::option::of(percent())),
            (capability, average_ms) in (proptest::option::of(prop_oneof![Just(8.0), 0.0..99.0]), proptest::option::of(prop_oneof![Just(100.0), 0.1..9e5])),
            (active, measured, loaded) in (0..4_u32, proptest::bool::weighted(0.9), proptest::bool::weighted(0.8)),
            (assigned, last_turn) in (0..3_u64, 0..9_u64),
            risen in prop_oneof![4 => Just(None), 1 => Just(Some(0.25)), 1 => Just(Some(0.5)), 1 => (0.25..1.0).prop_map(Some)],
        ) -> Facts {
            Facts { cpu, memory, gpu, gpu_memory, capability, active, measured, average_ms, assigned, last_turn, loaded, risen }
        }
    }

    proptest! {
        #[test]
        fn the_choice_is_that_of_the_plain_policies(
            facts in proptest::collection::vec(facts(), 0..12),
            which in 0..5_usize,
            dice in any::<u64>(),
        ) {
            let balancer = Balancer::NAMES[which].parse::<Balancer>().expect("a listed name");
            let all = plain(balancer, &facts, dice);
            for places in 0..=facts.len() {
                let best = balancer.choose(&facts, places, dice).order;
                prop_assert_eq!(&best, &all[..places], "{:?}", &facts);
            }
        }
    }
}
