use std::future;

use serde_json::json;
use testkit::{FakeUpstream, Reply, Script};

use super::*;

/// Keeps in memory what a store would.
#[derive(Default)]
struct Memory(Mutex<HashMap<(String, String), Tokens>>);

impl Keeper for Memory {
    fn recall<'a>(&'a self, account: &'a str, seed: &'a str) -> Pin<Box<dyn Future<Output = Option<Tokens>> + Send + 'a>> {
        Box::pin(future::ready(self.0.lock().unwrap().get(&(account.to_owned(), seed.to_owned())).cloned()))
    }

    fn keep<'a>(&'a self, account: &'a str, seed: &'a str, tokens: &'a Tokens) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        self.0.lock().unwrap().insert((account.to_owned(), seed.to_owned()), tokens.clone());
        Box::pin(future::ready(()))
    }
}

fn office(keeper: &Arc<Memory>) -> Office {
    Office { client: net::Client::new(net::Settings::default()), back: tokio::runtime::Handle::current(), keeper: keeper.clone() }
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

fn terms(server: &FakeUpstream, ends_in: i64) -> Terms {
    Terms {
        first: Tokens {
            access: Some("first".to_owned()),
            refresh: Some("refresh-1&=".to_owned()),
            ends_at: Some(now() + ends_in),
            serial: 0,
        },
        token_url: Some(format!("{}/token", server.url())),
        client_id: Some("client".to_owned()),
        client_secret: Some("secret".to_owned()),
    }
}

fn giving(access: &str, refresh: &str) -> Script {
    let mut answer = json!({"access_token": access, "expires_in": 3600, "token_type": "Bearer"});
    if !refresh.is_empty() {
        answer["refresh_token"] = refresh.into();
    }
    Script::default().on("/token", Reply::json(&answer))
}

fn grant(terms: Terms, keeper: &Arc<Memory>) -> Arc<Grant> {
    Arc::new(Grant::new("a", terms, office(keeper)))
}

fn sent(grant: &Grant) -> String {
    grant.bearer().map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn an_ended_token_is_renewed_once_for_all_who_wait() {
    let server = FakeUpstream::start(giving("second", "refresh-2"));
    let keeper = Arc::default();
    let grant = grant(terms(&server, -10), &keeper);
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            tokio::spawn({
                let grant = grant.clone();
                async move { grant.ready().await }
            })
        })
        .collect();
    for one in waiting {
        one.await.unwrap().unwrap();
    }
    assert_eq!(sent(&grant), "Bearer second");
    let [asked] = &server.requests()[..] else { panic!("{:?}", server.requests()) };
    let form = String::from_utf8_lossy(&asked.body).into_owned();
    assert_eq!(form, "grant_type=refresh_token&refresh_token=refresh-1%26%3D&client_id=client&client_secret=secret");
}

#[tokio::test]
async fn what_was_replaced_is_known_after_a_restart_and_to_other_routers() {
    let server = FakeUpstream::start(giving("second", "refresh-2"));
    let keeper = Arc::default();
    let (one, other) = (grant(terms(&server, -10), &keeper), grant(terms(&server, -10), &keeper));
    one.ready().await.unwrap();
    other.ready().await.unwrap();
    assert_eq!((sent(&other).as_str(), server.requests().len()), ("Bearer second", 1));
    // New words of the operator count more than what was kept.
    let mut changed = terms(&server, 3600);
    changed.first.refresh = Some("refresh-new".to_owned());
    let changed = grant(changed, &keeper);
    changed.ready().await.unwrap();
    assert_eq!(sent(&changed), "Bearer first");
    // A server that gives no new refresh token lets the old one stand.
    server.set_script(giving("third", ""));
    assert!(one.replaced(one.bearer().as_ref()).await);
    assert_eq!(one.held.load().tokens.refresh.as_deref(), Some("refresh-2"));
}

#[tokio::test]
async fn a_token_that_will_soon_end_is_renewed_while_it_is_used() {
    let server = FakeUpstream::start(giving("second", "refresh-2"));
    let grant = grant(terms(&server, 30), &Arc::default());
    grant.ready().await.unwrap();
    let patience = Instant::now() + Duration::from_secs(30);
    while sent(&grant) != "Bearer second" {
        assert!(Instant::now() < patience);
        grant.ready().await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn one_that_cannot_be_renewed_is_put_aside_with_the_reason() {
    let server =
        FakeUpstream::start(Script::default().on("/token", Reply::json(&json!({"error": "invalid_grant", "x": "refresh-1"})).status(400)));
    let ended = grant(terms(&server, -10), &Arc::default());
    for _ in 0..5 {
        let failure = ended.ready().await.unwrap_err();
        assert_eq!(failure.status(), 503);
        assert!(failure.message.contains("status 400 (invalid_grant)") && !failure.message.contains("refresh-1"), "{}", failure.message);
    }
    assert_eq!(server.requests().len(), 1, "it is not asked again and again");
    // One that is still good goes on being used.
    let soon = grant(terms(&server, 30), &Arc::default());
    soon.ready().await.unwrap();
    soon.ready().await.unwrap();
    // One that the account has refused does not, however long it says that it has.
    let refused = grant(terms(&server, 3600), &Arc::default());
    refused.ready().await.unwrap();
    assert!(!refused.replaced(refused.bearer().as_ref()).await);
    assert_eq!(refused.ready().await.unwrap_err().status(), 503);
    for (what, change) in [("no refresh token", true), ("no address", false)] {
        let mut terms = terms(&server, -10);
        if change {
            terms.first.refresh = None;
        } else {
            terms.token_url = None;
        }
        assert!(grant(terms, &Arc::default()).ready().await.unwrap_err().message.contains(what));
    }
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let server = FakeUpstream::start(giving("second", "refresh-2"));
    let grant = grant(terms(&server, 3600), &Arc::default());
    grant.ready().await.unwrap();
    let old = grant.bearer();
    assert!(grant.replaced(old.as_ref()).await && grant.replaced(old.as_ref()).await);
    assert_eq!((sent(&grant).as_str(), server.requests().len()), ("Bearer second", 1));
}

#[test]
fn the_end_of_a_token_stands_in_it() {
    let token = |claims: Value| format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let held = |access: String| Held::new(Tokens { access: Some(access), ..Tokens::default() }, true);
    assert_eq!(held(token(json!({"exp": 1700}))).left(UNIX_EPOCH + Duration::from_secs(1000)), Duration::from_secs(700));
    assert_eq!(held("opaque".to_owned()).left(UNIX_EPOCH), Duration::MAX);
    assert_eq!(held("bad\n".to_owned()).left(UNIX_EPOCH), Duration::ZERO);
}

#[test]
fn an_answer_without_a_token_is_none() {
    let answer = |status: u16, body: &'static str| Response::builder().status(status).body(Bytes::from_static(body.as_bytes())).unwrap();
    for (status, body) in [(200, "{}"), (200, "<html>"), (200, r#"{"access_token":""}"#), (200, "{\"access_token\":\"a\\nb\"}"), (500, "x")]
    {
        assert!(token_answer(&answer(status, body), UNIX_EPOCH).is_err(), "{body}");
    }
    let given = token_answer(&answer(200, r#"{"access_token":"t","expires_in":60}"#), UNIX_EPOCH).ok().unwrap();
    assert_eq!((given.access.as_deref(), given.ends_at), (Some("t"), Some(60)));
}
