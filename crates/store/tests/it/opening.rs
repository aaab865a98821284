use std::{os::unix::fs::PermissionsExt, path::Path, time::Duration};

use sqlx::{Connection, SqliteConnection};
use store::{Store, StoreError};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("it exists").permissions().mode() & 0o777
}

#[tokio::test]
async fn directories_and_files_are_for_the_owner_only() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let data = home.path().join("a/b");
    let store = Store::open("", &data).await.expect("a new database");
    assert_eq!(store.path(), data.join("router.db"));
    assert_eq!((mode(&data), mode(&home.path().join("a")), mode(store.path())), (0o700, 0o700, 0o600));
    store::meta::set(&store, "a", "b").await.expect("a write");
    assert_eq!(mode(&data.join("router.db-wal")), 0o600);
}

#[tokio::test]
async fn a_file_that_others_could_read_is_closed_to_them() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let path = home.path().join("router.db");
    std::fs::write(&path, "").expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("its owner may");
    Store::open("", home.path()).await.expect("an empty file is a new database");
    assert_eq!(mode(&path), 0o600);
}

#[tokio::test]
async fn addresses() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let file = home.path().join("elsewhere/x.db");
    for form in ["sqlite:", "sqlite://"] {
        let store = Store::open(&format!("{form}{}?mode=rwc", file.display()), home.path()).await.expect("a file");
        assert_eq!(store.path(), file);
        store.check().await.expect("it answers");
        store.close().await;
    }
    for (bad, says) in [
        ("postgres://u:secret@h/db", "SQLite only"),
        ("mysql://u:secret@h/db", "sqlite:PATH"),
        ("sqlite::memory:", "file"),
        ("sqlite:", "file"),
    ] {
        match Store::open(bad, home.path()).await {
            Err(e @ StoreError::Address(_)) => assert!(e.to_string().contains(says) && !e.to_string().contains("secret"), "{e}"),
            other => panic!("{bad}: {:?}", other.err()),
        }
    }
}

#[tokio::test]
async fn no_database_and_no_directory_are_clear_errors() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let junk = home.path().join("router.db");
    std::fs::write(&junk, "this is no database, however long it may be".repeat(50)).expect("a file");
    let said = Store::open("", home.path()).await.err().expect("not a database").to_string();
    assert!(said.contains("router.db"), "{said}");
    let said = Store::open("", &junk.join("below-a-file")).await.err().expect("no directory").to_string();
    assert!(said.contains("below-a-file"), "{said}");
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let (home, store) = crate::fresh().await;
    let path = store.path().to_owned();
    store.close().await;
    drop(store);
    let mut raw = SqliteConnection::connect(&format!("sqlite:{}", path.display())).await.expect("the file");
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'later', 1, x'00', 0)",
    )
    .execute(&mut raw)
    .await
    .expect("as a later program would");
    match Store::open("", home.path()).await {
        Err(e @ StoreError::NewerSchema { found: 9999, .. }) => assert!(e.to_string().contains("newer program"), "{e}"),
        other => panic!("{:?}", other.err()),
    }
}

/// Before, a row said itself what its combination says.
#[tokio::test]
async fn rows_of_before_are_told_as_before() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let path = home.path().join("router.db");
    let migrations = sqlx::migrate::Migrator::new(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite"))).await.expect("all");
    let mut raw = SqliteConnection::connect(&format!("sqlite:{}?mode=rwc", path.display())).await.expect("a new file");
    migrations.run_to(31, &mut raw).await.expect("as an earlier program would");
    for statement in [
        "INSERT INTO facets (id, key_id, key_name, model_requested, model_served, target, node_id, outcome, price_version, status, remembered)
         VALUES (7, 'k1', 'ann', 'm', 'm-1', 'acc', '', 'error', '', 502, 0)",
        "INSERT INTO requests (seq, id, started_at, duration_ms, key_id, key_name, dialect, path, model_requested, model_served, target, attempts,
         status, outcome, stream, bytes_in, bytes_out, facet, cost_nano, prompt_tokens)
         VALUES (3, 'r1', 1000, 5, 'k1', 'ann', 'chat', '/v1/chat/completions', 'm', 'm-1', 'acc', 2, 502, 'error', 1, 10, 20, 7, 9, 4)",
    ] {
        sqlx::query(statement).execute(&mut raw).await.expect("an old row");
    }
    raw.close().await.expect("closed");
    let store = Store::open("", home.path()).await.expect("brought up to date");
    let found = store::requests::get(&store, "r1").await.expect("read").expect("still there");
    let row = &found.row;
    assert_eq!((found.seq, row.status, &*row.outcome, row.attempts, row.stream), (3, 502, "error", 2, true));
    let said = [&row.key_id, &row.key_name, &row.model_requested, &row.model_served, &row.target, &row.node_id];
    assert_eq!(said.map(|text| text.as_deref()), [Some("k1"), Some("ann"), Some("m"), Some("m-1"), Some("acc"), None]);
    assert_eq!((row.cost_nano, row.prompt_tokens, row.bytes_in, row.started_at_ms), (Some(9), Some(4), 10, 1000));
    assert!(store::requests::get_of_key(&store, "r1", "k1").await.expect("read").is_some());
    assert!(store::requests::get_of_key(&store, "r1", "k2").await.expect("read").is_none());
}

#[tokio::test]
async fn many_may_open_a_new_database_at_once() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let opened: Vec<_> = (0..6)
        .map(|_| {
            tokio::spawn({
                let dir = home.path().to_owned();
                async move { Store::open("", &dir).await.map(drop) }
            })
        })
        .collect();
    for one in opened {
        one.await.expect("no panic").expect("opened");
    }
}

#[tokio::test]
async fn nobody_touches_a_new_database_outside_their_turn() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let turn = std::fs::File::create(home.path().join("router.migrate.lock")).expect("a new file");
    turn.lock().expect("nobody has it");
    let opening = Store::open("", home.path());
    tokio::pin!(opening);
    let waits = tokio::time::timeout(Duration::from_millis(100), &mut opening).await;
    assert!(waits.is_err(), "it is another's turn");
    assert_eq!(std::fs::metadata(home.path().join("router.db")).expect("made").len(), 0, "and the file is as it was");
    turn.unlock().expect("it was locked");
    opening.await.expect("opened");
}

#[tokio::test(start_paused = true)]
async fn who_gets_no_turn_is_told_why() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let turn = std::fs::File::create(home.path().join("router.migrate.lock")).expect("a new file");
    turn.lock().expect("nobody has it");
    let said = Store::open("", home.path()).await.map(drop).expect_err("it is another's turn").to_string();
    assert!(said.contains("router.migrate.lock: another process has been opening the database for 60 s"), "{said}");
}
