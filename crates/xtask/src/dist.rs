//! The router as it is published: built once to be watched under load, and once more with what was seen
//! (<https://doc.rust-lang.org/rustc/profile-guided-optimization.html>). The way of a request is long and flat; which of its branches are taken is
//! what a compiler can't know.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{environment, paths, shell, ui};

/// What is published, and its profile.
const PROGRAM: &str = "llm-router";
const PROFILE: &str = "dist";

/// Builds `target/dist/llm-router`.
pub(crate) fn build() -> Result<()> {
    ui::build()?;
    let compiler = Compiler::look()?;
    let profdata = compiler.profdata()?;
    let training = paths::target().join("training");
    let _ = fs::remove_dir_all(training.join("seen"));
    fs::create_dir_all(training.join("seen"))?;
    let watched = compiler.build(&training, &format!("-Cprofile-generate={}", training.join("seen").display()))?;
    // Every kind of request that `bench` makes, whole and streamed, passed on and translated.
    let folder = watched.parent().context("the program is in a folder")?;
    let mut load = shell::cargo("run");
    load.args(["--release", "--locked", "--quiet", "-p", "bench", "--", "gateway", "--rounds", "1", "--dur", "2", "--programs"])
        .arg(folder);
    shell::run(&mut load)?;
    let seen = training.join("seen.profdata");
    shell::run(shell::command(profdata).args(["merge", "-o"]).arg(&seen).arg(training.join("seen")))?;
    let trained = compiler.build(&training, &format!("-Cprofile-use={}", seen.display()))?;
    let place = paths::program(PROFILE, PROGRAM);
    fs::create_dir_all(place.parent().context("the program is in a folder")?)?;
    fs::copy(&trained, &place).with_context(|| format!("cannot copy to {}", place.display()))?;
    println!("{}", place.display());
    Ok(())
}

/// What must be known of rustc.
struct Compiler {
    host: String,
    /// LLVM's major version: its own format of what was seen.
    llvm: String,
}

impl Compiler {
    fn look() -> Result<Self> {
        let said = shell::output(shell::command("rustc").arg("-vV"))?;
        let value =
            |name: &str| said.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).context("rustc says no host or no LLVM");
        let llvm = value("LLVM version:")?;
        Ok(Self { host: value("host:")?.to_owned(), llvm: llvm.split('.').next().unwrap_or(llvm).to_owned() })
    }

    /// LLVM's tool that puts what was seen together: rustup's, or the system's of the same version.
    fn profdata(&self) -> Result<PathBuf> {
        let root = shell::output(shell::command("rustc").args(["--print", "sysroot"]))?;
        let of_rustup = Path::new(root.trim()).join("lib/rustlib").join(&self.host).join("bin/llvm-profdata");
        let of_system = || environment::which(&format!("llvm-profdata-{}", self.llvm));
        of_rustup.is_file().then_some(of_rustup).or_else(of_system).with_context(|| {
            format!(
                "llvm-profdata of LLVM {0} is missing: `rustup component add llvm-tools`, or Debian's llvm-{0} from apt.llvm.org; without \
                 training: `cargo build --profile dist --locked -p llm-router`",
                self.llvm
            )
        })
    }

    fn build(&self, target: &Path, flags: &str) -> Result<PathBuf> {
        let mut build: Command = shell::cargo("build");
        // Named, so that the flags are for the program alone and not for the build's own tools.
        build.args(["--locked", "--profile", PROFILE, "-p", PROGRAM, "--target", &self.host]);
        build.env("CARGO_TARGET_DIR", target).env("RUSTFLAGS", flags);
        shell::run(&mut build)?;
        Ok(target.join(&self.host).join(PROFILE).join(format!("{PROGRAM}{}", std::env::consts::EXE_SUFFIX)))
    }
}
