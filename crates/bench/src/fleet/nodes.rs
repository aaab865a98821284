//! Nodes with the scripted engine.

use std::{fs, path::Path, time::Duration};

use anyhow::Result;

use crate::machine::{Machine, Running, Side, free_address};

const START_LIMIT: Duration = Duration::from_secs(30);
/// Requests that one works on at once.
const SLOTS: &str = "2";

pub(super) struct ScriptedNode {
    pub(super) address: String,
    _process: Running,
}

impl ScriptedNode {
    /// A node with one model, that joins a router or stands alone.
    pub(super) fn start(machine: Machine, programs: &Path, home: &Path, model: &str, router: Option<&str>) -> Result<Self> {
        let models = home.join("models");
        fs::create_dir_all(&models)?;
        fs::write(models.join(format!("{model}.gguf")), model_file())?;
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
        Ok(Self { address: address.to_string(), _process: process })
    }
}

/// A model file's header, with a template that prints the messages.
fn model_file() -> Vec<u8> {
    let text = |out: &mut Vec<u8>, text: &str| {
        out.extend((text.len() as u64).to_le_bytes());
        out.extend(text.as_bytes());
    };
    let template = "{% for m in messages %}{{ m.content }}{% endfor %}";
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend(0u64.to_le_bytes());
    out.extend(2u64.to_le_bytes());
    for (key, value) in [("general.architecture", "llama"), ("tokenizer.chat_template", template)] {
        text(&mut out, key);
        out.extend(8u32.to_le_bytes());
        text(&mut out, value);
    }
    out
}
