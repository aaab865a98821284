//! Choosing among many nodes, in this process.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Result, anyhow};
use fleet::{Balancer, End, Fleet, FleetSettings, Origin};
use serde_json::{Value, json};
use store::Store;
use wire::fleet::node::{Heartbeat, Registration};

use super::MODEL;
use crate::{
    clock::now_ns,
    figures::{Summary, Times},
};

/// Candidates that a request may try.
const PLACES: usize = 3;
/// Requests that are in flight while others choose.
const IN_FLIGHT: usize = 500;

/// A node that nobody calls back.
pub(super) fn registration(n: u16) -> Value {
    json!({"machine_name": format!("node-{n}"), "ip_address": "127.0.0.1", "runtime_port": 20_000 + n, "accelerator": "cpu", "available_models": [MODEL]})
}

/// Times of choices by each policy, each with the request counted in and out.
pub(super) async fn measure(nodes: u16, picks: u32) -> Result<Vec<(&'static str, Summary)>> {
    let home = tempfile::tempdir()?;
    let store = Store::open("", home.path()).await?;
    let settings = FleetSettings { skip_health_check: true, node_timeout: Duration::from_hours(1), ..FleetSettings::default() };
    let fleet = Fleet::open(store, net::Client::new(net::Settings::default()), settings.clone()).await?;
    for n in 0..nodes {
        let from = Origin { addr: Ipv4Addr::LOCALHOST.into(), forwarded: false, trusted: false, join_token: None, keyed: false };
        let said: Registration = serde_json::from_value(registration(n))?;
        let (registered, _) = fleet.register(said, from).await.map_err(|failure| anyhow!("{}", failure.message))?;
        let load = f64::from(n * 7 % 70);
        let beat = Heartbeat {
            node_id: registered.node_id,
            cpu_usage: load,
            memory_usage: f64::from(n * 13 % 90),
            loaded_models: vec![MODEL.to_owned()],
            ready_models: Some((1, 1)),
            ..Heartbeat::default()
        };
        fleet.heartbeat(Some(&registered.node_token), beat).map_err(|failure| anyhow!("{}", failure.message))?;
    }
    let mut all = Vec::new();
    for balancer in [Balancer::Auto, Balancer::Metrics, Balancer::RoundRobin, Balancer::LeastBusy, Balancer::P2c] {
        fleet.set_settings(FleetSettings { balancer, ..settings.clone() });
        let (mut times, mut held) = (Times::new(), std::collections::VecDeque::new());
        for _ in 0..picks {
            let began = now_ns();
            let first = fleet.view().candidates(MODEL, PLACES).into_iter().find_map(|candidate| candidate.begin());
            times.record(now_ns() - began);
            held.push_back(first.ok_or_else(|| anyhow!("nobody could be asked"))?);
            if held.len() > IN_FLIGHT
                && let Some(oldest) = held.pop_front()
            {
                oldest.end(End::Success);
            }
        }
        all.push((balancer.name(), times.summary()));
    }
    Ok(all)
}
