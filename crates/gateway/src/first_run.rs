//! What a fresh house needs: a key, and somebody who may administer it.

use std::{
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    path::Path,
};

use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version, password_hash::phc::PasswordHash};
use config::{AuthMode, Config, Secret};
use rand::{RngExt as _, distr::Alphanumeric};
use store::{Store, audit};

use crate::{admin::trail, app::StartError};

/// Secrets that were made now; each is shown once and kept only as a hash.
#[derive(Debug, Default)]
pub struct FirstRun {
    pub key: Option<String>,
    /// The administrator's name and password.
    pub admin: Option<(String, String)>,
}

/// Makes what is missing.
///
/// # Errors
/// [`StartError::Config`] where the operator requires a key that cannot exist; the store's errors.
pub async fn prepare(config: &Config, store: &Store) -> Result<FirstRun, StartError> {
    let mut made = FirstRun::default();
    let auth = &config.auth;
    let stored = store::keys::list(store).await?.iter().any(|k| k.revoked_at_ms.is_none());
    config.check_keys(stored)?;
    if auth.mode == AuthMode::Required && !auth.names_a_credential() && !stored {
        let (row, secret) = new_key("first", vec!["inference".to_owned(), "read".to_owned()], "first start");
        let trail = trail::of("first start", "key.create", Some(&row.id), &config.audit);
        audit::follow(trail, store::keys::insert(store, &row)).await?;
        made.key = Some(secret);
    }
    if auth.admin == config::config::AdminLogin::Users && store::users::list(store).await?.is_empty() {
        let given = auth.admin_password.as_ref().map(Secret::expose);
        let password = given.map_or_else(|| random(20), str::to_owned);
        let user = store::users::User {
            id: store::new_id("user"),
            username: auth.admin_username.clone(),
            password_hash: hash_password(&password)?,
            role: "admin".to_owned(),
            must_change_password: given.is_none(),
            created_at_ms: store::now_ms(),
            last_login_at_ms: None,
        };
        let trail = trail::of("first start", "user.create", Some(&user.id), &config.audit);
        audit::follow(trail, store::users::insert(store, &user)).await?;
        if given.is_none() {
            made.admin = Some((user.username, password));
        }
    }
    Ok(made)
}

/// A key that is not stored yet, and its secret: `sk_` and 32 random letters and digits.
pub fn new_key(name: &str, scopes: Vec<String>, by: &str) -> (store::keys::Key, String) {
    let secret = format!("sk_{}", random(32));
    let mut hash = String::with_capacity(64);
    for byte in policy::hash(&secret) {
        // Writing to a string does not fail.
        let _ = write!(hash, "{byte:02x}");
    }
    let row = store::keys::Key {
        id: store::new_id("key"),
        name: name.to_owned(),
        hash,
        prefix: secret[..7].to_owned(),
        scopes,
        created_by: Some(by.to_owned()),
        created_at_ms: store::now_ms(),
        ..store::keys::Key::default()
    };
    (row, secret)
}

/// Whether a text has the form of a key or of a node's token, whoever made it and whether it still counts.
pub fn is_made_here(text: &str) -> bool {
    let is_key = |rest: &str| rest.len() == 32 && rest.bytes().all(|b| b.is_ascii_alphanumeric());
    text.strip_prefix("sk_").is_some_and(is_key) || text.starts_with("nt_")
}

/// So many random letters and digits.
pub fn random(length: usize) -> String {
    rand::rng().sample_iter(Alphanumeric).take(length).map(char::from).collect()
}

/// Argon2id's work: kibibytes of memory, passes, lanes. Of the settings that OWASP's Password Storage Cheat Sheet calls equally strong one with
/// little memory: an allocator may keep a work area for as long as the program runs.
const WORK: (u32, u32, u32) = (9 * 1024, 4, 1);

/// A password's Argon2id hash in PHC form, which says its own settings.
///
/// # Errors
/// A password that argon2 does not take (longer than 4 GiB).
pub fn hash_password(password: &str) -> Result<String, StartError> {
    let (memory_kib, passes, lanes) = WORK;
    let refused = |e: String| StartError::Settings(format!("the password cannot be hashed: {e}"));
    let params = Params::new(memory_kib, passes, lanes, None).map_err(|e| refused(e.to_string()))?;
    let hash = Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password(password.as_bytes());
    Ok(hash.map_err(|e| refused(e.to_string()))?.to_string())
}

/// Whether a password is the hashed one. Takes tens of milliseconds by design.
pub fn is_password(password: &str, hash: &str) -> bool {
    use argon2::PasswordVerifier as _;
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

/// What signs session tokens and seals kept ones: the operator's secret, or one that is made once and kept in the data directory, mode 0600.
///
/// # Errors
/// A file that cannot be read or written.
pub fn secret(config: &Config) -> Result<String, StartError> {
    match &config.auth.jwt_secret {
        Some(secret) => Ok(secret.expose().to_owned()),
        None => kept_secret(&config.server.data_dir.join("jwt_secret")),
    }
}

fn kept_secret(path: &Path) -> Result<String, StartError> {
    let named = |e: io::Error| StartError::Settings(format!("{}: {e}", path.display()));
    match fs::read_to_string(path) {
        Ok(text) if text.trim().len() >= 32 => return Ok(text.trim().to_owned()),
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(named(e)),
    }
    let secret = random(64);
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).and_then(|mut file| file.write_all(secret.as_bytes())).map_err(named)?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_knows_its_password_whatever_it_was_made_with() {
        let hash = hash_password("open sesame").unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=9216,t=4,p=1$"), "{hash}");
        assert!(is_password("open sesame", &hash));
        assert!(!is_password("open sesam", &hash));
        let older = Argon2::default().hash_password(b"open sesame").unwrap().to_string();
        assert!(is_password("open sesame", &older) && !is_password("", &older));
    }
}
