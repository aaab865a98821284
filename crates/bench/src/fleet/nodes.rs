//! Nodes with the scripted engine.

use std::{fs, path::Path, time::Duration};

use anyhow::Result;
use testkit::Gguf;

use crate::machine::{Machine, Running, Side, free_address};

const START_LIMIT: Duration = Duration::from_secs(30);
/// A chat template that prints the messages.
const PLAIN: &str = "{% for m in messages %}{{ m.content }}{% endfor %}";
/// Requests that one works on at once.
const SLOTS: &str = "2";

pub(super) struct ScriptedNode {
    pub(super) address: String,
    process: Running,
}

impl ScriptedNode {
    /// A node with one model, that joins a router or stands alone.
    pub(super) fn start(machine: Machine, programs: &Path, home: &Path, model: &str, router: Option<&str>) -> Result<Self> {
        let models = home.join("models");
        fs::create_dir_all(&models)?;
        fs::write(models.join(format!("{model}.gguf")), Gguf::with_template(PLAIN).build())?;
        let address = free_address()?;
        let mut command = machine.command(Side::Measuring, &programs.join("llm-node"));
        command.args(["serve", "--scripted", "--port", &address.port().to_string(), "--bind", "127.0.0.1"]);
        command.current_dir(home).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", home);
        command.env("LLM_NODE_MODELS_DIR", &models).env("LLM_NODE_LOG_DIR", home.join("logs")).env("LLM_NODE_SLOTS", SLOTS);
        command.env("LLM_NODE_HEARTBEAT_SECS", "1").env("LLM_NODE_IP", "127.0.0.1");
        match router {
            Some(router) => command.env("LLM_ROUTER_URL", format!("http://{router}")),
            None => command.env("LLM_NODE_STANDALONE", "true"),
        };
        // Several nodes of one machine: each needs a name of its own, and its port is part of that.
        let mut process = Running::start("llm-node", command, home)?;
        process.wait_for_port(address, START_LIMIT)?;
        Ok(Self { address: address.to_string(), process })
    }

    /// Ends its process at once.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }
}
