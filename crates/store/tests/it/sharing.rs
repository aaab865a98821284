use std::time::Duration;

use store::{Store, keys, meta, nodes, requests};
use tokio::time::timeout;

use crate::{fresh, key};

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn own_writes_of_the_control_plane_are_announced_at_once() {
    let (_home, store) = fresh().await;
    let mut changes = store.changes();
    keys::insert(&store, &key(1)).await.expect("a write");
    assert!(changes.has_changed().expect("the store lives"));
    changes.mark_unchanged();
    keys::delete(&store, "key_of_nobody").await.expect("nothing to delete");
    assert!(!changes.has_changed().expect("the store lives"), "nothing changed");
}

#[tokio::test]
async fn another_opener_of_the_file_is_noticed() {
    let (home, store) = fresh().await;
    let mut changes = store.changes();
    let other = Store::open("", home.path()).await.expect("the same file");
    for n in 0..3 {
        meta::set(&other, "n", &n.to_string()).await.expect("a write");
        timeout(PATIENCE, changes.changed()).await.expect("noticed").expect("the store lives");
        assert_eq!(meta::get(&store, "n").await.expect("a read"), Some(n.to_string()), "the reader sees what was announced");
    }
}

#[tokio::test]
async fn whoever_asks_learns_at_once_of_anothers_write() {
    let (home, store) = fresh().await;
    let changes = store.changes();
    let other = Store::open("", home.path()).await.expect("the same file");
    store.look().await.expect("a look");
    for n in 0..50 {
        let before = *changes.borrow();
        meta::set(&other, "n", &n.to_string()).await.expect("a write");
        store.look().await.expect("a look");
        assert_eq!(*changes.borrow(), before + 1, "told once");
    }
}

#[tokio::test]
async fn own_request_rows_and_times_of_use_are_no_change() {
    let (home, store) = fresh().await;
    keys::insert(&store, &key(1)).await.expect("a write");
    let mut changes = store.changes();
    changes.mark_unchanged();
    requests::insert(&store, &vec![requests::Row::default(); 100]).await.expect("rows");
    keys::touch(&store, &[("key_1".to_owned(), 5)]).await.expect("a time");
    nodes::save_seen(&store, &[nodes::Seen::default()]).await.expect("no such node");
    requests::purge(&store, i64::MAX, 10).await.expect("a purge");
    // Another opener's write makes the watcher look: it tells of that one and of nothing before.
    let other = Store::open("", home.path()).await.expect("the same file");
    meta::set(&other, "n", "1").await.expect("a write");
    let before = *changes.borrow();
    timeout(PATIENCE, changes.changed()).await.expect("noticed").expect("the store lives");
    assert_eq!(*changes.borrow_and_update(), before + 1);
}

#[tokio::test]
async fn many_writers_and_readers_all_get_through() {
    let (home, store) = fresh().await;
    let other = Store::open("", home.path()).await.expect("the same file");
    let tasks: Vec<_> = (0..20)
        .map(|n| {
            let store = if n % 2 == 0 { store.clone() } else { other.clone() };
            tokio::spawn(async move {
                for m in 0..10 {
                    keys::insert(&store, &key(n * 10 + m)).await.expect("a write among many");
                    requests::insert(&store, &[requests::Row::default()]).await.expect("a row among many");
                    assert!(
                        keys::get(&store, &format!("key_{}", n * 10 + m)).await.expect("a read").is_some(),
                        "what was acknowledged can be read"
                    );
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    assert_eq!((keys::list(&store).await.expect("keys").len(), requests::count(&store).await.expect("a count")), (200, 200));
}

#[tokio::test]
async fn a_write_that_is_dropped_half_way_leaves_the_store_usable() {
    let (_home, store) = fresh().await;
    let rows = vec![requests::Row::default(); 500];
    for polls in 1..40_u32 {
        let mut write = Box::pin(requests::insert(&store, &rows));
        for _ in 0..polls {
            if futures_poll(write.as_mut()).await {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(requests::count(&store).await.expect("a count") % 500, 0, "all or none of each batch");
    keys::insert(&store, &key(1)).await.expect("the store still writes");
    requests::insert(&store, &rows).await.expect("and begins transactions");
}

/// Polls once; true when the future is done.
async fn futures_poll<F: Future + Unpin>(mut future: F) -> bool {
    std::future::poll_fn(|cx| std::task::Poll::Ready(std::pin::Pin::new(&mut future).poll(cx).is_ready())).await
}
