use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use store::{InstanceLock, Store, StoreError, meta, requests, upkeep};

use crate::fresh;

#[tokio::test]
async fn a_sound_database_has_no_faults_and_a_damaged_one_has() {
    let (_home, store) = fresh().await;
    for n in 0..500 {
        meta::set(&store, &format!("name-{n}"), &"x".repeat(500)).await.expect("a write");
    }
    let found = store.examine().await.expect("a look");
    assert!(found.faults.is_empty() && found.schema > 0 && found.bytes > 100_000, "{found:?}");
    store.close().await;

    let path = store.path().to_owned();
    let mut bytes = fs::read(&path).expect("the file");
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4096].fill(0x55);
    fs::write(&path, bytes).expect("damaged");
    let store = Store::open("", path.parent().expect("a directory")).await.expect("the schema is sound");
    let found = store.examine().await;
    assert!(found.as_ref().map_or(true, |found| !found.faults.is_empty()), "{found:?}");
}

#[tokio::test]
async fn a_copy_made_while_others_write_is_what_was_there() {
    let (home, store) = fresh().await;
    meta::set(&store, "before", "1").await.expect("a write");
    let copy = home.path().join("copy.db");
    store.backup(&copy).await.expect("a copy");
    assert_eq!(fs::metadata(&copy).expect("it is there").permissions().mode() & 0o777, 0o600);
    assert!(matches!(store.backup(&copy).await, Err(StoreError::Exists(_))), "nothing is written over");
    meta::set(&store, "after", "1").await.expect("a write");
    store.close().await;

    let found = upkeep::restore("", home.path(), &copy).await.expect("put in its place");
    assert!(found.faults.is_empty());
    let store = Store::open("", home.path()).await.expect("the copy");
    assert_eq!(meta::get(&store, "before").await.expect("a read").as_deref(), Some("1"));
    assert_eq!(meta::get(&store, "after").await.expect("a read"), None);
    let replaced = home.path().join("router.db.before-restore");
    assert!(replaced.is_file(), "what was there is kept");
    assert_eq!(fs::metadata(store.path()).expect("it is there").permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn what_is_no_copy_replaces_nothing() {
    let (home, store) = fresh().await;
    meta::set(&store, "kept", "1").await.expect("a write");
    let copy = home.path().join("copy.db");
    store.backup(&copy).await.expect("a copy");
    store.close().await;
    let junk = home.path().join("junk.db");
    fs::write(&junk, "no database").expect("a file");
    let empty = home.path().join("empty.db");
    fs::write(&empty, "").expect("a file");
    for wrong in [junk.as_path(), &empty, Path::new("/no/such/file")] {
        assert!(upkeep::restore("", home.path(), wrong).await.is_err(), "{}", wrong.display());
    }
    let lock = InstanceLock::take(home.path()).expect("nobody has it");
    assert!(matches!(upkeep::restore("", home.path(), &copy).await, Err(StoreError::InUse { .. })), "a router runs");
    drop(lock);
    let store = Store::open("", home.path()).await.expect("as it was");
    assert_eq!(meta::get(&store, "kept").await.expect("a read").as_deref(), Some("1"));
    assert!(!home.path().join("router.db.before-restore").exists());
}

#[tokio::test]
async fn what_is_free_goes_back_to_the_disk() {
    let (_home, store) = fresh().await;
    let row = |n: i64| requests::Row {
        id: format!("r{n}").into(),
        started_at_ms: n,
        decision: Some("x".repeat(900).into()),
        ..Default::default()
    };
    for first in (0..5000).step_by(500) {
        requests::insert(&store, &(first..first + 500).map(row).collect::<Vec<_>>()).await.expect("rows");
    }
    assert_eq!(requests::start_after_oldest(&store, 10).await.expect("a time"), Some(10));
    let full = store.room().await.expect("a look");
    assert_eq!(requests::purge(&store, 4500, 100).await.expect("old rows go"), 4500);
    let purged = store.room().await.expect("a look");
    assert!(purged.used() < full.used() / 2 && purged.total >= full.used(), "{full:?} {purged:?}");
    store.give_back(64 << 10).await.expect("it goes back");
    let small = store.room().await.expect("a look");
    assert!(small.free <= 64 << 10 && small.total < full.total / 2, "{small:?}");
    assert_eq!(requests::count(&store).await.expect("a count"), 500);
    assert!(store.examine().await.expect("a look").faults.is_empty());
    requests::purge(&store, i64::MAX, 100).await.expect("all rows go");
    assert_eq!(requests::start_after_oldest(&store, 10).await.expect("no time"), None);
}
