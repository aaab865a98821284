//! The router as it is published: built once to be watched under load, and once more with what was seen
//! (<https://doc.rust-lang.org/rustc/profile-guided-optimization.html>). The way of a request is long and flat; which of its branches are taken is
//! what a compiler can't know. Then the finished program is watched once more, and its code laid out in the order in which it is gone through
//! (<https://github.com/llvm/llvm-project/blob/main/bolt/README.md>), that of the libraries in C included.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{elf, environment, paths, shell, ui};

/// What is published, and its profile.
const PROGRAM: &str = "llm-router";
const PROFILE: &str = "dist";

/// Virtual keys of the load: each is made by a start of the watched program, which writes down what it saw.
const KEYS: &str = "100";
/// How BOLT lays code out: blocks that follow one another together, functions by who calls whom, what never ran out of the way.
const LAYOUT: [&str; 7] = [
    "-reorder-blocks=ext-tsp",
    "-reorder-functions=cdsort",
    "-split-functions",
    "-split-all-cold",
    "-split-eh",
    "-icf=1",
    // A copy that somebody strips must still start. What is lost by it is put right in [`elf`].
    "-use-gnu-stack",
];

/// Builds `target/dist/llm-router`.
pub(crate) fn build() -> Result<()> {
    ui::build()?;
    let compiler = Compiler::look()?;
    let profdata = compiler.profdata()?;
    let bolt = Bolt::look(&compiler);
    let training = paths::target().join("training");
    let seen = emptied(&training.join("seen"))?;
    // What is counted is counted before anything is linked: without optimisation there it is counted in a part of the time.
    let watched = compiler.build(&training, &format!("-Cprofile-generate={}", seen.display()), &[("CARGO_PROFILE_DIST_LTO", "off")])?;
    put_under_load(watched.parent().context("the program is in a folder")?)?;
    let counts = training.join("seen.profdata");
    shell::run(shell::command(profdata).args(["merge", "-o"]).arg(&counts).arg(&seen))?;
    let relocations = if bolt.is_some() { " -Clink-arg=-Wl,--emit-relocs" } else { "" };
    let trained = compiler.build(&training, &format!("-Cprofile-use={}{relocations}", counts.display()), &[])?;
    let place = paths::program(PROFILE, PROGRAM);
    fs::create_dir_all(place.parent().context("the program is in a folder")?)?;
    match bolt {
        Some(bolt) => bolt.lay_out(&trained, &training, &place)?,
        None => {
            println!("llvm-bolt-{0} is not there (Debian's bolt-{0}): the code stays as the linker laid it out", compiler.llvm);
            fs::copy(&trained, &place).with_context(|| format!("cannot copy to {}", place.display()))?;
        }
    }
    println!("{}", place.display());
    Ok(())
}

/// Every kind of request that `bench` makes, whole and streamed, passed on and translated.
fn put_under_load(folder: &Path) -> Result<()> {
    let mut load = shell::cargo("run");
    load.args([
        "--release",
        "--locked",
        "--quiet",
        "-p",
        "bench",
        "--",
        "gateway",
        "--rounds",
        "1",
        "--dur",
        "2",
        "--keys",
        KEYS,
        "--programs",
    ]);
    shell::run(load.arg(folder))
}

/// A folder with nothing in it.
fn emptied(folder: &Path) -> Result<PathBuf> {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder.to_owned())
}

/// LLVM's tools that lay a finished program out anew.
struct Bolt {
    bolt: PathBuf,
    merge: PathBuf,
}

impl Bolt {
    /// `None`: they are not there, or know nothing of this system's programs.
    fn look(compiler: &Compiler) -> Option<Self> {
        let tool = |name: &str| environment::which(&format!("{name}-{}", compiler.llvm)).or_else(|| environment::which(name));
        Some(Self { bolt: tool("llvm-bolt")?, merge: tool("merge-fdata")? }).filter(|_| compiler.host.contains("linux"))
    }

    fn lay_out(&self, program: &Path, training: &Path, place: &Path) -> Result<()> {
        let (ways, folder) = (emptied(&training.join("ways"))?, emptied(&training.join("watched"))?);
        let watched = folder.join(PROGRAM);
        let mut command = shell::command(&self.bolt);
        command.arg(program).arg("-instrument").arg("-o").arg(&watched);
        command.arg(format!("--instrumentation-file={}", ways.join("way").display())).arg("--instrumentation-file-append-pid");
        shell::run(&mut command)?;
        put_under_load(&folder)?;
        let all = training.join("ways.fdata");
        let mut merge = shell::command(&self.merge);
        merge.arg("-o").arg(&all);
        for way in fs::read_dir(&ways)? {
            merge.arg(way?.path());
        }
        shell::run(&mut merge)?;
        let mut command = shell::command(&self.bolt);
        command.arg(program).arg("-o").arg(place).arg(format!("-data={}", all.display())).args(LAYOUT);
        shell::run(&mut command)?;
        elf::forbid_code_on_stacks(place)
    }
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

    fn build(&self, target: &Path, flags: &str, settings: &[(&str, &str)]) -> Result<PathBuf> {
        let mut build: Command = shell::cargo("build");
        // Named, so that the flags are for the program alone and not for the build's own tools.
        build.args(["--locked", "--profile", PROFILE, "-p", PROGRAM, "--target", &self.host]);
        build.env("CARGO_TARGET_DIR", target).env("RUSTFLAGS", flags).envs(settings.iter().copied());
        shell::run(&mut build)?;
        Ok(target.join(&self.host).join(PROFILE).join(format!("{PROGRAM}{}", std::env::consts::EXE_SUFFIX)))
    }
}
