//! Blocks that a server may write at the same time, given out one after the other.

use std::collections::VecDeque;

use crate::ir::{BlockKind, Delta, Event};

/// Most bytes that are held of blocks whose turn has not come.
const HELD_BYTES_MAX: usize = 16 << 20;

/// Most blocks that are open at once.
const OPEN_MAX: usize = 1024;

/// More is held back than is allowed; the stream is then useless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Overfull;

/// The open blocks in the order in which they began. The first one's events pass at once, those of the others wait.
#[derive(Debug)]
pub(super) struct Lanes<K> {
    queue: VecDeque<Lane<K>>,
    next: u32,
    held_bytes: usize,
}

#[derive(Debug)]
struct Lane<K> {
    key: K,
    block: u32,
    waiting: Option<(BlockKind, Vec<Delta>)>,
    is_stopped: bool,
}

impl<K> Default for Lanes<K> {
    fn default() -> Self {
        Self { queue: VecDeque::new(), next: 0, held_bytes: 0 }
    }
}

impl<K: PartialEq + Copy> Lanes<K> {
    /// Begins a block; no open one may have the key.
    pub(super) fn start(&mut self, key: K, kind: BlockKind, out: &mut Vec<Event>) -> Result<(), Overfull> {
        if self.queue.len() >= OPEN_MAX {
            return Err(Overfull);
        }
        self.queue.push_back(Lane { key, block: self.next, waiting: Some((kind, Vec::new())), is_stopped: false });
        self.next += 1;
        self.advance(out);
        Ok(())
    }

    /// Adds to an open block; nothing happens for another key.
    pub(super) fn delta(&mut self, key: K, delta: Delta, out: &mut Vec<Event>) -> Result<(), Overfull> {
        let Some(lane) = self.queue.iter_mut().find(|lane| lane.key == key && !lane.is_stopped) else { return Ok(()) };
        match &mut lane.waiting {
            None => out.push(Event::Delta { choice: 0, block: lane.block, delta }),
            Some((_, deltas)) => {
                self.held_bytes += bytes(&delta);
                deltas.push(delta);
            }
        }
        if self.held_bytes > HELD_BYTES_MAX { Err(Overfull) } else { Ok(()) }
    }

    /// Ends a block; nothing happens for another key.
    pub(super) fn stop(&mut self, key: K, out: &mut Vec<Event>) {
        if let Some(lane) = self.queue.iter_mut().find(|lane| lane.key == key && !lane.is_stopped) {
            lane.is_stopped = true;
            self.advance(out);
        }
    }

    /// Ends every block.
    pub(super) fn stop_all(&mut self, out: &mut Vec<Event>) {
        self.queue.iter_mut().for_each(|lane| lane.is_stopped = true);
        self.advance(out);
    }

    /// Gives out what the first block has held, and goes on to the next if that one has ended.
    fn advance(&mut self, out: &mut Vec<Event>) {
        while let Some(lane) = self.queue.front_mut() {
            let block = lane.block;
            if let Some((kind, deltas)) = lane.waiting.take() {
                self.held_bytes -= deltas.iter().map(bytes).sum::<usize>();
                out.push(Event::BlockStart { choice: 0, block, kind });
                out.extend(deltas.into_iter().map(|delta| Event::Delta { choice: 0, block, delta }));
            }
            if !lane.is_stopped {
                return;
            }
            out.push(Event::BlockStop { choice: 0, block });
            self.queue.pop_front();
        }
    }
}

/// What a held delta costs, with its place.
fn bytes(delta: &Delta) -> usize {
    delta.held_bytes() + size_of::<Delta>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_block_waits_for_the_first() {
        let (mut lanes, mut out) = (Lanes::default(), Vec::new());
        lanes.start('a', BlockKind::Text, &mut out).unwrap();
        lanes.start('b', BlockKind::Refusal, &mut out).unwrap();
        lanes.delta('b', Delta::Refusal("no".into()), &mut out).unwrap();
        lanes.delta('a', Delta::Text("yes".into()), &mut out).unwrap();
        lanes.stop('b', &mut out);
        lanes.stop('a', &mut out);
        let delta = |block, delta| Event::Delta { choice: 0, block, delta };
        assert_eq!(
            out,
            [
                Event::BlockStart { choice: 0, block: 0, kind: BlockKind::Text },
                delta(0, Delta::Text("yes".into())),
                Event::BlockStop { choice: 0, block: 0 },
                Event::BlockStart { choice: 0, block: 1, kind: BlockKind::Refusal },
                delta(1, Delta::Refusal("no".into())),
                Event::BlockStop { choice: 0, block: 1 },
            ]
        );
        assert_eq!(lanes.held_bytes, 0);
    }

    #[test]
    fn what_waits_is_bounded() {
        let (mut lanes, mut out) = (Lanes::default(), Vec::new());
        lanes.start(0, BlockKind::Text, &mut out).unwrap();
        lanes.start(1, BlockKind::Text, &mut out).unwrap();
        let mut piece = || lanes.delta(1, Delta::Text("x".repeat(1 << 20)), &mut out);
        assert_eq!((0..17).try_for_each(|_| piece()), Err(Overfull));
    }
}
