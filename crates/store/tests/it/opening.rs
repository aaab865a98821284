use std::{os::unix::fs::PermissionsExt, path::Path};

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
