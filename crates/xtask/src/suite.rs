//! The test suites, in the order in which they fail fastest without building anything twice.

use std::{path::PathBuf, process::Command};

use anyhow::{Result, bail};

use crate::{
    checks::{self, WITH_CPP},
    environment, model, npm, paths, python, setup, shell, ui,
};

/// `make test`: sets up, builds, and runs everything there is.
pub(crate) fn everything() -> Result<()> {
    setup::install_missing()?;
    // The C++ takes longest; everything after it uses both cores for Rust.
    build_release()?;
    // One run shows what fails in all of them.
    let suites =
        [("unit tests", unit()), ("tests with C++", with_cpp()), ("black-box tests", black_box(&[])), ("the dashboard", ui::test())];
    let failed: Vec<String> = suites.into_iter().filter_map(|(name, outcome)| Some(format!("{name}: {:#}", outcome.err()?))).collect();
    if !failed.is_empty() {
        bail!("{} of 4 suites failed\n{}", failed.len(), failed.join("\n"));
    }
    Ok(())
}

/// `make quality-checks`: all checks, the workspace's tests, and the SDK as a client.
pub(crate) fn quality_checks() -> Result<()> {
    setup::install_missing()?;
    checks::lint()?;
    unit()?;
    openai(&[])
}

/// The executables, without link-time optimisation.
///
/// Two builds, because cargo chooses the features of shared packages anew for each selection, those of the C++ build's own tools among them:
/// with the selection that tests and clippy use for these two, the C++ is compiled once for all.
pub(crate) fn build_release() -> Result<()> {
    ui::build_if_possible()?;
    for packages in [WITH_CPP, ["llm-router", "llm-node"]] {
        let mut build = shell::cargo("build");
        build.args(["--release", "--locked"]);
        for package in packages {
            build.args(["-p", package]);
        }
        shell::run(&mut build)?;
    }
    Ok(())
}

/// Unit, property and integration tests of all crates without C++, and the examples in their documentation.
pub(crate) fn unit() -> Result<()> {
    let mut tests = runner();
    tests.arg("--workspace");
    for package in WITH_CPP {
        tests.args(["--exclude", package]);
    }
    shell::run(&mut tests)?;
    let mut examples = shell::cargo("test");
    examples.args(["--locked", "--quiet", "--doc", "--workspace"]);
    for package in WITH_CPP {
        examples.args(["--exclude", package]);
    }
    shell::run(&mut examples)
}

/// The tests of the packages with C++, with the real model.
fn with_cpp() -> Result<()> {
    let model = model::ensure()?;
    let mut tests = runner();
    tests.arg("--release").env("LLM_TEST_GGUF", model);
    for package in WITH_CPP {
        tests.args(["-p", package]);
    }
    shell::run(&mut tests)
}

/// The black-box tests: the release executables, the real model, real clients. With arguments, only pytest with these.
pub(crate) fn black_box(arguments: &[String]) -> Result<()> {
    if !arguments.is_empty() {
        return pytest(&["tests/sdk"], arguments);
    }
    npm::require()?;
    let programs = Programs::ready()?;
    // One run shows what fails in all of them.
    let suites = [
        ("Python", programs.run(pytest_with(MAIN_PACKAGES)?.arg("tests/sdk"))),
        ("Anthropic's older SDK", programs.run(pytest_with(OLD_ANTHROPIC_PACKAGES)?.arg("tests/sdk/test_anthropic.py"))),
        ("JavaScript", javascript(&programs)),
    ];
    let failed: Vec<String> = suites.into_iter().filter_map(|(name, outcome)| Some(format!("{name}: {:#}", outcome.err()?))).collect();
    if !failed.is_empty() {
        bail!("{} of 3 black-box suites failed\n{}", failed.len(), failed.join("\n"));
    }
    Ok(())
}

/// Only the official OpenAI SDK as a client.
pub(crate) fn openai(arguments: &[String]) -> Result<()> {
    pytest(&["tests/sdk/test_openai_sdk.py"], arguments)
}

/// The packages of the black-box tests.
const MAIN_PACKAGES: &str = "tests/sdk/requirements.txt";
/// Those of another major version of a package that is among them already.
const OLD_ANTHROPIC_PACKAGES: &str = "tests/sdk/requirements-anthropic-0.txt";
/// The tests of the JavaScript SDKs.
const JAVASCRIPT_TESTS: &str = "tests/sdk-js";
/// The launcher of the MCP server, which needs no package.
const LAUNCHER_TESTS: &str = "packages/mcp-server/test";

fn pytest(files: &[&str], arguments: &[String]) -> Result<()> {
    let programs = Programs::ready()?;
    programs.run(pytest_with(MAIN_PACKAGES)?.args(files).args(arguments))
}

fn pytest_with(packages: &str) -> Result<Command> {
    let mut pytest = shell::command(python::environment(&paths::root().join(packages))?.join("pytest"));
    pytest.args(["-p", "no:cacheprovider", "--tb=short", "-rfE"]);
    Ok(pytest)
}

/// The JavaScript SDKs: the router and the mocked providers are started by the same code as for Python's.
fn javascript(programs: &Programs) -> Result<()> {
    let root = paths::root();
    npm::install(&root.join(JAVASCRIPT_TESTS))?;
    let mut bed = shell::command(python::environment(&root.join(MAIN_PACKAGES))?.join("python"));
    bed.args(["tests/sdk/bed.py", "node", "--test", "--test-concurrency=1", "--test-reporter=spec", JAVASCRIPT_TESTS, LAUNCHER_TESTS]);
    programs.run(&mut bed)
}

/// What black-box tests are about, built and downloaded.
struct Programs {
    model: PathBuf,
}

impl Programs {
    fn ready() -> Result<Self> {
        setup::install_missing()?;
        build_release()?;
        Ok(Self { model: model::ensure()? })
    }

    /// Runs tests with the settings that name the programs.
    fn run(&self, tests: &mut Command) -> Result<()> {
        tests.env("LLM_ROUTER_BIN", paths::program("release", "llm-router"));
        tests.env("LLM_NODE_BIN", paths::program("release", "llm-node"));
        tests.env("LLM_TEST_GGUF", &self.model);
        tests.env("PYTHONDONTWRITEBYTECODE", "1");
        shell::run(tests)
    }
}

/// nextest if it is installed, else cargo's own test runner.
fn runner() -> Command {
    let mut tests;
    if environment::which("cargo-nextest").is_some() {
        tests = shell::cargo("nextest");
        tests.arg("run");
        if environment::is_ci() {
            tests.args(["--profile", "ci"]);
        }
    } else {
        tests = shell::cargo("test");
        tests.args(["--no-fail-fast", "--lib", "--bins", "--tests"]);
    }
    tests.arg("--locked");
    tests
}
