use serde_json::json;
use store::{
    StoreError, Text,
    join_tokens::{self, JoinToken},
    keys::{self, Key},
    meta, models, nodes, requests, sessions, users,
};

use crate::{fresh, key};

#[tokio::test]
async fn keys_live_and_die() {
    let (_home, store) = fresh().await;
    let full = Key {
        owner: Some("ann".to_owned()),
        allowed_models: vec!["gpt-*".to_owned()],
        tags: vec!["a".to_owned(), "ü".to_owned()],
        limits: keys::Limits { rpm: Some(60), tpm: Some(1 << 40), concurrency: None },
        budget: Some(json!({"amount": 5, "currency": "USD"})),
        metadata: json!({"team": "x"}).as_object().cloned().expect("an object"),
        created_by: Some("admin".to_owned()),
        expires_at_ms: Some(99),
        ..key(1)
    };
    keys::insert(&store, &full).await.expect("a new key");
    assert_eq!(keys::get(&store, "key_1").await.expect("a read"), Some(full.clone()));
    assert_eq!(keys::get(&store, "key_2").await.expect("a read"), None);
    let same_secret = Key { id: "key_3".to_owned(), ..full.clone() };
    assert!(matches!(keys::insert(&store, &same_secret).await, Err(StoreError::Exists(_))));

    let changed = Key { name: "new".to_owned(), budget: None, scopes: vec![], ..full.clone() };
    assert!(keys::update(&store, &changed).await.expect("an update"));
    assert!(keys::rotate(&store, "key_1", "other-hash", "sk_wxyz").await.expect("a rotation"));
    keys::touch(&store, &[("key_1".to_owned(), 7), ("key_1".to_owned(), 3), ("nobody".to_owned(), 1)]).await.expect("times");
    let now = keys::get(&store, "key_1").await.expect("a read").expect("it is there");
    assert_eq!(now, Key { hash: "other-hash".to_owned(), prefix: "sk_wxyz".to_owned(), last_used_at_ms: Some(7), ..changed });

    assert!(keys::revoke(&store, "key_1", 11).await.expect("a revocation"));
    assert!(!keys::revoke(&store, "key_1", 12).await.expect("again"));
    assert_eq!(keys::get(&store, "key_1").await.expect("a read").expect("it is there").revoked_at_ms, Some(11), "the first time stays");
    assert!(!keys::rotate(&store, "key_1", "h", "p").await.expect("a try"), "the dead do not rotate");

    keys::insert(&store, &key(5)).await.expect("a new key");
    assert_eq!(keys::list(&store).await.expect("a list").iter().map(|k| &*k.id).collect::<Vec<_>>(), ["key_5", "key_1"]);
    assert!(keys::delete(&store, "key_1").await.expect("a deletion"));
    assert!(!keys::delete(&store, "key_1").await.expect("a second one"));
    assert!(!keys::revoke(&store, "key_1", 1).await.expect("a try") && !keys::update(&store, &full).await.expect("a try"));
}

#[tokio::test]
async fn users_and_the_last_administrator() {
    let (_home, store) = fresh().await;
    let user = |name: &str, role: &str| users::User {
        id: format!("user_{name}"),
        username: name.to_owned(),
        role: role.to_owned(),
        password_hash: "h".to_owned(),
        ..Default::default()
    };
    users::insert(&store, &user("root", "admin")).await.expect("a user");
    users::insert(&store, &users::User { must_change_password: true, ..user("eve", "viewer") }).await.expect("a user");
    assert!(matches!(
        users::insert(&store, &users::User { id: "user_2".to_owned(), ..user("eve", "admin") }).await,
        Err(StoreError::Exists(_))
    ));
    assert_eq!(users::count_admins(&store).await.expect("a count"), 1);
    assert!(users::set_password(&store, "user_eve", "h2", false).await.expect("a password"));
    assert!(users::logged_in(&store, "user_eve", 77).await.expect("a login"));
    let eve = users::get(&store, "eve").await.expect("a read").expect("there she is");
    assert_eq!((eve.password_hash.as_str(), eve.must_change_password, eve.last_login_at_ms), ("h2", false, Some(77)));
    assert!(!users::delete(&store, "user_root").await.expect("a try"), "the last administrator stays");
    users::insert(&store, &user("admin2", "admin")).await.expect("a user");
    assert!(users::delete(&store, "user_root").await.expect("a deletion"));
    assert!(users::delete(&store, "user_eve").await.expect("a deletion"));
    assert_eq!(users::list(&store).await.expect("a list").len(), 1);
    assert_eq!(users::get(&store, "root").await.expect("a read"), None);
    assert!(!users::set_password(&store, "user_root", "h", true).await.expect("a try"));
}

#[tokio::test]
async fn nodes_come_back_as_they_were() {
    let (_home, store) = fresh().await;
    let node = nodes::Node {
        id: "n1".to_owned(),
        kind: "node".to_owned(),
        machine_name: "box".to_owned(),
        ip_address: "127.0.0.1".to_owned(),
        runtime_port: 65_534,
        endpoint: None,
        runtime_version: "1".to_owned(),
        registration: json!({"gpu_available": true, "x": [1]}),
        token_hash: "h".to_owned(),
        router_secret: "s".to_owned(),
        status: "registering".to_owned(),
        draining: true,
        pending: true,
        join_token_id: Some("join_1".to_owned()),
        models: json!({"loaded": ["m"]}),
        custom_name: Some("c".to_owned()),
        tags: vec!["t".to_owned()],
        notes: None,
        registered_at_ms: 2,
        last_seen_ms: 3,
        online_since_ms: None,
    };
    nodes::upsert(&store, &node).await.expect("a node");
    assert_eq!(nodes::list(&store).await.expect("a list"), std::slice::from_ref(&node));
    let twin = nodes::Node { id: "n2".to_owned(), ..node.clone() };
    assert!(nodes::upsert(&store, &twin).await.is_err(), "one row per machine and port");
    let earlier = nodes::Node { id: "n0".to_owned(), runtime_port: 1, registered_at_ms: 1, ..node.clone() };
    nodes::upsert(&store, &earlier).await.expect("another port");
    let renamed = nodes::Node { custom_name: None, token_hash: "h2".to_owned(), draining: false, ..node.clone() };
    nodes::upsert(&store, &renamed).await.expect("the same id");
    let seen = nodes::Seen {
        id: "n1".to_owned(),
        status: "online".to_owned(),
        models: json!({"loaded": []}),
        last_seen_ms: 9,
        online_since_ms: Some(8),
    };
    nodes::save_seen(&store, &[seen, nodes::Seen { id: "nobody".to_owned(), ..Default::default() }]).await.expect("heartbeats");
    let wanted =
        nodes::Node { status: "online".to_owned(), models: json!({"loaded": []}), last_seen_ms: 9, online_since_ms: Some(8), ..renamed };
    assert_eq!(nodes::list(&store).await.expect("a list"), [earlier, wanted]);
    assert!(nodes::delete(&store, "n1").await.expect("a deletion"));
    assert!(!nodes::delete(&store, "n1").await.expect("a second one"));
}

#[tokio::test]
async fn join_tokens_are_used_up_revoked_and_over() {
    let (_home, store) = fresh().await;
    let token = |n: u32| JoinToken {
        id: format!("join_{n}"),
        name: "t".to_owned(),
        hash: format!("h{n}"),
        created_at_ms: n.into(),
        ..JoinToken::default()
    };
    let twice = JoinToken { uses_max: Some(2), approval: true, created_by: Some("ann".to_owned()), ..token(1) };
    let brief = JoinToken { expires_at_ms: Some(100), ..token(2) };
    for made in [&twice, &brief] {
        join_tokens::insert(&store, made).await.expect("a new token");
    }
    assert!(matches!(
        join_tokens::insert(&store, &JoinToken { id: "join_9".to_owned(), ..brief.clone() }).await,
        Err(StoreError::Exists(_))
    ));
    assert_eq!(join_tokens::list(&store).await.expect("a list"), [brief.clone(), twice.clone()]);
    let mut taken = Vec::new();
    for (id, at) in [("join_1", 5), ("join_1", 5), ("join_1", 5), ("join_2", 99), ("join_2", 100), ("nobody", 5)] {
        taken.push(join_tokens::take(&store, id, at).await.expect("a try"));
    }
    assert_eq!(taken, [true, true, false, true, false, false]);
    join_tokens::give_back(&store, "join_1").await.expect("one given back");
    assert_eq!(join_tokens::find(&store, "h1").await.expect("a read").map(|t| t.uses), Some(1));
    assert!(join_tokens::revoke(&store, "join_1", 50).await.expect("a revocation"));
    assert!(
        !join_tokens::take(&store, "join_1", 5).await.expect("a try") && !join_tokens::revoke(&store, "nobody", 1).await.expect("a try")
    );
    join_tokens::prune(&store, 51).await.expect("old ones forgotten");
    assert_eq!(join_tokens::list(&store).await.expect("a list").into_iter().map(|t| t.id).collect::<Vec<_>>(), ["join_2"]);
}

#[tokio::test]
async fn model_names_are_replaced_by_type() {
    let (_home, store) = fresh().await;
    let model = |name: &str, r#type: &str, at| models::Model {
        name: name.to_owned(),
        r#type: r#type.to_owned(),
        endpoint: "http://x".to_owned(),
        kind: "api".to_owned(),
        created_at_ms: at,
    };
    models::upsert(&store, &[model("a", "openai", 1), model("b", "anthropic", 1), model("c", "openai", 1)]).await.expect("names");
    models::upsert(&store, &[model("c", "local", 2)]).await.expect("a change");
    models::replace_type(&store, "openai", &[model("d", "openai", 3), model("b", "openai", 3)]).await.expect("a refresh");
    let listed: Vec<_> = models::list(&store).await.expect("a list").into_iter().map(|m| (m.name, m.r#type, m.created_at_ms)).collect();
    let wanted = [("b", "anthropic", 1), ("c", "local", 1), ("d", "openai", 3)].map(|(n, t, at)| (n.to_owned(), t.to_owned(), at));
    assert_eq!(listed, wanted, "another type's name is left alone, the time of the first registration stays");
    assert!(models::delete(&store, "b").await.expect("a deletion"));
    assert!(!models::delete(&store, "b").await.expect("a second one"));
}

#[tokio::test]
async fn single_values() {
    let (_home, store) = fresh().await;
    assert_eq!(meta::get(&store, "secret").await.expect("a read"), None);
    assert_eq!(meta::get_or_set(&store, "secret", "one").await.expect("a proposal"), "one");
    assert_eq!(meta::get_or_set(&store, "secret", "two").await.expect("a proposal"), "one");
    meta::set(&store, "secret", "three").await.expect("a write");
    assert_eq!(meta::get(&store, "secret").await.expect("a read").as_deref(), Some("three"));
    assert!(meta::delete(&store, "secret").await.expect("a deletion"));
    assert!(!meta::delete(&store, "secret").await.expect("a second one"));
}

fn full_row(n: i64) -> requests::Row {
    let text = |s: &str| Some(Text::Owned(format!("{s}-{n}")));
    requests::Row {
        id: Text::Owned(format!("r{n}")),
        started_at_ms: n,
        duration_ms: 1,
        first_byte_ms: Some(2),
        key_id: text("key"),
        key_name: text("name"),
        client_ip: text("ip"),
        dialect: Text::Static("openai-chat"),
        path: Text::Static("/v1/chat/completions"),
        model_requested: text("asked"),
        model_served: text("served"),
        target: Some(Text::Shared("box".into())),
        provider: text("provider"),
        node_id: text("node"),
        attempts: 3,
        status: 200,
        outcome: Text::Static(if n % 2 == 0 { "success" } else { "error" }),
        error_code: text("code"),
        stream: true,
        prompt_tokens: Some(4),
        completion_tokens: Some(5),
        cached_tokens: Some(6),
        reasoning_tokens: Some(7),
        usage_raw: text("{}"),
        cost_nano: Some(7),
        price_version: None,
        overhead_us: Some(8),
        bytes_in: 9,
        bytes_out: 10,
        decision: text("[]"),
        metadata: text("{}"),
        cache: text("hit"),
        bodies: None,
    }
}

#[tokio::test]
async fn request_rows_keep_every_field() {
    let (_home, store) = fresh().await;
    let rows: Vec<_> = (0..75).map(full_row).collect();
    requests::insert(&store, &rows).await.expect("rows, more than one statement's");
    requests::insert(&store, &[requests::Row::default()]).await.expect("an empty row");
    assert_eq!(requests::count(&store).await.expect("a count"), 76);
    let back = requests::get(&store, "r42").await.expect("a read").expect("it is there");
    assert_eq!(serde_json::to_value(&back.row).expect("json"), serde_json::to_value(full_row(42)).expect("json"));
    assert!(requests::get(&store, "r99").await.expect("a read").is_none());
    let of_key = async |id: &str, key: &str| requests::get_of_key(&store, id, key).await.expect("a read").map(|stored| stored.seq);
    let own = full_row(42).key_id.expect("a key");
    assert_eq!((of_key("r42", &own).await, of_key("r42", "another").await, of_key("r99", &own).await), (Some(back.seq), None, None));
    let later = requests::Row { key_id: Some(Text::Static("another")), ..full_row(42) };
    requests::insert(&store, &[later]).await.expect("another key's request of the same id");
    assert_eq!(of_key("r42", &own).await, Some(back.seq));
}

#[tokio::test]
async fn request_rows_are_found_and_purged() {
    let (_home, store) = fresh().await;
    requests::insert(&store, &(0..50).map(full_row).collect::<Vec<_>>()).await.expect("rows");
    let ids = |found: Vec<requests::Stored>| found.into_iter().map(|s| s.row.id.to_string()).collect::<Vec<_>>();
    let filter = requests::Filter { limit: 2, ..Default::default() };
    let newest = requests::recent(&store, &filter).await.expect("rows");
    let next = requests::Filter { before_seq: newest.last().map(|s| s.seq), ..filter.clone() };
    assert_eq!(ids(newest), ["r49", "r48"]);
    assert_eq!(ids(requests::recent(&store, &next).await.expect("rows")), ["r47", "r46"]);
    let errors = requests::Filter { outcome: Some("error".to_owned()), since_ms: Some(46), ..Default::default() };
    assert_eq!(ids(requests::recent(&store, &errors).await.expect("rows")), ["r49", "r47"]);
    for by in [
        requests::Filter { model: Some("asked-7".to_owned()), ..Default::default() },
        requests::Filter { model: Some("served-7".to_owned()), ..Default::default() },
        requests::Filter { node_id: Some("node-7".to_owned()), ..Default::default() },
    ] {
        assert_eq!(ids(requests::recent(&store, &by).await.expect("rows")), ["r7"]);
    }
    assert_eq!(requests::purge(&store, 30, 7).await.expect("a purge"), 30);
    assert_eq!(requests::count(&store).await.expect("a count"), 20);
    assert_eq!(requests::purge(&store, 30, 7).await.expect("a second one"), 0);
}

#[tokio::test]
async fn sessions_end_one_by_one_and_too_many_of_them_together() {
    let (_home, store) = fresh().await;
    let user = users::User { id: "u".to_owned(), username: "ann".to_owned(), role: "viewer".to_owned(), ..users::User::default() };
    users::insert(&store, &user).await.expect("a user");
    sessions::end(&store, "nobody", "s", 100, 1).await.expect("nothing to end");
    sessions::end(&store, "u", "s-1", 100, 1).await.expect("an end");
    sessions::end(&store, "u", "s-1", 100, 2).await.expect("the same again");
    let ended = sessions::ended(&store).await.expect("a read");
    assert_eq!(ended.len(), 1);
    assert!(ended["u"].has("s-1", 0) && !ended["u"].has("s-2", 0));

    sessions::end(&store, "u", "s-2", 300, 100).await.expect("an end");
    let ended = sessions::ended(&store).await.expect("a read");
    assert!(ended["u"].has("s-2", 0) && !ended["u"].has("s-1", 0), "what ran out by itself is forgotten");

    for n in 0..=sessions::ENDED_PER_USER_MAX {
        sessions::end(&store, "u", &format!("many-{n}"), 1000, 150 + n).await.expect("an end");
    }
    let ended = sessions::ended(&store).await.expect("a read");
    assert!(ended["u"].has("s-2", 0) && ended["u"].has("many-0", 150) && ended["u"].has("never seen", 150));
    assert!(!ended["u"].has("later", 10_000), "sessions that were opened after that live");
    assert!(users::insert(&store, &users::User { id: "a".into(), username: "root".into(), role: "admin".into(), ..user }).await.is_ok());
    assert!(users::delete(&store, "u").await.expect("a deletion"));
    assert!(sessions::ended(&store).await.expect("a read").is_empty());
}
