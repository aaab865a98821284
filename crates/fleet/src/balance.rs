//! Which node first: pure functions over what is known of each candidate at one instant.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

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
}

/// CPU above which a node counts as overloaded.
const CPU_PERCENT_MAX: f64 = 80.0;
/// Scores nearer than this are equal.
const SCORE_STEP: f64 = 1e-4;
/// Percent of one step in which `auto` compares loads: exact decimals would decide nearly always.
const LOAD_STEP: f64 = 10.0;
/// Bits of an answer time that do not count: what is left are eight steps from one power of two to the next.
const ANSWER_TIME_BITS: u32 = 49;

/// What decided, and by what it was compared: the first place where two candidates differ decides between them.
const CRITERIA: usize = 11;
type Marks = [i64; CRITERIA];

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
        let policy = Policy::of(self, facts, dice);
        let mut best: Vec<(Marks, usize)> = Vec::with_capacity(places.min(facts.len()) + 1);
        for (i, candidate) in facts.iter().enumerate() {
            let marks = policy.marks(i, candidate);
            if best.len() == places && best.last().is_some_and(|(worst, _)| *worst <= marks) {
                continue;
            }
            let place = best.partition_point(|(better, _)| *better <= marks);
            best.insert(place, (marks, i));
            best.truncate(places);
        }
        let reason = match best.as_slice() {
            [] => "nobody can be asked",
            [_] if facts.len() == 1 => "the only one that can be asked",
            [_] => "best by its policy",
            [(first, _), (second, _), ..] => {
                let differs = first.iter().zip(second).position(|(a, b)| a != b);
                differs.map_or("equal to others", |criterion| policy.criteria[criterion])
            }
        };
        Choice { order: best.into_iter().map(|(_, i)| i).collect(), reason }
    }
}

/// How candidates are compared at this instant.
struct Policy {
    marks: fn(&Facts) -> Marks,
    criteria: [&'static str; CRITERIA],
    /// The two that the dice took.
    drawn: Option<(usize, usize)>,
}

impl Policy {
    fn of(balancer: Balancer, facts: &[Facts], dice: u64) -> Self {
        let overloaded = |f: &Facts| f.cpu > CPU_PERCENT_MAX;
        let (marks, said): (fn(&Facts) -> Marks, &[&'static str]) = match balancer {
            Balancer::Metrics if facts.iter().filter(|f| f.measured).all(overloaded) => {
                (by_turn, &["its turn, as nobody reports a load below 80 % CPU"])
            }
            Balancer::Metrics => (by_score, &["it reports its load", "lowest score", "most capable", "its turn"]),
            Balancer::Auto if !facts.iter().all(|f| f.measured) => {
                (by_requests_and_capability, &["fewest requests", "most capable", "its turn"])
            }
            Balancer::Auto if facts.iter().all(overloaded) => {
                (by_usage, &["least CPU, with all overloaded", "least memory", "least GPU", "least GPU memory", "most capable", "its turn"])
            }
            Balancer::Auto => (
                by_all,
                &[
                    "its CPU is below 80 %",
                    "fewest requests",
                    "least CPU",
                    "least memory",
                    "least GPU",
                    "least GPU memory",
                    "most capable",
                    "answers soonest",
                    "asked least so far",
                    "its turn",
                ],
            ),
            Balancer::RoundRobin => (by_turn, &["its turn"]),
            Balancer::LeastBusy | Balancer::P2c => (by_requests, &["drawn", "fewest requests", "its turn"]),
        };
        let mut criteria = ["equal to others"; CRITERIA];
        criteria[0] = "the model is in its memory";
        criteria[1..].iter_mut().zip(said).for_each(|(place, said)| *place = said);
        let drawn = if balancer == Balancer::P2c { draw(facts, dice) } else { None };
        Self { marks, criteria, drawn }
    }

    fn marks(&self, i: usize, facts: &Facts) -> Marks {
        let mut marks = (self.marks)(facts);
        // A node that would have to load the model first comes after those that have it.
        marks[0] = i64::from(!facts.loaded);
        if let Some((first, second)) = self.drawn {
            marks[1] = i64::from(i != first && i != second);
        }
        marks
    }
}

/// Two different ones of those that would come first, each pair as likely as any other.
fn draw(facts: &[Facts], dice: u64) -> Option<(usize, usize)> {
    let any_loaded = facts.iter().any(|f| f.loaded);
    let may = |f: &Facts| f.loaded || !any_loaded;
    let n = facts.iter().filter(|f| may(f)).count() as u64;
    if n < 2 {
        return None;
    }
    let dice = mix(dice);
    let first = dice % n;
    let second = (first + 1 + (dice >> 32) % (n - 1)) % n;
    let nth = |n: u64| facts.iter().enumerate().filter(|(_, f)| may(f)).nth(n as usize).map(|(i, _)| i);
    Some((nth(first)?, nth(second)?))
}

/// The marks after the first, which is the same for all policies.
fn after_loaded<const N: usize>(said: [i64; N]) -> Marks {
    let mut marks = [0; CRITERIA];
    marks[1..=N].copy_from_slice(&said);
    marks
}

fn by_turn(f: &Facts) -> Marks {
    after_loaded([turn(f)])
}

fn by_requests(f: &Facts) -> Marks {
    after_loaded([0, i64::from(f.active), turn(f)])
}

fn by_requests_and_capability(f: &Facts) -> Marks {
    after_loaded([i64::from(f.active), incapability(f), turn(f)])
}

fn by_score(f: &Facts) -> Marks {
    let score = f.cpu + f.memory + f.gpu.unwrap_or(0.0) + f.gpu_memory.unwrap_or(0.0) + f64::from(f.active) * 10.0;
    after_loaded([i64::from(!f.measured), if f.measured { steps(score, SCORE_STEP) } else { 0 }, incapability(f), turn(f)])
}

fn by_usage(f: &Facts) -> Marks {
    let [cpu, memory, gpu, gpu_memory] = usage(f);
    after_loaded([cpu, memory, gpu, gpu_memory, incapability(f), turn(f)])
}

fn by_all(f: &Facts) -> Marks {
    let [cpu, memory, gpu, gpu_memory] = usage(f);
    let assigned = i64::try_from(f.assigned).unwrap_or(i64::MAX);
    let overloaded = i64::from(f.cpu > CPU_PERCENT_MAX);
    after_loaded([overloaded, i64::from(f.active), cpu, memory, gpu, gpu_memory, incapability(f), answer_time(f), assigned, turn(f)])
}

/// CPU, memory, GPU, GPU memory in steps; unknown is worse than any known value.
fn usage(f: &Facts) -> [i64; 4] {
    let unknown_last = |percent: Option<f64>| percent.map_or(i64::MAX, |p| (p / LOAD_STEP).floor() as i64);
    [unknown_last(Some(f.cpu)), unknown_last(Some(f.memory)), unknown_last(f.gpu), unknown_last(f.gpu_memory)]
}

fn turn(f: &Facts) -> i64 {
    i64::try_from(f.last_turn).unwrap_or(i64::MAX)
}

fn incapability(f: &Facts) -> i64 {
    f.capability.map_or(i64::MAX, |c| steps(c, SCORE_STEP).saturating_neg())
}

/// Answer times in steps of about ten percent; a node that has answered nothing yet comes first, so that it gets its measure.
fn answer_time(f: &Facts) -> i64 {
    f.average_ms.map_or(i64::MIN, |ms| i64::try_from(ms.max(1.0).to_bits() >> ANSWER_TIME_BITS).unwrap_or(i64::MAX))
}

fn steps(value: f64, step: f64) -> i64 {
    (value / step).round() as i64
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

    proptest! {
        #[test]
        fn every_candidate_comes_exactly_once(
            raw in proptest::collection::vec((0.0..200.0_f64, 0.0..100.0_f64, 0..20_u32, any::<bool>(), any::<bool>(), proptest::option::of(0.0..100.0_f64), 0..9_u64), 0..12),
            which in 0..5_usize,
            dice in any::<u64>(),
        ) {
            let facts: Vec<Facts> = raw.into_iter().map(|(cpu, memory, active, measured, loaded, other, last_turn)| {
                Facts { cpu, memory, active, measured, loaded, gpu: other, gpu_memory: other, capability: other, average_ms: other, assigned: last_turn, last_turn }
            }).collect();
            let balancer = Balancer::NAMES[which].parse::<Balancer>().expect("a listed name");
            let mut got = order(balancer, &facts, dice);
            for places in 1..=facts.len() {
                let best = balancer.choose(&facts, places, dice).order;
                prop_assert_eq!(&best, &got[..places], "fewer places, the same order");
            }
            got.sort_unstable();
            prop_assert_eq!(got, (0..facts.len()).collect::<Vec<_>>());
        }
    }
}
