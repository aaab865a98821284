//! Leave to be the only one, given by a Redis that several routers share. It lasts as long as its holder says so again: a router that dies
//! keeps nobody out for longer than [`LEASE`].

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::oneshot,
    time::{MissedTickBehavior, interval},
};

use crate::redis::{Redis, Unreachable};

/// How long a lease lasts unless it is prolonged.
pub const LEASE: Duration = Duration::from_secs(10);
/// How often it is prolonged: two of three may fail.
const PROLONG_EVERY: Duration = Duration::from_secs(3);

/// Says who holds it afterwards: a repeated question must not be refused because the first one was heard.
const TAKE: &str = "if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end \
                    return redis.call('GET', KEYS[1]) == ARGV[1] and 1 or 0";
const PROLONG: &str = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('PEXPIRE', KEYS[1], ARGV[2]) or 0";
const END: &str = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0";

/// A lease that is held until this is dropped.
#[derive(Debug)]
pub struct Lease {
    /// Its end is what the other side waits for.
    _held: oneshot::Sender<()>,
}

impl Lease {
    /// Takes the lease of this name; `None` where somebody else has it. The task that prolongs it and gives it back runs where this is called.
    ///
    /// # Errors
    /// [`Unreachable`]: nobody gives leases now.
    pub async fn take(redis: &Arc<Redis>, name: &str) -> Result<Option<Self>, Unreachable> {
        let holder = uuid::Uuid::new_v4().to_string();
        let lease_ms = u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX);
        let taken: u64 = redis.ask(redis::cmd("EVAL").arg(TAKE).arg(1).arg(name).arg(&holder).arg(lease_ms)).await.ok_or(Unreachable)?;
        if taken == 0 {
            return Ok(None);
        }
        let (held, mut ended) = oneshot::channel();
        let (redis, name) = (redis.clone(), name.to_owned());
        tokio::spawn(async move {
            let mut prolong = interval(PROLONG_EVERY);
            prolong.set_missed_tick_behavior(MissedTickBehavior::Delay);
            prolong.tick().await;
            loop {
                tokio::select! {
                    _ = &mut ended => break,
                    _ = prolong.tick() => {
                        let _: Option<u64> = redis.ask(redis::cmd("EVAL").arg(PROLONG).arg(1).arg(&name).arg(&holder).arg(lease_ms)).await;
                    }
                }
            }
            let _: Option<u64> = redis.ask(redis::cmd("EVAL").arg(END).arg(1).arg(&name).arg(&holder)).await;
        });
        Ok(Some(Self { _held: held }))
    }
}
