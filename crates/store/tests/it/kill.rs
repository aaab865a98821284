//! A process that is killed keeps what it acknowledged. The child is this very test program, told to run one ignored test.

use std::{
    collections::HashSet,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use store::{Store, keys, requests};

/// What the child writes before it is killed, at least.
const KEYS: usize = 40;

fn child(home: &std::path::Path) -> Child {
    let program = std::env::current_exe().expect("this test program");
    let mut child = Command::new(program)
        .args(["--exact", "--ignored", "--nocapture", "kill::child_that_writes_until_it_is_killed"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child");
    writeln!(child.stdin.as_mut().expect("piped"), "{}", home.display()).expect("it reads");
    child
}

#[tokio::test]
#[ignore = "run by the test below as a process of its own"]
async fn child_that_writes_until_it_is_killed() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("a directory");
    let store = Store::open("", &PathBuf::from(line.trim())).await.expect("the database");
    for n in keys::list(&store).await.expect("keys").len().. {
        keys::insert(&store, &crate::key(n)).await.expect("a key");
        requests::insert(&store, &vec![requests::Row::default(); 10]).await.expect("rows");
        println!("\nacknowledged key_{n}");
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut acknowledged = HashSet::new();
    for round in 1..=3 {
        let mut child = child(home.path());
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        while acknowledged.len() < round * KEYS {
            let line = lines.next().expect("the child goes on writing").expect("text");
            acknowledged.extend(line.strip_prefix("acknowledged ").map(str::to_owned));
        }
        child.kill().expect("it runs");
        // What it had said before it died counts too.
        acknowledged.extend(
            lines.map_while(Result::ok).filter_map(|l| l.strip_prefix("acknowledged ").filter(|id| id.len() > 4).map(str::to_owned)),
        );
        child.wait().expect("it is dead");
        let store = Store::open("", home.path()).await.expect("the database opens again");
        let kept: HashSet<_> = keys::list(&store).await.expect("keys").into_iter().map(|k| k.id).collect();
        assert!(acknowledged.is_subset(&kept), "lost: {:?}", acknowledged.difference(&kept).collect::<Vec<_>>());
        assert!(requests::count(&store).await.expect("a count") >= 10 * acknowledged.len() as u64, "committed rows survive too");
        store.close().await;
    }
}
