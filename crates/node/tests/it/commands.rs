//! The commands besides `serve`.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Output, Stdio},
    thread,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::Gguf;

use crate::node::{PLAIN, program};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn home(models: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("models")).unwrap();
    for model in models {
        fs::write(dir.path().join("models").join(format!("{model}.gguf")), Gguf::with_template(PLAIN).build()).unwrap();
    }
    dir
}

fn run(dir: &TempDir, env: &[(&str, &str)], arguments: &[&str]) -> Output {
    program(dir).args(arguments).envs(env.iter().copied()).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn said(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&output.stdout)))
}

/// A hub with one repository, `o/n`, of two quantisations. Serves as long as the test runs.
fn hub(file: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || listener.incoming().flatten().for_each(|stream| answer(stream, &file)));
    base
}

fn answer(stream: TcpStream, file: &[u8]) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    let range =
        lines.take_while(|line| !line.is_empty()).find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    let path = first.split_whitespace().nth(1).unwrap_or_default();
    let (head, body) = if path == "/api/models/o/n/revision/main?blobs=true" {
        let sibling = |name: &str| json!({"rfilename": name, "size": file.len()});
        let body =
            json!({"id": "o/n", "sha": COMMIT, "siblings": [sibling("tiny.F16.gguf"), sibling("tiny.Q8_0.gguf"), sibling("README.md")]});
        ("HTTP/1.1 200 OK".to_owned(), body.to_string().into_bytes())
    } else if path == format!("/o/n/resolve/{COMMIT}/tiny.Q8_0.gguf") {
        let ends = range
            .and_then(|range| Some((range.split_once('-')?.0.parse::<usize>().ok()?, range.split_once('-')?.1.parse::<usize>().ok()?)));
        match ends {
            Some((from, to)) => {
                let to = to.min(file.len() - 1);
                (format!("HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {from}-{to}/{}", file.len()), file[from..=to].to_vec())
            }
            None => ("HTTP/1.1 200 OK".to_owned(), file.to_vec()),
        }
    } else {
        ("HTTP/1.1 404 Not Found".to_owned(), Vec::new())
    };
    let mut stream = stream;
    let _ = write!(stream, "{head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len()).and_then(|()| stream.write_all(&body));
}

#[test]
fn a_model_is_pulled_listed_and_removed() {
    let (dir, file) = (home(&[]), Gguf::with_template(PLAIN).build());
    let base = hub(file.clone());
    let env = [("HF_ENDPOINT", base.as_str()), ("LLM_NODE_DISK_RESERVE", "1")];
    let pulled = said(&run(&dir, &env, &["models", "pull", "o/n:q8_0", "--json"]));
    assert_eq!((&pulled["id"], &pulled["bytes"], &pulled["quantization"]), (&json!("tiny"), &json!(file.len()), &json!("q8_0")));
    let listed = said(&run(&dir, &[], &["models", "list", "--json"]));
    assert_eq!((listed["models"].as_array().unwrap().len(), &listed["models"][0]["id"]), (1, &json!("tiny")));
    assert_eq!(fs::read(Path::new(listed["models"][0]["path"].as_str().unwrap())).unwrap(), file);
    let path = dir.path().join("models/tiny/model.gguf");
    let mut damaged = file.clone();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(&path, damaged).unwrap();
    assert!(run(&dir, &env, &["models", "pull", "o/n:q8_0"]).status.success());
    assert_eq!(fs::read(&path).unwrap(), file, "what was damaged is");
    assert_eq!(said(&run(&dir, &[], &["models", "rm", "tiny", "--json"]))["removed"], true);
    assert_eq!(said(&run(&dir, &[], &["models", "list", "--json"]))["models"], json!([]));
    let again = run(&dir, &[], &["models", "rm", "tiny"]);
    assert!(!again.status.success() && text(&again.stderr).contains("no model `tiny`"), "{}", text(&again.stderr));
    for (reference, word) in [("o/other", "o/other"), ("o/n:q2_k", "Q8_0"), ("nonsense", "owner/name")] {
        let failed = run(&dir, &env, &["models", "pull", reference]);
        assert!(!failed.status.success() && text(&failed.stderr).contains(word), "{reference}: {}", text(&failed.stderr));
    }
}

#[test]
fn what_people_put_there_is_removed_by_any_of_its_names() {
    let dir = home(&["one.Q4_0", "two", "part-00001-of-00002", "part-00002-of-00002"]);
    let left = || {
        let mut files: Vec<_> =
            fs::read_dir(dir.path().join("models")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        files
    };
    assert!(run(&dir, &[], &["models", "rm", "ONE.q4_0.gguf"]).status.success());
    assert!(run(&dir, &[], &["models", "rm", "part"]).status.success());
    assert_eq!(left(), ["two.gguf"]);
    fs::write(dir.path().join("models/broken.gguf"), b"GGUF").unwrap();
    assert!(run(&dir, &[], &["models", "rm", "broken"]).status.success());
    assert!(!run(&dir, &[], &["models", "rm", "../models/two"]).status.success());
    assert_eq!(left(), ["two.gguf"]);
}

#[test]
fn a_bench_measures_each_round() {
    let dir = home(&["tiny+delay=1"]);
    let measured = said(&run(
        &dir,
        &[],
        &["bench", "tiny+delay=1", "--scripted", "--parallel", "1,2", "--tokens", "4", "--prompt-tokens", "5", "--json"],
    ));
    let rounds = measured["rounds"].as_array().unwrap();
    assert_eq!((rounds.len(), &rounds[1]["parallel"], &measured["prompt_tokens"]), (2, &json!(2), &json!(5)));
    assert!(rounds.iter().all(|round| round["wall_ms"].as_f64().unwrap() >= 4.0), "{measured}");
    let shown = run(&dir, &[], &["bench", "tiny+delay=1", "--scripted", "--parallel", "1"]);
    assert!(shown.status.success() && text(&shown.stdout).contains("answer tok/s"), "{}", text(&shown.stderr));
    for wrong in [&["bench", "none", "--scripted"][..], &["bench", "tiny+delay=1", "--parallel", "0"], &["bench"]] {
        assert!(!run(&dir, &[], wrong).status.success(), "{wrong:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_doctor_says_what_is_missing() {
    use std::os::unix::fs::PermissionsExt;
    let dir = home(&["tiny"]);
    let worker = dir.path().join("worker");
    let env = [("LLM_NODE_WORKER", worker.to_str().unwrap())];
    let arguments = ["doctor", "--standalone", "--port", "0", "--json"];
    let status = |output: &Output, check: &str| {
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        let found = said["checks"].as_array().unwrap().iter().find(|one| one["check"] == check).cloned();
        found.map(|one| (one["status"].as_str().unwrap().to_owned(), one["detail"].as_str().unwrap().to_owned()))
    };
    let sick = run(&dir, &env, &arguments);
    assert!(!sick.status.success());
    assert_eq!(status(&sick, "worker").unwrap().0, "fail");
    fs::write(&worker, "#!/bin/sh\necho '{\"accelerators\": [], \"gpus\": [], \"missing_cpu_features\": []}'\n").unwrap();
    fs::set_permissions(&worker, fs::Permissions::from_mode(0o755)).unwrap();
    let well = run(&dir, &env, &arguments);
    assert!(well.status.success(), "{}", text(&well.stdout));
    assert_eq!(status(&well, "models"), Some(("ok".to_owned(), "tiny".to_owned())));
    assert_eq!(status(&well, "router"), None);
    let lonely = run(&dir, &env, &["doctor", "--router", "http://127.0.0.1:9", "--port", "0", "--json"]);
    assert_eq!(status(&lonely, "router").unwrap().0, "warn", "a node waits for its router");
    let unsettled = run(&dir, &[("LLM_NODE_SLOTS", "many")], &["doctor"]);
    assert!(!unsettled.status.success() && text(&unsettled.stdout).contains("fail  settings"), "{}", text(&unsettled.stdout));
}
