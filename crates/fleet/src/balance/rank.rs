//! By what candidates are compared: four words for each, of which the first decides nearly always. The first place where two differ decides between
//! them.

use super::{Balancer, CPU_PERCENT_MAX, Known};

/// Percent of one step in which `auto` compares loads: exact decimals would decide nearly always.
const LOAD_STEP: f64 = 10.0;
/// Scores nearer than this are equal.
const SCORE_STEP: f64 = 1e-4;
/// What a request in flight adds to a score, in such steps.
const SCORE_OF_REQUEST: u64 = 100_000;
/// Bits of an answer time that do not count: what is left are eight steps from one power of two to the next.
const ANSWER_TIME_BITS: u32 = 49;

/// Smaller is better, from the first word to the last.
pub(super) type Rank = [u64; 4];

/// In the first word, for all rules: the model would have to be loaded first, the dice did not take it, and it came lately and has its share.
pub(super) const NOT_LOADED: u64 = 1 << 63;
pub(super) const NOT_DRAWN: u64 = 1 << 62;
pub(super) const HAS_ITS_SHARE: u64 = 1 << 61;
/// In the first word, by rule: above the load that is asked for, or unknown.
const WORSE: u64 = 1 << 60;
/// Requests in flight in the first word.
const ACTIVE_SHIFT: u32 = 32;
const ACTIVE_MAX: u64 = (1 << 28) - 1;
const ACTIVE: u64 = ACTIVE_MAX << ACTIVE_SHIFT;
/// A score in the first word.
const SCORE: u64 = WORSE - 1;
/// Of the third word: the answer time above, requests so far below.
const ASSIGNED_BITS: u32 = 48;
const ASSIGNED_MAX: u64 = (1 << ASSIGNED_BITS) - 1;

/// A report of load as it is compared, in one word: the score in the low half, above it CPU, memory, GPU and GPU memory in steps, and a bit for
/// too much CPU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage(pub(crate) u64);

impl Usage {
    const STEPS_SHIFT: u32 = 32;
    const STEPS: u64 = 0xffff;
    const OVERLOADED: u64 = 1 << 48;
    /// Of the four bits of a step; unknown is worse than any known value.
    const STEP_MAX: f64 = 14.0;
    const UNKNOWN: u64 = 15;

    /// Percentages of CPU, memory, GPU and GPU memory.
    pub(crate) fn of(percents: [Option<f64>; 4]) -> Self {
        let step = |percent: Option<f64>| percent.map_or(Self::UNKNOWN, |p| (p / LOAD_STEP).floor().clamp(0.0, Self::STEP_MAX) as u64);
        let steps = percents.into_iter().fold(0, |steps, percent| steps << 4 | step(percent));
        let sum: f64 = percents.into_iter().flatten().sum();
        let score = (sum / SCORE_STEP).round() as u32;
        let overloaded = flag(percents[0].is_some_and(|cpu| cpu > CPU_PERCENT_MAX), Self::OVERLOADED);
        Self(overloaded | steps << Self::STEPS_SHIFT | u64::from(score))
    }

    fn steps(self) -> u64 {
        self.0 >> Self::STEPS_SHIFT & Self::STEPS
    }

    fn score(self) -> u64 {
        self.0 & u64::from(u32::MAX)
    }

    pub(super) fn is_overloaded(self) -> bool {
        self.0 & Self::OVERLOADED != 0
    }
}

/// Smaller is more capable; the largest number where nothing is known.
pub(crate) fn incapability(capability: Option<f64>) -> u64 {
    let steps = |c: f64| ((c / SCORE_STEP).round() as i64).saturating_neg();
    capability.map_or(u64::MAX, |c| steps(c).cast_unsigned() ^ 1 << 63)
}

/// How candidates are compared at this instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// `auto`.
    All,
    /// `auto` where not all have reported their load.
    RequestsAndCapability,
    /// `auto` with all overloaded.
    Usage,
    /// `metrics`.
    Score,
    /// `metrics` where nobody reports a load below the most.
    TurnForWantOfLoad,
    Turn,
    Requests,
}

/// Where in a rank something is said, and what.
type Criterion = (usize, u64, &'static str);

const FIRST: [Criterion; 2] =
    [(0, NOT_LOADED, "the model is in its memory"), (0, HAS_ITS_SHARE, "another came back lately and has its share for now")];
const LEAST_USED: [Criterion; 4] =
    [(0, 0xf000, "least CPU"), (0, 0xf00, "least memory"), (0, 0xf0, "least GPU"), (0, 0xf, "least GPU memory")];
const REQUESTS: Criterion = (0, ACTIVE, "fewest requests");
const CAPABLE: Criterion = (1, u64::MAX, "most capable");
const TURN: Criterion = (3, u64::MAX, "its turn");

impl Rule {
    /// The rule of a policy for these candidates.
    pub(super) fn of<K: Known>(balancer: Balancer, mut known: impl Iterator<Item = K> + Clone) -> Self {
        match balancer {
            Balancer::Metrics if known.clone().filter(K::is_measured).all(|k| k.usage().is_overloaded()) => Self::TurnForWantOfLoad,
            Balancer::Metrics => Self::Score,
            Balancer::Auto if !known.clone().all(|k| k.is_measured()) => Self::RequestsAndCapability,
            Balancer::Auto if known.all(|k| k.usage().is_overloaded()) => Self::Usage,
            Balancer::Auto => Self::All,
            Balancer::RoundRobin => Self::Turn,
            Balancer::LeastBusy | Balancer::P2c => Self::Requests,
        }
    }

    /// The first word but for what is the same for all rules.
    pub(super) fn head(self, k: &impl Known) -> u64 {
        let requests = || u64::from(k.active()).min(ACTIVE_MAX) << ACTIVE_SHIFT;
        match self {
            Self::All => {
                let usage = k.usage();
                flag(usage.is_overloaded(), WORSE) | requests() | usage.steps()
            }
            Self::RequestsAndCapability | Self::Requests => requests(),
            Self::Usage => k.usage().steps(),
            Self::Score if k.is_measured() => k.usage().score() + u64::from(k.active()) * SCORE_OF_REQUEST,
            Self::Score => WORSE,
            Self::TurnForWantOfLoad | Self::Turn => 0,
        }
    }

    /// The other words.
    pub(super) fn rest(self, k: &impl Known) -> [u64; 3] {
        let [capability, history] = match self {
            Self::All => [k.incapability(), answer_time(k.average_ms()) << ASSIGNED_BITS | k.assigned().min(ASSIGNED_MAX)],
            Self::RequestsAndCapability | Self::Usage | Self::Score => [k.incapability(), 0],
            Self::TurnForWantOfLoad | Self::Turn | Self::Requests => [0, 0],
        };
        [capability, history, k.last_turn()]
    }

    /// What puts one before the other.
    pub(super) fn difference(self, one: &Rank, other: &Rank) -> Option<&'static str> {
        let differs = |(word, bits, _): &&Criterion| (one[*word] ^ other[*word]) & bits != 0;
        FIRST.iter().chain(self.criteria()).find(differs).map(|(_, _, said)| *said)
    }

    fn criteria(self) -> &'static [Criterion] {
        const ALL: [Criterion; 10] = [
            (0, WORSE, "its CPU is below 80 %"),
            REQUESTS,
            LEAST_USED[0],
            LEAST_USED[1],
            LEAST_USED[2],
            LEAST_USED[3],
            CAPABLE,
            (2, !ASSIGNED_MAX, "answers soonest"),
            (2, ASSIGNED_MAX, "asked least so far"),
            TURN,
        ];
        const USAGE: [Criterion; 6] =
            [(0, LEAST_USED[0].1, "least CPU, with all overloaded"), LEAST_USED[1], LEAST_USED[2], LEAST_USED[3], CAPABLE, TURN];
        match self {
            Self::All => &ALL,
            Self::RequestsAndCapability => &[REQUESTS, CAPABLE, TURN],
            Self::Usage => &USAGE,
            Self::Score => &[(0, WORSE, "it reports its load"), (0, SCORE, "lowest score"), CAPABLE, TURN],
            Self::TurnForWantOfLoad => &[(3, u64::MAX, "its turn, as nobody reports a load below 80 % CPU")],
            Self::Turn => &[TURN],
            Self::Requests => &[(0, NOT_DRAWN, "drawn"), REQUESTS, TURN],
        }
    }
}

/// Answer times in steps of about ten percent; a node that has answered nothing yet comes first, so that it gets its measure.
fn answer_time(average_ms: Option<f64>) -> u64 {
    average_ms.map_or(0, |ms| ms.max(1.0).to_bits() >> ANSWER_TIME_BITS)
}

/// The bit where it is so.
pub(super) fn flag(is_so: bool, bit: u64) -> u64 {
    if is_so { bit } else { 0 }
}
