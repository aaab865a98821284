//! Slow start: a node that joined or came back gets its share little by little, for its caches are cold and its report of load is old. What it may
//! have is counted in requests in flight, as a part of what those have that have been there for long; so it is held back only where there is much
//! to do, and not at all where all are new.

use super::Known;

/// The whole share.
pub(crate) const RISEN: u32 = 1000;
/// Its share at first.
const RISEN_FIRST: u32 = 250;
/// The time from there to the whole share.
const RISE_MS: u32 = 10_000;

/// How much of its share a node may have that came this long ago.
pub(crate) const fn risen_after(ms: u32) -> u32 {
    if ms >= RISE_MS { RISEN } else { RISEN_FIRST + (RISEN - RISEN_FIRST) * ms / RISE_MS }
}

/// What candidates may have that rise: of those that have risen, the requests in flight together and one for each, and how many they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    sum: u64,
    count: u64,
}

impl Share {
    /// `None` where all are new: that one came a moment before the other says nothing of either.
    pub(super) fn of<K: Known>(known: impl Iterator<Item = K>) -> Option<Self> {
        let risen = known.filter(|k| k.risen() == RISEN);
        let (sum, count) = risen.fold((0, 0), |(sum, count), k| (sum + u64::from(k.active()) + 1, count + 1));
        (count > 0).then_some(Self { sum, count })
    }

    /// Whether it has as much as it may have for now.
    pub(super) fn has_it(self, k: &impl Known) -> bool {
        let risen = k.risen();
        risen < RISEN && u64::from(k.active()) >= (self.sum.saturating_mul(u64::from(risen))).div_ceil(self.count * u64::from(RISEN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_grows_from_a_quarter_to_the_whole() {
        assert_eq!([0, 5_000, 9_999, 10_000, u32::MAX].map(risen_after), [250, 625, 999, 1000, 1000]);
    }
}
