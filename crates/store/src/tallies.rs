//! What several routers have counted of one thing, on a Redis that they share: each says its own number, as a whole, and hears the sum of
//! the others'. A number that is said twice counts once, and a Redis that forgot everything knows it again when all have spoken.

use crate::redis::{Redis, Unreachable};

const SAY: &str = "redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) \
                   if ARGV[3] ~= '0' then redis.call('PEXPIREAT', KEYS[1], ARGV[3]) end \
                   return redis.call('HGETALL', KEYS[1])";

/// Says what `router` has counted under `key` and gives the sum of what all others have. The tally is forgotten at `ends_ms` (unix
/// milliseconds; `None`: never).
///
/// # Errors
/// [`Unreachable`].
pub async fn say(redis: &Redis, key: &str, router: &str, count: u64, ends_ms: Option<i64>) -> Result<u64, Unreachable> {
    let mut command = redis::cmd("EVAL");
    command.arg(SAY).arg(1).arg(key).arg(router).arg(count).arg(ends_ms.unwrap_or(0));
    let all: Vec<(String, u64)> = redis.ask(&command).await.ok_or(Unreachable)?;
    let others = all.into_iter().filter(|(name, _)| name != router).map(|(_, count)| count);
    Ok(others.fold(0, u64::saturating_add))
}
