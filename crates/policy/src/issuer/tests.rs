use jsonwebtoken::{EncodingKey, Header, jwk::Jwk};
use serde_json::{Value, json};
use testkit::{FakeUpstream, Reply, Script};

use super::*;

const SECRET: &[u8] = b"a-shared-secret-of-at-least-32-bytes!";

/// A key of a provider: what signs, and what is listed of it.
struct Made {
    kid: &'static str,
    algorithm: Algorithm,
    signs: EncodingKey,
    listed: Value,
}

impl Made {
    fn elliptic(kid: &'static str) -> Self {
        let der = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap().serialize_der();
        Self::new(kid, Algorithm::ES256, EncodingKey::from_ec_der(&der))
    }

    fn new(kid: &'static str, algorithm: Algorithm, signs: EncodingKey) -> Self {
        let mut listed = serde_json::to_value(Jwk::from_encoding_key(&signs, algorithm).unwrap()).unwrap();
        listed["kid"] = kid.into();
        Self { kid, algorithm, signs, listed }
    }

    fn signed(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.kid.to_owned()), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, claims, &self.signs).unwrap()
    }
}

fn now() -> i64 {
    Timestamp::now().as_second()
}

fn claims(more: Value) -> Value {
    let mut all =
        json!({"iss": "https://issuer.test", "aud": "llm-router", "sub": "user-1", "exp": now() + 600, "scope": "llm.read llm.use"});
    for (name, value) in more.as_object().unwrap() {
        all[name] = value.clone();
    }
    all
}

fn terms(more: impl FnOnce(&mut Terms)) -> Terms {
    let mut terms = Terms {
        issuer: Some("https://issuer.test".to_owned()),
        audience: Some("llm-router".to_owned()),
        list_url: None,
        secret: None,
        algorithms: vec!["RS256".to_owned(), "ES256".to_owned()],
        required_scopes: Vec::new(),
        clock_skew: Duration::from_secs(30),
        scopes: [journey::Scope::Inference].into_iter().collect(),
        grants: None,
    };
    more(&mut terms);
    terms
}

fn issuer(terms: Terms) -> Arc<Issuer> {
    Arc::new(Issuer::new(terms, net::Client::new(net::Settings::default()), tokio::runtime::Handle::current()))
}

fn listing(keys: &[&Made]) -> Script {
    let keys: Vec<&Value> = keys.iter().map(|key| &key.listed).collect();
    Script::default().on("/jwks", Reply::json(&json!({"keys": keys})))
}

fn at(provider: &FakeUpstream) -> Arc<Issuer> {
    issuer(terms(|t| t.list_url = Some(format!("{}/jwks", provider.url()))))
}

async fn ask(issuer: &Arc<Issuer>, token: &str) -> Result<Caller, Failure> {
    issuer.identify(token, Timestamp::now()).await
}

#[tokio::test]
async fn claims_are_judged() {
    let by_secret = issuer(terms(|t| {
        t.secret = Some(SECRET.to_vec());
        t.algorithms = vec!["HS256".to_owned()];
        t.required_scopes = vec!["llm.use".to_owned()];
    }));
    let signed = |claims: Value| jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET)).unwrap();
    let caller = ask(&by_secret, &signed(claims(json!({})))).await.unwrap();
    assert_eq!(caller.key.unwrap().id.as_ref(), "oauth:user-1");
    assert!(caller.scopes.has(journey::Scope::Inference) && !caller.scopes.has(journey::Scope::Admin));
    for (what, change, status) in [
        ("another audience", json!({"aud": "somebody-else"}), 401),
        ("no audience", json!({"aud": null}), 401),
        ("another issuer", json!({"iss": "https://other.test"}), 401),
        ("long expired", json!({"exp": now() - 60}), 401),
        ("just expired", json!({"exp": now() - 10}), 200),
        ("without an end", json!({"exp": null}), 401),
        ("not yet valid", json!({"nbf": now() + 120}), 401),
        ("almost valid", json!({"nbf": now() + 10}), 200),
        ("one of several audiences", json!({"aud": ["x", "llm-router"]}), 200),
        ("without the scope", json!({"scope": "llm.read"}), 403),
        ("scopes in a list", json!({"scope": null, "scp": ["llm.use"]}), 200),
        ("nobody", json!({"sub": null}), 401),
    ] {
        let status_of = ask(&by_secret, &signed(claims(change))).await.map_or_else(|failure| failure.status(), |_| 200);
        assert_eq!(status_of, status, "{what}");
    }
}

#[tokio::test]
async fn a_key_is_never_taken_for_another_kind() {
    let made = Made::elliptic("one");
    let provider = FakeUpstream::start(listing(&[&made]));
    let issuer = at(&provider);
    assert!(ask(&issuer, &made.signed(&claims(json!({})))).await.is_ok());
    // Signed with what everybody can read, as if that were a shared secret.
    let public = made.listed["x"].as_str().unwrap();
    for text in [public.as_bytes(), made.listed.to_string().as_bytes()] {
        let header = Header { kid: Some("one".to_owned()), ..Header::new(Algorithm::HS256) };
        let forged = jsonwebtoken::encode(&header, &claims(json!({})), &EncodingKey::from_secret(text)).unwrap();
        assert_eq!(ask(&issuer, &forged).await.unwrap_err().status(), 401);
    }
    // {"alg":"none"}, with the claims of a good token.
    let good = made.signed(&claims(json!({})));
    let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", good.split('.').nth(1).unwrap());
    assert_eq!(ask(&issuer, &unsigned).await.unwrap_err().status(), 401);
    let foreign = Made::elliptic("one");
    assert_eq!(ask(&issuer, &foreign.signed(&claims(json!({})))).await.unwrap_err().status(), 401);
}

#[tokio::test]
async fn keys_of_other_kinds_and_uses_are_left_out() {
    let mut made = Made::elliptic("one");
    made.listed["use"] = "enc".into();
    let secret = json!({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256", "kid": "two"});
    let list = |keys: Vec<&Value>| Ring::read(json!({"keys": keys}).to_string().as_bytes()).is_some();
    assert!(!list(vec![&made.listed, &secret, &json!({"kty": "new", "kid": "three"})]));
    made.listed["use"] = "sig".into();
    assert!(list(vec![&secret, &made.listed]));
    made.listed["alg"] = "ES384".into();
    assert!(!list(vec![&made.listed]));
    assert!(Ring::read(b"<html>").is_none());
}

#[tokio::test]
async fn a_changed_key_is_fetched_once_and_old_ones_stay_while_the_provider_is_down() {
    let (first, second) = (Made::elliptic("first"), Made::elliptic("second"));
    let provider = FakeUpstream::start(listing(&[&first]));
    let issuer = at(&provider);
    let tokens: Vec<String> = (0..10).map(|i| first.signed(&claims(json!({"jti": i})))).collect();
    let all = futures_util::future::join_all(tokens.iter().map(|token| ask(&issuer, token))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(provider.requests().len(), 1, "all wait for one fetch");
    provider.set_script(listing(&[&first, &second]));
    assert!(ask(&issuer, &second.signed(&claims(json!({})))).await.is_ok());
    assert_eq!(provider.requests().len(), 2);
    provider.set_script(Script::default().on("/jwks", Reply::error(500)));
    let unknown = Made::elliptic("third");
    for i in 0..20 {
        assert_eq!(ask(&issuer, &unknown.signed(&claims(json!({"jti": i})))).await.unwrap_err().status(), 401);
    }
    assert_eq!(provider.requests().len(), FETCHES_MAX as usize, "wrong tokens make no storm");
    assert!(ask(&issuer, &second.signed(&claims(json!({"jti": "late"})))).await.is_ok());
}

#[tokio::test]
async fn a_provider_that_was_never_there_is_not_the_callers_fault() {
    let provider = FakeUpstream::start(Script::default().on("/jwks", Reply::error(500)));
    let refused = ask(&at(&provider), &Made::elliptic("one").signed(&claims(json!({})))).await.unwrap_err();
    assert_eq!((refused.status(), refused.retry_after.is_some()), (503, true));
}

#[tokio::test]
async fn a_key_that_is_withdrawn_ends() {
    let (first, second) = (Made::elliptic("first"), Made::elliptic("second"));
    let provider = FakeUpstream::start(listing(&[&first]));
    let issuer = at(&provider);
    let old = first.signed(&claims(json!({})));
    assert!(ask(&issuer, &old).await.is_ok());
    provider.set_script(listing(&[&second]));
    assert!(ask(&issuer, &second.signed(&claims(json!({})))).await.is_ok());
    assert_eq!(ask(&issuer, &old).await.unwrap_err().status(), 401, "also where it was verified before");
}

#[tokio::test]
async fn words_are_granted_scopes() {
    let granting = issuer(terms(|t| {
        t.secret = Some(SECRET.to_vec());
        t.algorithms = vec!["HS256".to_owned()];
        let scopes = |scope| [scope].into_iter().collect();
        t.grants =
            Some(vec![("admins".to_owned(), scopes(journey::Scope::Admin)), ("llm.use".to_owned(), scopes(journey::Scope::Inference))]);
    }));
    let signed = |claims: Value| jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET)).unwrap();
    let has = async |change: Value, scope| ask(&granting, &signed(claims(change))).await.unwrap().scopes.has(scope);
    assert!(has(json!({}), journey::Scope::Inference).await && !has(json!({}), journey::Scope::Admin).await);
    assert!(has(json!({"groups": ["admins"]}), journey::Scope::Admin).await);
    assert!(!has(json!({"scope": "other"}), journey::Scope::Inference).await);
}

#[test]
fn fetches_have_a_pace() {
    let began = Instant::now();
    let mut pace = Pace { left: FETCHES_MAX, at: began };
    let mut taken = |seconds| (0..100).filter(|_| pace.takes(began + Duration::from_secs(seconds))).count();
    assert_eq!((taken(0), taken(9), taken(10), taken(1000)), (5, 0, 1, 5));
}
