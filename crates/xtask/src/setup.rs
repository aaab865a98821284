//! Brings what the build and the tests need from the system's packages. Quick when nothing is missing.

use std::{
    fs,
    io::{IsTerminal, stdin},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use crate::{
    environment::{self, which},
    shell,
};

/// Something the project needs from the system.
struct Need {
    /// What it is for, in words for those who have no apt.
    what: &'static str,
    /// Debian's packages that bring it.
    packages: &'static [&'static str],
    is_present: fn() -> bool,
}

const NEEDS: &[Need] = &[
    Need { what: "a C and C++ compiler", packages: &["build-essential"], is_present: || which("cc").is_some() && which("c++").is_some() },
    Need { what: "cmake 3.21 or later", packages: &["cmake"], is_present: || which("cmake").is_some() },
    Need {
        what: "libclang with its headers (set LIBCLANG_PATH if it is in an unusual place)",
        packages: &["libclang-dev"],
        is_present: has_libclang,
    },
    Need {
        what: "Python 3.10 or later with pip and venv (downloads the model, runs the SDK tests)",
        packages: &["python3", "python3-pip", "python3-venv", "ca-certificates"],
        is_present: has_python,
    },
    Need {
        what: "redis-server (tests of limits that several routers share)",
        packages: &["redis-server"],
        is_present: || which("redis-server").is_some() || which("valkey-server").is_some(),
    },
];

/// Only the dashboard's tests need one, and it is large.
const BROWSER: &[Need] = &[Need {
    what: "chromium (tests of the dashboard)",
    packages: &["chromium"],
    is_present: || ["chromium", "chromium-browser", "google-chrome"].iter().any(|name| which(name).is_some()),
}];

/// Installs what is missing with apt, or says what to install where there is no apt.
pub(crate) fn install_missing() -> Result<()> {
    install(NEEDS)
}

/// Installs the browser that the dashboard's tests drive.
pub(crate) fn install_browser() -> Result<()> {
    install(BROWSER)
}

fn install(needs: &[Need]) -> Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !(need.is_present)()).collect();
    if missing.is_empty() {
        println!("setup: everything needed is here");
        return Ok(());
    }
    for need in &missing {
        println!("setup: missing {}", need.what);
    }
    if which("apt-get").is_none() {
        let list: Vec<String> = missing.iter().map(|need| format!("  - {}", need.what)).collect();
        bail!("please install, with your system's package manager:\n{}\nand run this again", list.join("\n"));
    }
    let packages: Vec<&str> = missing.iter().flat_map(|need| need.packages).copied().collect();
    shell::run(as_root("apt-get", &packages)?.args(["update", "-qq"]))?;
    shell::run(as_root("apt-get", &packages)?.args(["install", "-y", "-qq", "--no-install-recommends"]).args(&packages))?;
    if let Some(need) = missing.iter().find(|need| !(need.is_present)()) {
        bail!("{} is still not found after installing {}", need.what, need.packages.join(", "));
    }
    Ok(())
}

/// `program` as root: directly, or through sudo where that needs no password or someone is there to type it.
fn as_root(program: &str, packages: &[&str]) -> Result<Command> {
    let mut command = if rustix::process::geteuid().is_root() {
        shell::command(program)
    } else if which("sudo").is_some() && (stdin().is_terminal() || shell::succeeds(Command::new("sudo").args(["-n", "true"]))) {
        let mut sudo = shell::command("sudo");
        sudo.arg("--preserve-env=DEBIAN_FRONTEND").arg(program);
        sudo
    } else {
        bail!("not root, and sudo cannot be used; run as root: apt-get install {}", packages.join(" "));
    };
    command.env("DEBIAN_FRONTEND", "noninteractive");
    Ok(command)
}

/// The generator of the C++ bindings needs the library and, on Linux, the compiler's own headers (`stddef.h`).
fn has_libclang() -> bool {
    let mut folders: Vec<PathBuf> = environment::path("LIBCLANG_PATH").into_iter().collect();
    folders.extend(
        ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/opt/homebrew/opt/llvm/lib", "/Library/Developer/CommandLineTools/usr/lib"]
            .map(PathBuf::from),
    );
    let versioned = entries("/usr/lib").into_iter().filter(|path| starts_with(path, "llvm-"));
    folders.extend(versioned.map(|path| path.join("lib")));
    folders.push(Path::new("/usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH)));
    let library =
        folders.iter().any(|folder| entries(folder).iter().any(|path| starts_with(path, "libclang.") || starts_with(path, "libclang-")));
    let headers = cfg!(not(target_os = "linux"))
        || ["/usr/lib/clang", "/usr/lib64/clang"]
            .into_iter()
            .map(PathBuf::from)
            .chain(folders.iter().map(|folder| folder.join("clang")))
            .any(|folder| entries(&folder).iter().any(|version| version.join("include/stddef.h").is_file()));
    library && headers
}

fn has_python() -> bool {
    let probe = "import importlib.util as u, sys; \
                 sys.exit(not (sys.version_info >= (3, 10) and all(u.find_spec(m) for m in ('pip', 'venv', 'ensurepip'))))";
    shell::succeeds(Command::new("python3").args(["-c", probe]))
}

fn entries(folder: impl AsRef<Path>) -> Vec<PathBuf> {
    fs::read_dir(folder).map(|entries| entries.flatten().map(|entry| entry.path()).collect()).unwrap_or_default()
}

fn starts_with(path: &Path, prefix: &str) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
}
