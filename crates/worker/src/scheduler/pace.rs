//! How fast this machine is, and how many prompt tokens therefore fit into one step.

use std::time::Duration;

/// Smallest prefill chunk: below it a step costs the same.
pub(super) const CHUNK_MIN: u32 = 16;
/// Chunk before anything was measured.
const CHUNK_FIRST: u32 = 32;
/// When nobody waits for a token, a step may be this many times longer.
const ALONE_FACTOR: f32 = 5.0;
/// Weight of the newest measurement.
const WEIGHT: f32 = 0.3;

/// Moving averages of the engine's speed.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pace {
    /// Prompt tokens per second; 0 until measured.
    pub prefill_tps: f32,
    /// Milliseconds per token of one sequence; 0 until measured.
    pub tpot_ms: f32,
}

impl Pace {
    /// Takes a step of `prefill` prompt rows and `decode` generating rows into account.
    pub fn measure(&mut self, prefill: u32, decode: u32, elapsed: Duration) {
        let seconds = elapsed.as_secs_f32().max(1e-6);
        if prefill >= CHUNK_MIN {
            blend(&mut self.prefill_tps, (prefill + decode) as f32 / seconds);
        }
        if decode > 0 {
            blend(&mut self.tpot_ms, seconds * 1e3);
        }
    }

    /// Prompt tokens for the next step: as many as `step` allows while others generate, several times that when nobody does.
    pub(super) fn chunk(self, step: Duration, others_generate: bool, ubatch: u32, batch: u32) -> u32 {
        let (factor, most) = if others_generate { (1.0, ubatch.min(batch)) } else { (ALONE_FACTOR, batch) };
        let wanted = if self.prefill_tps > 0.0 { (self.prefill_tps * step.as_secs_f32() * factor) as u32 } else { CHUNK_FIRST };
        wanted.clamp(CHUNK_MIN.min(most), most)
    }
}

fn blend(average: &mut f32, sample: f32) {
    *average = if *average > 0.0 { *average + WEIGHT * (sample - *average) } else { sample };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_follow_the_measured_rate_within_their_bounds() {
        let step = Duration::from_millis(200);
        let pace = |tps| Pace { prefill_tps: tps, tpot_ms: 0.0 };
        assert_eq!(pace(0.0).chunk(step, true, 512, 2048), CHUNK_FIRST);
        assert_eq!(pace(200.0).chunk(step, true, 512, 2048), 40);
        assert_eq!(pace(200.0).chunk(step, false, 512, 2048), 200);
        assert_eq!(pace(1.0).chunk(step, true, 512, 2048), CHUNK_MIN);
        assert_eq!(pace(1e6).chunk(step, true, 512, 2048), 512);
        assert_eq!(pace(1e6).chunk(step, false, 512, 2048), 2048);
        assert_eq!(pace(1e6).chunk(step, false, 8, 8), 8);
    }

    #[test]
    fn averages_move_towards_what_is_measured() {
        let mut pace = Pace::default();
        pace.measure(100, 0, Duration::from_secs(1));
        assert_eq!(pace, Pace { prefill_tps: 100.0, tpot_ms: 0.0 });
        pace.measure(200, 0, Duration::from_secs(1));
        assert!(pace.prefill_tps > 100.0 && pace.prefill_tps < 200.0);
        pace.measure(0, 4, Duration::from_millis(10));
        assert!((pace.tpot_ms - 10.0).abs() < 0.1);
        pace.measure(3, 0, Duration::from_secs(9));
        assert!(pace.prefill_tps > 100.0, "a chunk too small to measure says nothing");
    }
}
