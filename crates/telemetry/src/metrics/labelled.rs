//! Handles by label value, bounded in number.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use foldhash::HashMap;

use crate::names::labels;

/// Most distinct values of one label; all others together count as `other`.
pub const LABEL_VALUES_MAX: usize = 256;
/// Longest label value kept; longer ones are cut.
const LABEL_BYTES_MAX: usize = 128;

/// One handle per label value.
pub(super) struct Labelled<T> {
    known: RwLock<HashMap<Box<str>, Arc<T>>>,
    make: Box<dyn Fn(&str) -> T + Send + Sync>,
}

impl<T> Labelled<T> {
    pub(super) fn new(make: impl Fn(&str) -> T + Send + Sync + 'static) -> Self {
        Self { known: RwLock::default(), make: Box::new(make) }
    }

    /// The handle of a value: a read lock and a hash when it is known.
    pub(super) fn get(&self, value: &str) -> Arc<T> {
        let value = cut(value);
        if let Some(found) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(value) {
            return found.clone();
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        // The last place is for all that come after.
        let is_full = known.len() + 1 >= LABEL_VALUES_MAX && !known.contains_key(value);
        let value = if is_full { labels::OTHER } else { value };
        known.entry(value.into()).or_insert_with(|| Arc::new((self.make)(value))).clone()
    }
}

impl<T> fmt::Debug for Labelled<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Labelled").finish_non_exhaustive()
    }
}

fn cut(value: &str) -> &str {
    let mut end = value.len().min(LABEL_BYTES_MAX);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    &value[..end]
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::{LABEL_VALUES_MAX, Labelled};

    #[test]
    fn values_are_bounded_and_the_rest_share_one() {
        let made = Arc::new(AtomicUsize::new(0));
        let count = made.clone();
        let labelled = Labelled::new(move |value| {
            count.fetch_add(1, Ordering::Relaxed);
            value.to_owned()
        });
        for n in 0..10_000 {
            labelled.get(&format!("m{n}"));
        }
        assert_eq!(made.load(Ordering::Relaxed), LABEL_VALUES_MAX);
        assert_eq!(*labelled.get("m9999"), "other");
        assert_eq!(*labelled.get("m7"), "m7");
    }

    #[test]
    fn long_values_are_cut_at_a_character() {
        let labelled = Labelled::new(str::to_owned);
        assert_eq!(labelled.get(&"é".repeat(500)).len(), 128);
        assert_eq!(labelled.get(&format!("x{}", "é".repeat(500))).len(), 127);
    }
}
