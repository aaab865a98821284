//! People who log in at an identity provider, a small one of the test's own.

use jiff::Timestamp;
use serde_json::{Value, json};
use testkit::{FakeUpstream, Reply, Script};

use crate::{
    client::Answer,
    identity::Signer,
    router::{MASTER, Router, Setup},
};

const LOGIN: &str = "/api/auth/oidc/login";
const DESCRIPTION: &str = "/.well-known/openid-configuration";

/// A provider that answers a code with this token, and the router that knows it.
struct House {
    provider: FakeUpstream,
    signer: Signer,
    router: Router,
}

impl House {
    fn new(more: Value) -> Self {
        let (provider, signer) = (FakeUpstream::start(Script::default()), Signer::elliptic("one"));
        let mut oidc = json!({"issuer": provider.url(), "client_id": "router", "client_secret": "s3cret", "name": "Our house", "admins": ["operators"]});
        oidc.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        let router = Setup::new().set("auth", json!({"oidc": oidc})).start();
        let house = Self { provider, signer, router };
        house.says("none", json!({}));
        house
    }

    /// Of the person who comes next.
    fn says(&self, nonce: &str, more: Value) {
        let url = self.provider.url();
        let mut claims = json!({"iss": url, "aud": "router", "nonce": nonce, "sub": "person-1", "preferred_username": "ann", "groups": []});
        claims.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        let at = |path: &str| format!("{url}{path}");
        let described =
            json!({"issuer": url, "authorization_endpoint": at("/authorize"), "token_endpoint": at("/token"), "jwks_uri": at("/keys")});
        let script =
            Script::default().on(DESCRIPTION, Reply::json(&described)).on("/keys", Reply::json(&json!({"keys": [self.signer.listed]})));
        self.provider.set_script(script.on("/token", Reply::json(&json!({"id_token": self.signer.token(claims)}))));
    }

    /// Where the browser is sent, and the cookie that it gets.
    async fn begun(&self) -> (String, String) {
        let answer = self.router.get(LOGIN).nobody().send().await;
        assert_eq!(answer.status, 303, "{}", answer.text());
        let cookie = answer.header("set-cookie");
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && cookie.contains("Path=/api/auth/oidc"), "{cookie}");
        (answer.header("location").to_owned(), cookie.split(';').next().unwrap().to_owned())
    }

    async fn back(&self, query: &str, cookie: &str) -> Answer {
        self.router.get(&format!("/api/auth/oidc/callback?{query}")).nobody().header("cookie", cookie).send().await
    }

    /// The whole way of a person of whom the provider says this.
    async fn whole(&self, claims: Value) -> Answer {
        let (to, cookie) = self.begun().await;
        self.says(part(&to, "nonce"), claims);
        self.back(&format!("code=c1&state={}", part(&to, "state")), &cookie).await
    }

    /// The user whose session an answer has opened.
    async fn me(&self, answer: &Answer) -> Value {
        let cookies = answer.headers.get_all("set-cookie").iter().filter_map(|cookie| cookie.to_str().ok()?.split(';').next());
        let cookies = cookies.filter(|cookie| !cookie.ends_with('=')).collect::<Vec<_>>().join("; ");
        self.router.get("/api/auth/me").nobody().header("cookie", &cookies).send().await.json()
    }
}

fn part<'a>(address: &'a str, name: &str) -> &'a str {
    address.split(['?', '&']).find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).unwrap()
}

#[tokio::test]
async fn whom_the_provider_vouches_for_has_a_session_with_the_role_of_now() {
    let house = House::new(json!({"viewers": ["bob@example.com"]}));
    assert_eq!(house.router.get("/").nobody().send().await.json()["authentication"]["oidc"], "Our house", "the log-in shows a button");
    let (to, cookie) = house.begun().await;
    assert!(to.starts_with(&format!("{}/authorize?", house.provider.url())), "{to}");
    assert_eq!((part(&to, "response_type"), part(&to, "client_id"), part(&to, "code_challenge_method")), ("code", "router", "S256"));
    assert_eq!(part(&to, "scope"), "openid%20profile%20email");
    house.says(part(&to, "nonce"), json!({"groups": ["operators"]}));
    let query = format!("code=c1&state={}", part(&to, "state"));
    let answer = house.back(&query, &cookie).await;
    assert_eq!((answer.status, answer.header("location")), (303, "/dashboard"), "{}", answer.text());
    let me = house.me(&answer).await;
    assert_eq!((&me["username"], &me["role"]), (&json!("ann"), &json!("admin")));

    let asked = house.provider.requests().into_iter().find(|asked| asked.path() == "/token").unwrap();
    let body = String::from_utf8(asked.body.to_vec()).unwrap();
    assert_eq!((part(&format!("?{body}"), "code"), part(&format!("?{body}"), "grant_type")), ("c1", "authorization%5Fcode"));
    assert_eq!(part(&format!("?{body}"), "redirect_uri"), part(&to, "redirect_uri"), "as it was said before");
    assert!(part(&format!("?{body}"), "code_verifier").len() >= 43 && !body.contains("s3cret"));
    assert!(
        asked.headers.iter().any(|(name, value)| name == "authorization" && value == "Basic cm91dGVyOnMzY3JldA=="),
        "{:?}",
        asked.headers
    );

    let renamed = house.whole(json!({"preferred_username": "anna", "email": "bob@example.com", "email_verified": true})).await;
    let again = house.me(&renamed).await;
    assert_eq!((&again["user_id"], &again["role"]), (&me["user_id"], &json!("viewer")), "the same person, no more an administrator");
    let users = house.router.get("/api/users").key(MASTER).send().await.json();
    assert_eq!(users["users"].as_array().unwrap().iter().filter(|user| user["username"] == "ann").count(), 1, "{users}");
    let audit = house.router.get("/api/audit?action=auth.login").key(MASTER).send().await.json();
    assert!(audit["rows"].as_array().unwrap().iter().any(|row| row["actor"] == "ann" && row["outcome"] == "success"), "{audit}");
    let guess = json!({"username": "ann", "password": ""});
    assert_eq!(house.router.post("/api/auth/login", &guess).nobody().send().await.status, 401, "no password is theirs");
}

#[tokio::test]
async fn nobody_else_gets_in() {
    let house = House::new(json!({}));
    let operator = json!({"groups": ["operators"]});
    for (what, claims, status) in [
        ("another log-in", json!({"groups": ["operators"], "nonce": "x"}), 401),
        ("meant for somebody else", json!({"groups": ["operators"], "aud": "other"}), 401),
        ("meant for somebody else", json!({"groups": ["operators"], "aud": ["router", "other"], "azp": "other"}), 401),
        ("another issuer", json!({"groups": ["operators"], "iss": "https://evil.test"}), 401),
        ("expired", json!({"groups": ["operators"], "exp": Timestamp::now().as_second() - 600}), 401),
        ("no subject", json!({"groups": ["operators"], "sub": null}), 401),
        ("no place", json!({}), 403),
        ("no place", json!({"email": "operators", "email_verified": false}), 403),
        ("another user", json!({"groups": ["operators"], "preferred_username": "admin"}), 409),
    ] {
        let answer = house.whole(claims).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        assert!(answer.text().contains(what) && !answer.header("content-security-policy").is_empty(), "{what}: {}", answer.text());
        assert!(answer.headers.get_all("set-cookie").iter().all(|cookie| cookie.to_str().unwrap().starts_with("oidc=;")), "{what}");
    }
    let (to, cookie) = house.begun().await;
    house.says(part(&to, "nonce"), operator);
    let good = format!("code=c1&state={}", part(&to, "state"));
    for (query, cookie) in [
        ("code=c1&state=x".to_owned(), cookie.as_str()),
        ("code=c1".to_owned(), cookie.as_str()),
        (good.clone(), "a=b"),
        (good.clone(), "oidc=ey.ey.x"),
        (format!("{good}&iss=https%3A%2F%2Fevil.test"), cookie.as_str()),
        (good.replace("code=c1", "error=access_denied"), cookie.as_str()),
    ] {
        assert_eq!(house.back(&query, cookie).await.status, 403, "{query} {cookie}");
    }
    assert_eq!(house.back(&good, &cookie).await.status, 303, "and the right one does");
}

#[tokio::test]
async fn a_provider_that_is_away_or_none_is_said_so() {
    let router = Setup::new().start();
    assert_eq!(router.get(LOGIN).nobody().send().await.status, 404);
    assert_eq!(router.get("/").nobody().send().await.json()["authentication"]["oidc"], Value::Null);
    let provider = FakeUpstream::start(Script::default().on(
        DESCRIPTION,
        Reply::json(&json!({"issuer": "https://evil.test", "authorization_endpoint": "/", "token_endpoint": "/", "jwks_uri": "/"})),
    ));
    let oidc = json!({"issuer": provider.url(), "client_id": "router", "viewers": ["*"]});
    let router = Setup::new().set("auth", json!({"oidc": oidc})).start();
    assert_eq!(router.get(LOGIN).nobody().send().await.status, 502, "it says that it is another");
}
