//! Remembered answers on a Redis that several routers share: bytes under keys with a lifetime. What Redis itself may hold is its own
//! setting (`maxmemory`); a value that it has thrown away is one that was never there.

use std::time::Duration;

use crate::redis::{Redis, Unreachable};

/// Keys that one step of a flush looks at.
const SCAN_STEP: usize = 1000;

/// The value under a key. `Err`: it cannot be asked now.
pub async fn get(redis: &Redis, key: &str) -> Result<Option<Vec<u8>>, Unreachable> {
    redis.ask(redis::cmd("GET").arg(key)).await.ok_or(Unreachable)
}

/// Keeps a value for `ttl`. `Err`: it is not kept.
pub async fn put(redis: &Redis, key: &str, value: &[u8], ttl: Duration) -> Result<(), Unreachable> {
    let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1);
    redis.ask(redis::cmd("SET").arg(key).arg(value).arg("PX").arg(ttl_ms)).await.ok_or(Unreachable)
}

/// Forgets every key that begins with `prefix`; how many there were.
pub async fn flush(redis: &Redis, prefix: &str) -> Result<u64, Unreachable> {
    let (mut cursor, mut removed) = (0u64, 0);
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(format!("{prefix}*")).arg("COUNT").arg(SCAN_STEP);
        let (next, keys): (u64, Vec<String>) = redis.ask(&scan).await.ok_or(Unreachable)?;
        if !keys.is_empty() {
            removed += redis.ask::<u64>(redis::cmd("UNLINK").arg(keys)).await.ok_or(Unreachable)?;
        }
        cursor = next;
        if cursor == 0 {
            return Ok(removed);
        }
    }
}
