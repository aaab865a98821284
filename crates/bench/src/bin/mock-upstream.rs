//! The fake provider as a program of its own.

use clap::Parser;

#[derive(Parser)]
#[command(name = "mock-upstream", about = "A fake provider for measuring gateways.")]
struct Arguments {
    #[command(flatten)]
    options: bench::mock::Options,
}

fn main() -> anyhow::Result<()> {
    bench::mock::serve(&Arguments::parse().options)
}
