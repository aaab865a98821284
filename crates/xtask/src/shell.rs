//! Running other programs: each is printed before it runs, and a failure names it.

use std::{ffi::OsStr, path::Path, process::Command, time::Instant};

use anyhow::{Context, Result, bail};

use crate::paths;

/// A command in the project's root.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(paths::root());
    command
}

/// Cargo itself, with the lock file as it is.
pub(crate) fn cargo(verb: &str) -> Command {
    let mut command = command("cargo");
    command.arg(verb);
    command
}

/// Prints the command, runs it and says how long it took; an exit status other than 0 is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    println!("\n$ {shown}");
    let started = Instant::now();
    let status = command.status().with_context(|| format!("cannot start: {shown}"))?;
    let took_s = started.elapsed().as_secs_f32();
    if status.success() {
        println!("  ok in {took_s:.1} s: {}", command.get_program().to_string_lossy());
        Ok(())
    } else {
        bail!("failed ({status}) after {took_s:.1} s: {shown}")
    }
}

/// Runs the command quietly and returns what it printed to stdout.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command.output().with_context(|| format!("cannot start: {shown}"))?;
    if !output.status.success() {
        bail!("failed ({}): {shown}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    String::from_utf8(output.stdout).with_context(|| format!("not UTF-8: output of {shown}"))
}

/// Whether the command can be run and ends with status 0.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// The command as one would type it; paths below the root are shortened, changes of the environment stand in front.
pub(crate) fn show(command: &Command) -> String {
    let root = paths::root();
    let settings = command.get_envs().filter_map(|(name, value)| Some(format!("{}={}", name.to_string_lossy(), word(value?, &root))));
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(|text| word(text, &root));
    settings.chain(words).collect::<Vec<_>>().join(" ")
}

fn word(text: &OsStr, root: &Path) -> String {
    let path = Path::new(text);
    let shown = path.strip_prefix(root).unwrap_or(path).to_string_lossy();
    if shown.is_empty() || shown.contains([' ', '$', '"', '*', '\'']) { format!("'{shown}'") } else { shown.into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let mut made = command("echo");
        made.arg("two words").arg(paths::root().join("Cargo.toml")).env("A", "b");
        assert_eq!(show(&made), "A=b echo 'two words' Cargo.toml");
    }

    #[test]
    fn a_failing_command_is_an_error_that_names_it() {
        let error = run(command("sh").args(["-c", "exit 3"])).expect_err("exits with 3").to_string();
        assert!(error.contains("exit status: 3") && error.contains("sh -c 'exit 3'"), "{error}");
    }
}
