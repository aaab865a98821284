//! Work behind the path that lets the path go first where both share a core.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

/// A turn of others that takes longer than this was no request that was held up: the core is never idle, and this work would never be done.
const PATIENCE: Duration = Duration::from_millis(2);
/// How long nobody is let past after such a turn.
const HASTE: Duration = Duration::from_secs(1);

/// Work has come to more than may wait: see [`Courtesy::press`].
static PRESSED: AtomicBool = AtomicBool::new(false);

/// Lets whoever is more urgent go first between two small pieces of work; not on a core that is never idle.
#[derive(Debug, Default)]
pub struct Courtesy {
    hastens_until: Option<Instant>,
}

impl Courtesy {
    /// Says whether so much work waits behind the path that it can no longer let others past: they would bring more than it gets done.
    pub fn press(is_behind: bool) {
        PRESSED.store(is_behind, Relaxed);
    }

    /// What was said last.
    pub fn is_pressed() -> bool {
        PRESSED.load(Relaxed)
    }

    /// Gives the core away for a moment, unless that has just proved to be too long a moment or too much waits.
    pub fn give_way(&mut self) {
        if Self::is_pressed() {
            return;
        }
        let began = Instant::now();
        if self.hastens_until.is_some_and(|until| began < until) {
            return;
        }
        thread::yield_now();
        self.hastens_until = (began.elapsed() > PATIENCE).then(|| Instant::now() + HASTE);
    }
}
