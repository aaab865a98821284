//! The test suites, in the order in which they fail fastest without building anything twice.

use anyhow::{Result, bail};

use crate::{
    checks::{self, WITH_CPP},
    environment, model, paths, python, setup, shell,
};

/// `make test`: sets up, builds, and runs everything there is.
pub(crate) fn everything() -> Result<()> {
    setup::install_missing()?;
    // The C++ takes longest; everything after it uses both cores for Rust.
    build_release()?;
    // One run shows what fails in all of them.
    let suites = [("unit tests", unit()), ("tests with C++", with_cpp()), ("black-box tests", black_box(&[]))];
    let failed: Vec<String> = suites.into_iter().filter_map(|(name, outcome)| Some(format!("{name}: {:#}", outcome.err()?))).collect();
    if !failed.is_empty() {
        bail!("{} of 3 suites failed\n{}", failed.len(), failed.join("\n"));
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

/// The black-box tests: the release executables, the real model, real clients.
pub(crate) fn black_box(arguments: &[String]) -> Result<()> {
    pytest(&["tests/sdk"], arguments)
}

/// Only the official SDK as a client.
pub(crate) fn openai(arguments: &[String]) -> Result<()> {
    pytest(&["tests/sdk/test_openai_sdk.py"], arguments)
}

fn pytest(files: &[&str], arguments: &[String]) -> Result<()> {
    setup::install_missing()?;
    build_release()?;
    let model = model::ensure()?;
    let mut pytest = python::tool("pytest")?;
    pytest.args(["-p", "no:cacheprovider", "--tb=short", "-rfE"]).args(files).args(arguments);
    pytest.env("LLM_ROUTER_BIN", paths::program("release", "llm-router"));
    pytest.env("LLM_NODE_BIN", paths::program("release", "llm-node"));
    pytest.env("LLM_TEST_GGUF", model);
    pytest.env("PYTHONDONTWRITEBYTECODE", "1");
    shell::run(&mut pytest)
}

/// nextest if it is installed, else cargo's own test runner.
fn runner() -> std::process::Command {
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
