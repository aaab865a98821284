//! Sequences of finished requests, kept because a later prompt may begin like them.
//!
//! Only idle sequences are donors. Running ones could be too (their cells can be shared the same way), and a cached
//! sequence could be moved out to memory instead of being dropped: [`Prefixes::donor`] and the eviction in the scheduler are
//! the places for that.

use super::{SeqId, Token};

/// Shorter beginnings are not worth a sequence.
const LENGTH_MIN: u32 = 8;

#[derive(Debug)]
pub(super) struct Cached {
    pub(super) sequence: SeqId,
    /// What its cells hold, in order.
    pub(super) tokens: Vec<Token>,
    salt: u64,
    /// Value of the clock at the latest use.
    used: u64,
}

/// The cached sequences. Bounded by the sequence ids that running requests cannot need.
#[derive(Debug)]
pub(super) struct Prefixes {
    cached: Vec<Cached>,
    clock: u64,
    capacity: usize,
    /// Whether a sequence can be cut in its middle; if not, only whole sequences are shared.
    cuts: bool,
}

impl Prefixes {
    pub(super) fn new(capacity: u32, cuts: bool) -> Self {
        Self { cached: Vec::new(), clock: 0, capacity: capacity as usize, cuts }
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Cached> {
        self.cached.iter()
    }

    /// The sequence with the longest common beginning, and its length. At least one token of the prompt is left over,
    /// because the last one has to be computed for its logits.
    pub(super) fn donor(&self, salt: u64, prompt: &[Token]) -> Option<(SeqId, u32)> {
        self.cached
            .iter()
            .filter(|cached| cached.salt == salt)
            .map(|cached| (cached.sequence, self.shared(cached, prompt)))
            .filter(|&(_, length)| length >= LENGTH_MIN)
            .max_by_key(|&(_, length)| length)
    }

    fn shared(&self, cached: &Cached, prompt: &[Token]) -> u32 {
        let length = common(&cached.tokens, prompt).min(prompt.len().saturating_sub(1));
        if self.cuts || length == cached.tokens.len() { length as u32 } else { 0 }
    }

    /// Notes that a sequence was of use.
    pub(super) fn touch(&mut self, sequence: SeqId) {
        self.clock += 1;
        if let Some(cached) = self.cached.iter_mut().find(|cached| cached.sequence == sequence) {
            cached.used = self.clock;
        }
    }

    /// Takes a finished sequence. What it makes needless (its own beginnings, or itself if it is the beginning of another;
    /// the least recently used if there are too many) is returned: the caller frees those sequences.
    pub(super) fn keep(&mut self, sequence: SeqId, tokens: Vec<Token>, salt: u64) -> Vec<SeqId> {
        if (tokens.len() as u32) < LENGTH_MIN || self.capacity == 0 {
            return vec![sequence];
        }
        if let Some(index) = self.cached.iter().position(|cached| cached.salt == salt && cached.tokens.starts_with(&tokens)) {
            let holder = self.cached[index].sequence;
            self.touch(holder);
            return vec![sequence];
        }
        let mut dropped = Vec::new();
        self.cached.retain(|cached| {
            let needless = cached.salt == salt && tokens.starts_with(&cached.tokens);
            if needless {
                dropped.push(cached.sequence);
            }
            !needless
        });
        if self.cached.len() == self.capacity {
            dropped.extend(self.evict());
        }
        self.clock += 1;
        self.cached.push(Cached { sequence, tokens, salt, used: self.clock });
        dropped
    }

    /// Gives up the least recently used sequence; the caller frees it.
    pub(super) fn evict(&mut self) -> Option<SeqId> {
        let oldest = (0..self.cached.len()).min_by_key(|&index| self.cached[index].used)?;
        Some(self.cached.swap_remove(oldest).sequence)
    }
}

fn common(a: &[Token], b: &[Token]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(range: std::ops::Range<i32>) -> Vec<Token> {
        range.collect()
    }

    #[test]
    fn the_longest_beginning_of_the_same_salt_is_found() {
        let mut prefixes = Prefixes::new(4, true);
        assert!(prefixes.keep(0, tokens(0..20), 1).is_empty());
        assert!(prefixes.keep(1, [tokens(0..10), tokens(50..80)].concat(), 1).is_empty());
        assert_eq!(prefixes.donor(1, &[tokens(0..15), tokens(90..99)].concat()), Some((0, 15)));
        assert_eq!(prefixes.donor(1, &tokens(0..20)), Some((0, 19)), "the last token is always computed");
        assert_eq!(prefixes.donor(2, &tokens(0..20)), None, "salts do not mix");
        assert_eq!(prefixes.donor(1, &tokens(5..20)), None);
    }

    #[test]
    fn without_cuts_only_whole_sequences_are_shared() {
        let mut prefixes = Prefixes::new(4, false);
        prefixes.keep(0, tokens(0..20), 1);
        assert_eq!(prefixes.donor(1, &tokens(0..25)), Some((0, 20)));
        assert_eq!(prefixes.donor(1, &[tokens(0..15), tokens(90..99)].concat()), None);
    }

    #[test]
    fn needless_and_oldest_sequences_go() {
        let mut prefixes = Prefixes::new(2, true);
        prefixes.keep(0, tokens(0..20), 1);
        assert_eq!(prefixes.keep(1, tokens(0..30), 1), [0], "a beginning of the new one");
        assert_eq!(prefixes.keep(2, tokens(0..25), 1), [2], "itself a beginning");
        assert!(prefixes.keep(3, tokens(100..130), 1).is_empty());
        prefixes.touch(1);
        assert_eq!(prefixes.keep(4, tokens(200..230), 1), [3], "the least recently used");
        assert_eq!(prefixes.keep(5, tokens(0..3), 1), [5], "too short");
    }
}
