//! The node as an agent: the older and simpler way to join, by name and endpoint.
//!
//! It registers and beats for ever, as agents always did, so neither it nor its router has to be started first.

use serde::{Deserialize, Serialize};
use tokio::time;

use crate::register::{ReportError, Reporter, WAIT_AWAY, WAIT_FIRST};

/// How an agent presents itself.
#[derive(Debug, Clone)]
pub struct Agent {
    /// Its identity.
    pub name: String,
    /// Where its router reaches it; found where `None`.
    pub endpoint: Option<String>,
    /// Names of its models; those on its disk where there are none.
    pub models: Vec<String>,
}

#[derive(Serialize)]
struct Registration<'a> {
    name: &'a str,
    endpoint: String,
    models: Vec<String>,
    /// The router may hold a connection open over which nothing is said.
    tether: bool,
}

#[derive(Serialize)]
struct Heartbeat<'a> {
    name: &'a str,
    queue_length: u32,
}

/// Only our own router says more than `status`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Registered {
    router_secret: Option<String>,
}

impl Reporter {
    /// Registers, beats, and registers again when the router does not know it any more.
    pub(crate) async fn report_as_agent(&self, agent: &Agent) {
        let client = net::Client::new(net::Settings::default());
        let token = self.join_token.as_ref().map(config::Secret::expose);
        loop {
            let mut wait = WAIT_FIRST;
            while let Err(error) = self.register_agent(&client, agent, token).await {
                tracing::warn!(router = self.router_url, %error, "not registered yet; it is tried again");
                time::sleep(wait).await;
                wait = (wait * 2).min(WAIT_AWAY);
            }
            tracing::info!(router = self.router_url, agent = agent.name, "registered with the router");
            let mut ticks = time::interval(self.heartbeat);
            ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let beat = Heartbeat { name: &agent.name, queue_length: self.activity.active() };
                match self.post(&client, "/heartbeat", ("x-join-token", token), &beat).await {
                    Ok(_) => {}
                    Err(ReportError::Refused { status, said }) if status.is_client_error() => {
                        tracing::warn!(%status, said, "the router does not know this agent; it registers again");
                        break;
                    }
                    Err(error) => tracing::warn!(%error, "a heartbeat did not arrive"),
                }
            }
        }
    }

    async fn register_agent(&self, client: &net::Client, agent: &Agent, token: Option<&str>) -> Result<(), ReportError> {
        let on_disk = || self.pool.library().shelf().ids();
        let said = Registration {
            name: &agent.name,
            endpoint: agent.endpoint.clone().unwrap_or_else(|| self.own_url()),
            models: if agent.models.is_empty() { on_disk() } else { agent.models.clone() },
            tether: true,
        };
        let answer = self.post(client, "/register", ("x-join-token", token), &said).await?;
        let registered: Registered = serde_json::from_slice(&answer).unwrap_or_default();
        self.access.set_secret(registered.router_secret);
        Ok(())
    }
}
