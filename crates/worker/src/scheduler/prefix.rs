//! Sequences of finished requests, kept because a later prompt may begin like them.
//!
//! Only idle sequences are donors. Running ones could be too (their cells can be shared the same way), and a cached
//! sequence could be moved out to memory instead of being dropped: [`Prefixes::donor`] and the eviction in the scheduler are
//! the places for that.

use std::collections::VecDeque;

use super::{SeqId, Token};

/// Shorter beginnings are not worth a sequence.
const LENGTH_MIN: u32 = 8;
/// Cells that may always be kept; llama.cpp looks at this many at a time anyway.
const BUDGET_MIN: u32 = 256;
/// The budget at first, as a part of all cells.
const BUDGET_FIRST_PART: u32 = 8;
/// Dropped sequences that are remembered by their first tokens.
const GHOSTS_MAX: usize = 64;
/// First tokens by which a dropped sequence is remembered.
const GHOST_TOKENS: usize = 64;

#[derive(Debug)]
pub(super) struct Cached {
    pub(super) sequence: SeqId,
    /// What its cells hold, in order.
    pub(super) tokens: Vec<Token>,
    salt: u64,
    /// Value of the clock at the latest use.
    used: u64,
    /// A prompt has been found to begin like it.
    hit: bool,
}

/// The cached sequences. Bounded by the sequence ids that running requests cannot need, and by a budget of cells.
///
/// Every step passes over the cells of all sequences, so a sequence that nobody comes back to slows everybody down: some
/// 10 % for a thousand cells of a small model. The budget therefore follows what the traffic makes of it: it doubles when a
/// prompt is found, or would have been found had its sequence not been dropped, and halves when a sequence goes that never
/// was of use. The latest sequence stays in any case.
#[derive(Debug)]
pub(super) struct Prefixes {
    cached: Vec<Cached>,
    clock: u64,
    capacity: usize,
    /// Most tokens that are kept beside the latest sequence's.
    budget: u32,
    budget_max: u32,
    /// Salts and first tokens of sequences that were dropped without having been of use, oldest first.
    ghosts: VecDeque<(u64, Vec<Token>)>,
    /// Whether a sequence can be cut in its middle; if not, only whole sequences are shared.
    cuts: bool,
}

impl Prefixes {
    pub(super) fn new(capacity: u32, cells: u32, cuts: bool) -> Self {
        let budget_max = cells.max(BUDGET_MIN);
        let budget = (cells / BUDGET_FIRST_PART).max(BUDGET_MIN);
        Self { cached: Vec::new(), clock: 0, capacity: capacity as usize, budget, budget_max, ghosts: VecDeque::new(), cuts }
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
            cached.hit = true;
            self.raise_budget();
        }
    }

    /// Notes that no sequence was found for a prompt.
    pub(super) fn miss(&mut self, salt: u64, prompt: &[Token]) {
        if let Some(index) = self.ghosts.iter().position(|(other, tokens)| *other == salt && prompt.starts_with(tokens)) {
            self.ghosts.remove(index);
            self.raise_budget();
        }
    }

    fn raise_budget(&mut self) {
        self.budget = self.budget.saturating_mul(2).min(self.budget_max);
    }

    /// Takes a finished sequence. What it makes needless (its own beginnings, or itself if it is the beginning of another;
    /// the least recently used ones beyond the bounds) is returned: the caller frees those sequences.
    pub(super) fn keep(&mut self, sequence: SeqId, tokens: Vec<Token>, salt: u64) -> Vec<SeqId> {
        if (tokens.len() as u32) < LENGTH_MIN || self.capacity == 0 {
            return vec![sequence];
        }
        self.clock += 1;
        if let Some(holder) = self.cached.iter_mut().find(|cached| cached.salt == salt && cached.tokens.starts_with(&tokens)) {
            holder.used = self.clock;
            return vec![sequence];
        }
        let mut dropped = Vec::new();
        let mut hit = false;
        self.cached.retain(|cached| {
            let needless = cached.salt == salt && tokens.starts_with(&cached.tokens);
            if needless {
                hit |= cached.hit;
                dropped.push(cached.sequence);
            }
            !needless
        });
        while self.cached.len() == self.capacity || (!self.cached.is_empty() && self.tokens_kept() > self.budget) {
            dropped.extend(self.evict());
        }
        self.cached.push(Cached { sequence, tokens, salt, used: self.clock, hit });
        dropped
    }

    /// Gives up the least recently used sequence; the caller frees it.
    pub(super) fn evict(&mut self) -> Option<SeqId> {
        let oldest = (0..self.cached.len()).min_by_key(|&index| self.cached[index].used)?;
        let mut cached = self.cached.swap_remove(oldest);
        if !cached.hit {
            self.budget = (self.budget / 2).max(BUDGET_MIN);
            cached.tokens.truncate(GHOST_TOKENS);
            self.ghosts.push_back((cached.salt, cached.tokens));
            if self.ghosts.len() > GHOSTS_MAX {
                self.ghosts.pop_front();
            }
        }
        Some(cached.sequence)
    }

    fn tokens_kept(&self) -> u32 {
        self.cached.iter().map(|cached| cached.tokens.len() as u32).sum()
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
        let mut prefixes = Prefixes::new(4, 10_000, true);
        assert!(prefixes.keep(0, tokens(0..20), 1).is_empty());
        assert!(prefixes.keep(1, [tokens(0..10), tokens(50..80)].concat(), 1).is_empty());
        assert_eq!(prefixes.donor(1, &[tokens(0..15), tokens(90..99)].concat()), Some((0, 15)));
        assert_eq!(prefixes.donor(1, &tokens(0..20)), Some((0, 19)), "the last token is always computed");
        assert_eq!(prefixes.donor(2, &tokens(0..20)), None, "salts do not mix");
        assert_eq!(prefixes.donor(1, &tokens(5..20)), None);
    }

    #[test]
    fn without_cuts_only_whole_sequences_are_shared() {
        let mut prefixes = Prefixes::new(4, 10_000, false);
        prefixes.keep(0, tokens(0..20), 1);
        assert_eq!(prefixes.donor(1, &tokens(0..25)), Some((0, 20)));
        assert_eq!(prefixes.donor(1, &[tokens(0..15), tokens(90..99)].concat()), None);
    }

    #[test]
    fn needless_and_oldest_sequences_go() {
        let mut prefixes = Prefixes::new(2, 10_000, true);
        prefixes.keep(0, tokens(0..20), 1);
        assert_eq!(prefixes.keep(1, tokens(0..30), 1), [0], "a beginning of the new one");
        assert_eq!(prefixes.keep(2, tokens(0..25), 1), [2], "itself a beginning");
        assert!(prefixes.keep(3, tokens(100..130), 1).is_empty());
        prefixes.touch(1);
        assert_eq!(prefixes.keep(4, tokens(200..230), 1), [3], "the least recently used");
        assert_eq!(prefixes.keep(5, tokens(0..3), 1), [5], "too short");
    }

    #[test]
    fn the_budget_follows_what_the_traffic_makes_of_it() {
        let mut prefixes = Prefixes::new(8, 4096, true);
        let kept = |prefixes: &Prefixes| prefixes.iter().map(|cached| cached.sequence).collect::<Vec<_>>();
        let talk = |who: i32| tokens(who * 1000..who * 1000 + 300);
        assert_eq!(prefixes.budget, 512);
        for sequence in 0..3 {
            prefixes.keep(sequence, talk(sequence as i32), 1);
        }
        assert_eq!((kept(&prefixes), prefixes.budget), (vec![2], BUDGET_MIN), "nobody came back; the latest stays whatever its size");
        prefixes.miss(1, &talk(9));
        prefixes.miss(2, &talk(0));
        assert_eq!(prefixes.budget, BUDGET_MIN, "not seen before");
        prefixes.miss(1, &talk(0));
        prefixes.miss(1, &talk(1));
        prefixes.miss(1, &talk(1));
        assert_eq!(prefixes.budget, 1024, "two came back in vain");
        prefixes.keep(3, talk(0), 1);
        prefixes.keep(4, talk(1), 1);
        assert_eq!(kept(&prefixes), [2, 3, 4]);
        prefixes.touch(3);
        assert_eq!(prefixes.budget, 2048);
    }
}
