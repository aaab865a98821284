//! A node's process is killed under load: until when is anything still sent to it, and what do callers see?

use std::{cell::Cell, path::Path, rc::Rc, time::Duration};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::spawn_local;

use super::{KEY, MODEL, Router, nodes::ScriptedNode};
use crate::{
    clock::now_ns,
    figures::tenths,
    http::{Connection, get, post},
    machine::Machine,
};

/// Times that a node is killed.
const ROUNDS: u32 = 5;
/// As many as two nodes have slots: nobody waits, so a request begins when its node is chosen.
const CALLERS: usize = 4;
/// Load before the end and after it.
const BEFORE: Duration = Duration::from_millis(500);
const AFTER: Duration = Duration::from_secs(1);

/// What was seen in all rounds.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(super) struct Loss {
    /// The last request that was sent to the dead node began so long after its end; 0 where none was.
    pub(super) last_pick_ms: f64,
    /// Requests that were sent to it after its end, and answered by the other one.
    pub(super) moved: u32,
    /// Requests begun after its end, in all.
    pub(super) asked: u32,
    /// Of these, how many failed.
    pub(super) failed: u32,
}

pub(super) async fn measure(machine: Machine, programs: &Path, dir: &Path) -> Result<Loss> {
    let mut worst = Loss::default();
    for round in 0..ROUNDS {
        let seen = once(machine, programs, &dir.join(format!("loss-{round}"))).await?;
        worst.last_pick_ms = worst.last_pick_ms.max(seen.last_pick_ms);
        worst.moved += seen.moved;
        worst.asked += seen.asked;
        worst.failed += seen.failed;
    }
    Ok(worst)
}

async fn once(machine: Machine, programs: &Path, home: &Path) -> Result<Loss> {
    let router = Router::start(machine, programs, home, false)?;
    let start = |n: u8| ScriptedNode::start(machine, programs, &home.join(format!("node-{n}")), MODEL, Some(&router.address));
    let (mut first, second) = (start(0)?, start(1)?);
    router.until_online(2).await?;
    let models: Value = serde_json::from_str(&get(&second.address, "/v1/models").await?)?;
    let model = models["data"][0]["id"].as_str().context("the node lists its model")?.to_owned();
    let body = json!({"model": model, "messages": [{"role": "user", "content": "one"}], "max_tokens": 1}).to_string();
    let headers = [("authorization".to_owned(), format!("Bearer {KEY}"))];
    let request: Rc<[u8]> = post(&router.address, "/v1/chat/completions", &headers, body.as_bytes()).into();
    // When the node had ended, and whether the load is over.
    let (ended_ns, is_over) = (Rc::new(Cell::new(u64::MAX)), Rc::new(Cell::new(false)));
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (address, request, ended_ns, is_over) = (router.address.clone(), request.clone(), ended_ns.clone(), is_over.clone());
            spawn_local(async move {
                let (mut connection, mut seen) = (Connection::open(&address).await?, Loss::default());
                while !is_over.get() {
                    let began_ns = now_ns();
                    let answer = connection.call(&request, |_, _| {}).await?;
                    if answer.closes {
                        connection = Connection::open(&address).await?;
                    }
                    let Some(after_ns) = began_ns.checked_sub(ended_ns.get()) else { continue };
                    seen.asked += 1;
                    seen.failed += u32::from(answer.status != 200);
                    if answer.attempts > 1 {
                        seen.moved += 1;
                        seen.last_pick_ms = seen.last_pick_ms.max(tenths(after_ns as f64 / 1e6));
                    }
                }
                anyhow::Ok(seen)
            })
        })
        .collect();
    tokio::time::sleep(BEFORE).await;
    first.kill()?;
    ended_ns.set(now_ns());
    tokio::time::sleep(AFTER).await;
    is_over.set(true);
    let mut all = Loss::default();
    for caller in callers {
        let seen = caller.await??;
        all.last_pick_ms = all.last_pick_ms.max(seen.last_pick_ms);
        all.moved += seen.moved;
        all.asked += seen.asked;
        all.failed += seen.failed;
    }
    drop((first, second));
    Ok(all)
}
