//! `bench`: measures this build beside others.

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "bench", about = "Measures this build beside others; everything stays on the loopback.")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// The gateway beside nginx's plain proxy, in front of a fake provider.
    Gateway(bench::gateway::Options),
    /// The gateway beside every other gateway that is installed.
    Peers(bench::peers::Options),
    /// The node beside upstream's server, on the same model.
    Node(bench::node::Options),
    /// Choosing among nodes, the way to one, and what a second brings.
    Fleet(bench::fleet::Options),
    /// The dashboard's figures over a million records of requests.
    History(bench::history::Options),
    /// An hour of everything mixed: memory, sockets and counters afterwards.
    Soak(bench::soak::Options),
    /// A fake provider.
    MockUpstream(bench::mock::Options),
    /// The load generator.
    Loadgen(bench::load::Options),
}

fn main() -> Result<()> {
    match Arguments::parse().verb {
        Verb::Gateway(options) => bench::gateway::run(&options),
        Verb::Peers(options) => bench::peers::run(&options),
        Verb::Node(options) => bench::node::run(&options),
        Verb::Fleet(options) => bench::fleet::run(&options),
        Verb::History(options) => bench::history::run(&options),
        Verb::Soak(options) => bench::soak::run(&options),
        Verb::MockUpstream(options) => bench::mock::serve(&options),
        Verb::Loadgen(options) => bench::load::run(&options),
    }
}
