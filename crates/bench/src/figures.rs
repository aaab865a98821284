//! How times are kept and told.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Longest time told apart: 600 s.
const LONGEST_NS: u64 = 600_000_000_000;
/// Significant digits kept of each time.
const DIGITS: u8 = 3;

/// Times in nanoseconds.
#[derive(Debug, Clone)]
pub(crate) struct Times(Histogram<u64>);

impl Times {
    pub(crate) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_NS, DIGITS).expect("the bounds are in order"))
    }

    pub(crate) fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns.max(1));
    }

    /// A quantile in microseconds; 0 where nothing was recorded.
    pub(crate) fn us(&self, quantile: f64) -> f64 {
        tenths(self.0.value_at_quantile(quantile) as f64 / 1000.0)
    }

    pub(crate) fn summary(&self) -> Summary {
        Summary {
            n: self.0.len(),
            p50_us: self.us(0.5),
            p90_us: self.us(0.9),
            p99_us: self.us(0.99),
            p999_us: self.us(0.999),
            max_us: self.us(1.0),
            mean_us: tenths(self.0.mean() / 1000.0),
        }
    }
}

/// A distribution of times, in microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Summary {
    pub n: u64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
    pub mean_us: f64,
}

/// A figure over the rounds of a run.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Spread {
    pub min: f64,
    pub med: f64,
    pub max: f64,
}

impl Spread {
    /// Least, middle and greatest; of an even number of values the upper middle. All 0 where there are none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |n: usize| values.get(n).copied().map_or(0.0, tenths);
        Self { min: at(0), med: at(values.len() / 2), max: at(values.len().saturating_sub(1)) }
    }
}

/// Rounded to one decimal.
pub(crate) fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::{Spread, Times};

    #[test]
    fn quantiles_keep_three_digits() {
        let mut times = Times::new();
        for n in 1..=1000_u64 {
            times.record(n * 1000);
        }
        assert!((times.us(0.5) - 500.0).abs() <= 1.0, "{}", times.us(0.5));
        assert!((times.summary().p99_us - 990.0).abs() <= 2.0);
        assert_eq!(Times::new().summary().n, 0);
    }

    #[test]
    fn a_spread_has_its_middle() {
        let spread = Spread::of([3.0, 1.0, 2.04]);
        assert_eq!((spread.min, spread.med, spread.max), (1.0, 2.0, 3.0));
        let none = Spread::of([]);
        assert_eq!((none.min, none.med, none.max), (0.0, 0.0, 0.0));
    }
}
