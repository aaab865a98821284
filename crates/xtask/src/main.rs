//! The project's build verbs: `cargo xtask <verb>`. `make help` lists those that people type most.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod changelog;
mod checks;
mod demo;
mod dist;
mod elf;
mod environment;
mod fuzz;
mod http;
mod install;
mod model;
mod npm;
mod packaging;
mod paths;
mod python;
mod setup;
mod sha256;
mod shell;
mod suite;
mod tidy;
mod ui;

/// Builds, runs, tests and checks LLM Router.
#[derive(Parser)]
#[command(name = "cargo xtask", after_help = "Example: cargo xtask test")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install the system packages that the build and the tests need.
    Setup,
    /// Download and check the small model that the demonstration and the tests use.
    Model,
    /// Build release executables, bring the model, and run the router with a node on this machine.
    Run,
    /// Run a debug build on 127.0.0.1:8000 with authentication off.
    Dev {
        /// More arguments for `llm-router serve`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Everything: unit, property, model and black-box tests.
    Test,
    /// The tests of all crates without C++, in the debug profile.
    Unit,
    /// Black-box tests with the built executables and the real model: pytest, and the SDKs of Python and JavaScript.
    BlackBox {
        /// Arguments for pytest, which then runs alone.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// The official OpenAI SDK as a client of the running program.
    OpenaiTests {
        /// Arguments for pytest.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Build the dashboard into ui/dist, unless it is there; needs Node with npm.
    Ui,
    /// The dashboard's own tests: lint, logic, every page in a browser, and the journey with the release executable.
    UiTest,
    /// Formatting, clippy, tidy, dependency rules, workspace tests, Markdown lint, SDK tests.
    QualityChecks,
    /// The checks that need no test run: formatting, tidy, dependency rules, Markdown lint, clippy.
    Lint,
    /// Format the code.
    Fmt {
        /// Only say what would change.
        #[arg(long)]
        check: bool,
    },
    /// Rules about the tree itself: layers, file sizes, words, links.
    Tidy,
    /// Licences, bans and sources of all dependencies.
    Deny,
    /// Lint the Markdown files.
    Markdown,
    /// Write the pages that are made from the code: the reference of settings.
    Gen,
    /// Fuzz the decoders of the wire formats; needs a nightly compiler.
    Fuzz {
        /// How long, over all targets.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Only this target.
        target: Option<String>,
    },
    /// Measure: arguments go to the bench program.
    Bench {
        /// Arguments for the bench program.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Build the router as it is published, in target/dist: link-time optimisation, trained with the load of `bench`. Takes two long builds.
    Dist,
    /// Put the release executables and their links in place.
    Install {
        /// The folder that gets `bin/`; the default is /usr/local for root and ~/.local for others.
        #[arg(long)]
        prefix: Option<std::path::PathBuf>,
    },
    /// Print the changes since the last release, or fold them into CHANGELOG.md.
    Changelog {
        /// Write the section of this version and remove the fragments.
        #[arg(long, value_name = "VERSION")]
        release: Option<String>,
    },
}

fn main() -> ExitCode {
    match carry_out(Arguments::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        // Without the backtrace that RUST_BACKTRACE would add: the causes say it.
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(verb: Verb) -> Result<()> {
    match verb {
        Verb::Setup => setup::install_missing(),
        Verb::Model => model::ensure().map(|path| println!("model: {}", path.display())),
        Verb::Run => demo::run(),
        Verb::Dev { arguments } => demo::dev(&arguments),
        Verb::Test => suite::everything(),
        Verb::Unit => suite::unit(),
        Verb::BlackBox { arguments } => suite::black_box(&arguments),
        Verb::OpenaiTests { arguments } => suite::openai(&arguments),
        Verb::Ui => ui::build(),
        Verb::UiTest => ui::test(),
        Verb::QualityChecks => suite::quality_checks(),
        Verb::Lint => checks::lint(),
        Verb::Fmt { check } => checks::format(check),
        Verb::Tidy => tidy::run(),
        Verb::Deny => checks::deny(),
        Verb::Markdown => checks::markdown(),
        Verb::Gen => checks::generate(),
        Verb::Fuzz { seconds, target } => fuzz::run(seconds, target.as_deref()),
        Verb::Bench { arguments } => checks::bench(&arguments),
        Verb::Dist => dist::build(),
        Verb::Install { prefix } => install::install(prefix),
        Verb::Changelog { release } => changelog::run(release.as_deref()),
    }
}
