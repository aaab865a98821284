//! Bearer tokens of an identity provider, from a small provider of the test's own.

use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use serde_json::{Value, json};
use testkit::{FakeUpstream, Reply, Script};

use crate::{
    client::Answer,
    router::{KEY, MASTER, Router, Setup, eventually},
};

/// A key of the provider: what signs, and what it lists of it.
pub(crate) struct Signer {
    kid: String,
    algorithm: Algorithm,
    key: EncodingKey,
    pub(crate) listed: Value,
}

impl Signer {
    pub(crate) fn elliptic(kid: &str) -> Self {
        let der = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap().serialize_der();
        Self::new(kid, Algorithm::ES256, EncodingKey::from_ec_der(&der))
    }

    fn rsa(kid: &str) -> Self {
        let der = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap().serialize_der();
        // PKCS #8 wraps a key of this size in 26 bytes; within is PKCS #1.
        Self::new(kid, Algorithm::RS256, EncodingKey::from_rsa_der(&der[26..]))
    }

    fn new(kid: &str, algorithm: Algorithm, key: EncodingKey) -> Self {
        let mut listed = serde_json::to_value(Jwk::from_encoding_key(&key, algorithm).unwrap()).unwrap();
        (listed["kid"], listed["use"]) = (kid.into(), "sig".into());
        Self { kid: kid.to_owned(), algorithm, key, listed }
    }

    pub(crate) fn token(&self, more: Value) -> String {
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(self.algorithm) };
        let end = jiff::Timestamp::now().as_second() + 600;
        let mut claims =
            json!({"iss": "https://issuer.test", "aud": ["llm-router", "other"], "sub": "user-1", "exp": end, "scope": "llm.read llm.use"});
        claims.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        jsonwebtoken::encode(&header, &claims, &self.key).unwrap()
    }
}

const LIST: &str = "/.well-known/jwks.json";

fn listing(signers: &[&Signer]) -> Script {
    let keys: Vec<&Value> = signers.iter().map(|signer| &signer.listed).collect();
    Script::default().on(LIST, Reply::json(&json!({"keys": keys})))
}

fn setup(provider: &FakeUpstream) -> Setup {
    Setup::new()
        .env("OAUTH_ENABLED", "true")
        .env("OAUTH_ISSUER", "https://issuer.test")
        .env("OAUTH_AUDIENCE", "llm-router")
        .env("OAUTH_JWKS_URL", &format!("{}{LIST}", provider.url()))
        .env("OAUTH_ALGORITHMS", "RS256,ES256")
}

async fn chat(router: &Router, token: &str) -> Answer {
    router.chat("dummy", json!({})).key(token).send().await
}

#[tokio::test]
async fn a_token_opens_and_a_rotated_key_is_found() {
    let (rsa, elliptic) = (Signer::rsa("one"), Signer::elliptic("two"));
    let provider = FakeUpstream::start(listing(&[&rsa]));
    let router = setup(&provider).env("OAUTH_REQUIRED_SCOPES", "llm.use").start();
    let good = chat(&router, &rsa.token(json!({}))).await;
    assert_eq!(good.status, 200, "{}", good.text());
    assert_eq!(router.record(good.header("x-request-id")).await.key_id.as_deref(), Some("oauth:user-1"));
    provider.set_script(listing(&[&rsa, &elliptic]));
    assert_eq!(chat(&router, &elliptic.token(json!({}))).await.status, 200, "the new key is fetched");
    assert_eq!(chat(&router, &rsa.token(json!({}))).await.status, 200, "and the old one still counts");
    provider.set_script(Script::default().on(LIST, Reply::error(503)));
    assert_eq!(chat(&router, &rsa.token(json!({"jti": "new"}))).await.status, 200, "the provider may be down");
    for key in [KEY, MASTER] {
        assert_eq!(chat(&router, key).await.status, 200, "keys count beside tokens");
    }
}

#[tokio::test]
async fn a_token_that_is_not_ours_is_refused_in_words() {
    let (signer, foreign) = (Signer::rsa("one"), Signer::rsa("one"));
    let provider = FakeUpstream::start(listing(&[&signer]));
    let router = setup(&provider).env("OAUTH_REQUIRED_SCOPES", "llm.use").start();
    let public = signer.listed["n"].as_str().unwrap();
    let confused = {
        let header = Header { kid: Some("one".to_owned()), ..Header::new(Algorithm::HS256) };
        let claims = json!({"iss": "https://issuer.test", "aud": "llm-router", "sub": "x", "exp": 9_999_999_999_i64, "scope": "llm.use"});
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(public.as_bytes())).unwrap()
    };
    let good = signer.token(json!({}));
    let unsigned = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{}.", good.split('.').nth(1).unwrap());
    for (what, token, status) in [
        ("expired", signer.token(json!({"exp": 1000})), 401),
        ("meant for somebody else", signer.token(json!({"aud": "x"})), 401),
        ("another issuer", signer.token(json!({"iss": "https://evil.test"})), 401),
        ("not valid yet", signer.token(json!({"nbf": 9_999_999_999_i64})), 401),
        ("signature is not", foreign.token(json!({})), 401),
        ("algorithm is not accepted", confused, 401),
        ("cannot be read", unsigned, 401),
        ("scope `llm.use`", signer.token(json!({"scope": "llm.read"})), 403),
    ] {
        let answer = chat(&router, &token).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        assert!(answer.text().contains(what) && !answer.text().contains(&token), "{what}: {}", answer.text());
        assert_eq!(answer.headers.get("www-authenticate").is_some(), status == 401);
    }
    assert_eq!(chat(&router, "sk-nothing").await.code(), "invalid_api_key");
}

#[tokio::test]
async fn words_grant_scopes_and_subjects_have_limits() {
    let signer = Signer::elliptic("one");
    let provider = FakeUpstream::start(listing(&[&signer]));
    let grants = json!({"llm.use": ["inference"], "operators": ["inference", "read", "admin"]});
    let router = setup(&provider).set("auth", json!({"oauth": {"grants": grants, "limits": {"rpm": 2}}})).start();
    let (user, admin) = (signer.token(json!({})), signer.token(json!({"sub": "boss", "roles": ["operators"], "scope": ""})));
    let keys = async |token: &str| router.get("/api/api-keys").key(token).send().await.status;
    assert_eq!((keys(&user).await, keys(&admin).await), (403, 200));
    let nothing = signer.token(json!({"sub": "guest", "scope": "other"}));
    assert_eq!(chat(&router, &nothing).await.code(), "permission_denied");
    let mut answers = Vec::new();
    // Another token of the same subject is the same subject.
    for i in 0..3 {
        answers.push(chat(&router, &signer.token(json!({"jti": i}))).await.status);
    }
    assert_eq!(answers, [200, 200, 429]);
    assert_eq!(chat(&router, &admin).await.status, 200);
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_is_no_fault_of_the_caller_and_found_later() {
    let signer = Signer::elliptic("one");
    let provider = FakeUpstream::start(Script::default().on(LIST, Reply::error(500)));
    let router = setup(&provider).start();
    let answer = chat(&router, &signer.token(json!({}))).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    provider.set_script(listing(&[&signer]));
    eventually("the keys are there", || async { (chat(&router, &signer.token(json!({}))).await.status == 200).then_some(()) }).await;
}

#[tokio::test]
async fn a_reload_changes_what_counts() {
    let (one, other) = (Signer::elliptic("one"), Signer::elliptic("two"));
    let (first, second) = (FakeUpstream::start(listing(&[&one])), FakeUpstream::start(listing(&[&other])));
    let at = |provider: &FakeUpstream| json!({"oauth": {"enabled": true, "issuer": "https://issuer.test", "algorithms": ["ES256"], "jwks_url": format!("{}{LIST}", provider.url())}});
    let router = Setup::new().set("auth", at(&first)).start();
    assert_eq!(chat(&router, &one.token(json!({}))).await.status, 200);
    router.write_config(&json!({"auth": at(&second)}).to_string());
    assert_eq!(router.post("/config/reload", &json!({})).key(MASTER).send().await.status, 200);
    assert_eq!((chat(&router, &one.token(json!({}))).await.status, chat(&router, &other.token(json!({}))).await.status), (401, 200));
    assert_eq!(first.requests().len(), 1);
}
