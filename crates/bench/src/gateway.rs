//! `bench gateway`: this build's router with everything switched on, beside nginx's plain proxy, in front of the same fake provider.

pub(crate) mod bed;
pub(crate) mod router;
pub(crate) mod suite;
pub(crate) mod table;

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use crate::{
    machine::release_dir,
    peers::{self, Peer},
};
use bed::Bed;
use router::Router;
use suite::{Plan, Suite};

/// What is run and how long.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Times that each target is measured; 3 or 5, since of an even number the worse middle is told.
    #[arg(long, default_value_t = 5)]
    pub rounds: u32,
    /// Seconds of one round.
    #[arg(long, default_value_t = 1.5)]
    pub dur: f64,
    /// Virtual keys in the store.
    #[arg(long, default_value_t = 1000)]
    pub keys: usize,
    /// Slow streams held open for the memory figure.
    #[arg(long, default_value_t = 1000)]
    pub idle_streams: usize,
    /// A file for all figures as JSON.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Use the release programs as they are.
    #[arg(long)]
    pub no_build: bool,
    /// Use the programs of this folder.
    #[arg(long)]
    pub programs: Option<PathBuf>,
}

/// Runs everything and prints the table.
pub fn run(options: &Options) -> Result<()> {
    compare(options, &[peers::NGINX], false)
}

/// Runs the router beside these peers; those that are not installed are named and left out.
pub(crate) fn compare(options: &Options, peers: &[Peer], install: bool) -> Result<()> {
    let programs = match &options.programs {
        Some(programs) => programs.clone(),
        None => release_dir(&["llm-router"], !options.no_build)?,
    };
    let bed = Bed::start()?;
    eprintln!("{}", bed.machine.describe());
    let mut rows = vec![bed.direct()];
    let mut running = Vec::new();
    for peer in peers {
        match peer.start(&bed, install)? {
            Some((process, row)) => {
                running.push(process);
                rows.push(row);
            }
            None => eprintln!("{} is not installed: left out ({})", peer.name, peer.install),
        }
    }
    let router = Router::start(&bed, &programs, options.keys)?;
    rows.extend([router.row(), router.translated_row()]);
    let plan = Plan { rounds: options.rounds, seconds: options.dur, idle_streams: options.idle_streams };
    let suite = Suite::new(&bed, rows, plan)?;
    let results = suite.run(router.first_answer_ms)?;
    let books = router.check_books(&bed, &suite)?;
    println!("\n{}\n", table::render(&results, &suite.names()));
    println!("{books}");
    if let Some(path) = &options.out {
        let document = json!({"machine": bed.machine.describe(), "results": results, "books": books});
        fs::write(path, serde_json::to_string_pretty(&document)?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
