//! The load generator as a program of its own.

use clap::Parser;

#[derive(Parser)]
#[command(name = "loadgen", about = "Loads gateways and prints what they cost.")]
struct Arguments {
    #[command(flatten)]
    options: bench::load::Options,
}

fn main() -> anyhow::Result<()> {
    bench::load::run(&Arguments::parse().options)
}
