//! Fuzzing the wire formats: `cargo xtask fuzz`. It needs a nightly compiler, and is left out with a word where there is none.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{environment, paths, shell};

/// The driver; pinned, because its options change between versions.
const CARGO_FUZZ_VERSION: &str = "0.13.2";
/// Longest input that is tried, in bytes.
const INPUT_BYTES_MAX: u32 = 8192;
/// Memory above which a run fails, in MiB.
const MEMORY_MIB_MAX: u32 = 2048;
/// Seconds in which one input must be done with.
const INPUT_S_MAX: u32 = 10;
/// The dialects by their number, as the targets choose them by the first byte.
const DIALECTS: [&str; 4] = ["chat", "responses", "messages", "gemini"];
/// Four places in the middle at which the stream targets cut a seed.
const CUTS: [u8; 4] = [64, 128, 160, 192];

/// Runs every target, or one of them, for `seconds` in all.
pub(crate) fn run(seconds: u64, only: Option<&str>) -> Result<()> {
    if !shell::succeeds(Command::new("cargo").args(["+nightly", "--version"])) {
        println!("fuzz: skipped, there is no nightly compiler (`rustup toolchain install nightly` brings one)");
        return Ok(());
    }
    let program = match cargo_fuzz() {
        Ok(program) => program,
        Err(error) => {
            println!("fuzz: skipped, cargo-fuzz {CARGO_FUZZ_VERSION} is not here and cannot be installed: {error:#}");
            return Ok(());
        }
    };
    let folder = paths::root().join("crates/wire/fuzz");
    let targets: Vec<String> = targets(&folder)?.into_iter().filter(|target| only.is_none_or(|only| only == target)).collect();
    if targets.is_empty() {
        bail!("no such target: {}", only.unwrap_or("crates/wire/fuzz/fuzz_targets is empty"));
    }
    plant_seeds(&folder)?;
    let start = |verb: &str| {
        let mut command = shell::command(&program);
        // This verb runs under the project's own cargo, which the driver would take for its builds.
        command.args(["fuzz", verb]).env("RUSTUP_TOOLCHAIN", "nightly").env_remove("CARGO").env_remove("RUSTC").env_remove("RUSTDOC");
        command.args(["--sanitizer", "none", "--fuzz-dir"]).arg(&folder).arg("--target-dir").arg(folder.join("target"));
        command
    };
    shell::run(&mut start("build"))?;
    let each_s = (seconds / targets.len() as u64).max(1);
    for target in targets {
        let mut one = start("run");
        one.arg(&target).arg("--").arg(format!("-max_total_time={each_s}")).arg(format!("-max_len={INPUT_BYTES_MAX}"));
        one.arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}")).arg(format!("-timeout={INPUT_S_MAX}"));
        shell::run(one.args(["-print_final_stats=1", "-verbosity=0"]))?;
    }
    Ok(())
}

/// The pinned cargo-fuzz: from the search path if it is that version, else from the cache, where it is installed once.
fn cargo_fuzz() -> Result<PathBuf> {
    let is_pinned = |program: &PathBuf| {
        shell::output(Command::new(program).args(["fuzz", "--version"])).is_ok_and(|text| text.trim().ends_with(CARGO_FUZZ_VERSION))
    };
    if let Some(program) = environment::which("cargo-fuzz").filter(is_pinned) {
        return Ok(program);
    }
    let folder = paths::cache_dir()?.join(format!("tools/cargo-fuzz-{CARGO_FUZZ_VERSION}"));
    let program = folder.join("bin/cargo-fuzz");
    if !is_pinned(&program) {
        let mut install = shell::cargo("install");
        install.args(["--quiet", "--locked", "cargo-fuzz", "--version", &format!("={CARGO_FUZZ_VERSION}"), "--root"]).arg(&folder);
        shell::run(install.env_remove("CARGO_TARGET_DIR").current_dir(paths::home()?))?;
    }
    Ok(program)
}

/// The names of the targets, in order.
fn targets(folder: &Path) -> Result<Vec<String>> {
    let listed = fs::read_dir(folder.join("fuzz_targets")).context("crates/wire/fuzz/fuzz_targets")?;
    let mut names: Vec<String> = listed.filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    Ok(names)
}

/// Puts the golden files where the targets begin, each with the bytes before it that its target reads.
fn plant_seeds(folder: &Path) -> Result<()> {
    let golden = paths::root().join("crates/wire/tests/golden");
    for case in fs::read_dir(&golden).context("crates/wire/tests/golden")? {
        let case = case?.path();
        if !case.is_dir() {
            continue;
        }
        let name = case.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        for file in fs::read_dir(&case)? {
            let file = file?.path();
            let bytes = fs::read(&file)?;
            let file_name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            for (target, head) in seeds_of(&file_name) {
                let corpus = folder.join("corpus").join(target);
                fs::create_dir_all(&corpus)?;
                fs::write(corpus.join(format!("{name}-{file_name}")), [&head, &*bytes].concat())?;
            }
        }
    }
    Ok(())
}

/// The targets that a golden file is for, and what stands before its bytes there: the dialect's number, the cuts.
fn seeds_of(file_name: &str) -> Vec<(String, Vec<u8>)> {
    let mut parts = file_name.split('.');
    let (Some(kind), Some(dialect)) = (parts.next(), parts.next()) else { return Vec::new() };
    let Some(number) = DIALECTS.iter().position(|d| *d == dialect).and_then(|n| u8::try_from(n).ok()) else { return Vec::new() };
    let seed = |target: &str, head: &[u8]| (target.to_owned(), head.to_vec());
    match kind {
        "in" => vec![seed("requests", &[number]), seed("head", &[3])],
        "answer" => vec![seed("answers", &[number])],
        "stream" => vec![
            seed(&format!("streams_{dialect}"), &CUTS),
            seed("sse", &CUTS),
            seed("tap", &[&[number][..], &CUTS].concat()),
            seed("translate", &[number]),
        ],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_golden_file_is_a_seed_of_a_target_that_exists() {
        let known = targets(&paths::root().join("crates/wire/fuzz")).expect("targets");
        for (file, count) in
            [("in.chat.json", 2), ("answer.gemini.json", 1), ("stream.messages.sse", 4), ("notes.txt", 0), ("in.other.json", 0)]
        {
            let seeds = seeds_of(file);
            assert_eq!(seeds.len(), count, "{file}");
            assert!(seeds.iter().all(|(target, _)| known.contains(target)), "{file}: {seeds:?}");
        }
    }

    #[test]
    fn every_target_is_named_in_the_manifest() {
        let folder = paths::root().join("crates/wire/fuzz");
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
        for target in targets(&folder).expect("targets") {
            assert!(manifest.contains(&format!("path = \"fuzz_targets/{target}.rs\"")), "{target}");
        }
    }
}
