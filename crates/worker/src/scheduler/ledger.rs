//! Who holds which KV cell.
//!
//! Cells have no names in llama.cpp; here each has a number so that cells shared by several sequences are counted once.
//! Invariant: a cell is free exactly when no sequence holds it.

use super::SeqId;

/// Counts of holders per cell, and the cells of each sequence in order of position.
#[derive(Debug)]
pub(super) struct Ledger {
    holders: Vec<u32>,
    free: Vec<u32>,
    sequences: Vec<Vec<u32>>,
}

impl Ledger {
    pub(super) fn new(cells: u32, sequences: u32) -> Self {
        Self { holders: vec![0; cells as usize], free: (0..cells).rev().collect(), sequences: vec![Vec::new(); sequences as usize] }
    }

    pub(super) fn total(&self) -> u32 {
        self.holders.len() as u32
    }

    pub(super) fn free(&self) -> u32 {
        self.free.len() as u32
    }

    #[cfg(test)]
    pub(super) fn len(&self, sequence: SeqId) -> u32 {
        self.sequences[sequence as usize].len() as u32
    }

    /// Gives a sequence `count` more cells of its own.
    ///
    /// # Panics
    /// When fewer are free: the caller reserves before it extends.
    pub(super) fn extend(&mut self, sequence: SeqId, count: u32) {
        for _ in 0..count {
            let cell = self.free.pop().expect("admission reserves every cell before it is used");
            self.holders[cell as usize] = 1;
            self.sequences[sequence as usize].push(cell);
        }
    }

    /// Lets the empty sequence `to` hold the first `length` cells of `from` too.
    pub(super) fn share(&mut self, from: SeqId, to: SeqId, length: u32) {
        debug_assert!(self.sequences[to as usize].is_empty(), "only an empty sequence takes a share");
        let cells = self.sequences[from as usize][..length as usize].to_vec();
        for &cell in &cells {
            self.holders[cell as usize] += 1;
        }
        self.sequences[to as usize] = cells;
    }

    /// Takes the cells from place `length` on away from a sequence.
    pub(super) fn truncate(&mut self, sequence: SeqId, length: u32) {
        let cells = &mut self.sequences[sequence as usize];
        for cell in cells.drain((length as usize).min(cells.len())..) {
            let holders = &mut self.holders[cell as usize];
            *holders -= 1;
            if *holders == 0 {
                self.free.push(cell);
            }
        }
    }

    /// How many different cells the given starts of sequences hold.
    pub(super) fn held_by(&self, starts: impl Iterator<Item = (SeqId, u32)>) -> u32 {
        let mut seen = vec![false; self.holders.len()];
        let mut count = 0;
        for (sequence, length) in starts {
            let cells = &self.sequences[sequence as usize];
            for &cell in &cells[..(length as usize).min(cells.len())] {
                count += u32::from(!std::mem::replace(&mut seen[cell as usize], true));
            }
        }
        count
    }

    /// Checks the invariant from scratch.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let mut holders = vec![0; self.holders.len()];
        for &cell in self.sequences.iter().flatten() {
            holders[cell as usize] += 1;
        }
        assert_eq!(holders, self.holders, "holders are the sum over sequences");
        let unheld = holders.iter().filter(|&&count| count == 0).count();
        assert_eq!(unheld, self.free.len(), "free cells are those without a holder");
        assert!(self.free.iter().all(|&cell| holders[cell as usize] == 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_cells_count_once_and_live_until_the_last_holder_goes() {
        let mut ledger = Ledger::new(10, 3);
        ledger.extend(0, 6);
        ledger.share(0, 1, 4);
        ledger.extend(1, 2);
        assert_eq!((ledger.free(), ledger.len(0), ledger.len(1)), (2, 6, 6));
        assert_eq!(ledger.held_by([(0, 6), (1, 6)].into_iter()), 8);
        ledger.truncate(0, 0);
        assert_eq!(ledger.free(), 4);
        ledger.check();
        ledger.truncate(1, 3);
        assert_eq!(ledger.free(), 7);
        ledger.check();
    }
}
