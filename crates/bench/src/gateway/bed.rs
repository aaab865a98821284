//! What all gateways stand on: the machine, a folder for the run, the fake provider.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::Result;
use tempfile::TempDir;

use crate::{
    load::TargetRow,
    machine::{Machine, Running, Side, free_address},
};

/// The model that everybody is asked for.
pub(crate) const MODEL: &str = "mock-model";

pub(crate) struct Bed {
    pub(crate) machine: Machine,
    /// Where the fake provider listens.
    pub(crate) upstream: SocketAddr,
    dir: TempDir,
    _mock: Running,
}

impl Bed {
    pub(crate) fn start() -> Result<Self> {
        let machine = Machine::look();
        let dir = tempfile::Builder::new().prefix("llm-router-bench-").tempdir()?;
        let upstream = free_address()?;
        let mut command = machine.command(Side::Measuring, &std::env::current_exe()?);
        command.args(["mock-upstream", "--model", MODEL, "--listen", &upstream.to_string()]);
        let mut mock = Running::start("mock-upstream", command, dir.path())?;
        mock.wait_for_port(upstream, Duration::from_secs(10))?;
        Ok(Self { machine, upstream, dir, _mock: mock })
    }

    /// A folder that goes when the run is over.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The fake provider itself: what everything else is measured against.
    pub(crate) fn direct(&self) -> TargetRow {
        row("direct", self.upstream, Vec::new())
    }
}

/// A target that speaks OpenAI's chat.
pub(crate) fn row(name: &str, address: SocketAddr, pids: Vec<i32>) -> TargetRow {
    let url = format!("http://{address}/v1/chat/completions");
    TargetRow { name: name.into(), url, model: MODEL.into(), pids, ..TargetRow::default() }
}
