//! `llm-router config`.

use clap::Subcommand;

use super::{Failed, Sources, environment};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Read the configuration as `serve` would, and say what is wrong with it.
    #[command(after_help = "Example: llm-router config check --config router.yaml")]
    Check {
        #[command(flatten)]
        sources: Sources,
    },
    /// Print every setting in effect and where it comes from; secrets are masked.
    #[command(after_help = "Example: llm-router config show --json")]
    Show {
        #[command(flatten)]
        sources: Sources,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(command: Command) -> Result<(), Failed> {
    let environment = environment()?;
    match command {
        Command::Check { sources } => {
            let loaded = config::load(&sources.args(), &environment)?;
            // What only shows when accounts are put together.
            let house = crate::snapshot::House::build(
                std::sync::Arc::new(loaded.config),
                &[],
                &dispatch::Health::default(),
                &crate::discovery::Lists::default(),
            );
            house.map_err(|message| Failed(super::EXIT_CONFIG, message))?;
            for warning in loaded.warnings {
                eprintln!("warning: {warning}");
            }
            match loaded.file {
                Some(file) => println!("{}: ok", file.display()),
                None => println!("ok (no file; environment and defaults)"),
            }
        }
        Command::Show { sources, json } => {
            let loaded = config::load(&sources.args(), &environment)?;
            if json {
                println!("{:#}", config::show_json(&loaded));
            } else {
                print!("{}", config::show_text(&loaded));
            }
        }
    }
    Ok(())
}
