//! Keeps tokens that providers replace, and other secrets of others, sealed: a copy of the database without the secret that signs sessions opens no account.

use std::{future::Future, pin::Pin};

use aws_lc_rs::aead::{AES_256_GCM, Aad, RandomizedNonceKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use store::{Store, meta};
use upstream::grant::{Keeper, Tokens};

use crate::app::StartError;

/// What names of kept tokens begin with.
const NAME: &str = "account_tokens:";
/// Bytes of the nonce before what is sealed.
const NONCE_BYTES: usize = 12;

/// Seals what the store keeps and nobody shall read there.
pub struct Seal(RandomizedNonceKey);

impl Seal {
    /// A seal that a secret opens, for one purpose.
    ///
    /// # Errors
    /// A cipher that this machine's library does not have.
    pub fn new(purpose: &str, secret: &str) -> Result<Self, StartError> {
        let key = policy::hash(&format!("{purpose}\n{secret}"));
        let key = RandomizedNonceKey::new(&AES_256_GCM, &key);
        Ok(Self(key.map_err(|_| StartError::Settings("secrets cannot be sealed here".to_owned()))?))
    }

    /// Seals bytes for one place; each time otherwise. `None`: there is no randomness.
    pub fn seal(&self, place: &str, mut bytes: Vec<u8>) -> Option<String> {
        let nonce = self.0.seal_in_place_append_tag(Aad::from(place), &mut bytes).ok()?;
        Some(STANDARD.encode([nonce.as_ref().as_slice(), &bytes].concat()))
    }

    /// What was sealed for this place with this secret; `None` of anything else.
    pub fn open(&self, place: &str, sealed: &str) -> Option<Vec<u8>> {
        let bytes = STANDARD.decode(sealed).ok()?;
        let (nonce, rest) = bytes.split_first_chunk::<NONCE_BYTES>()?;
        let mut rest = rest.to_vec();
        Some(self.0.open_in_place(nonce.into(), Aad::from(place), &mut rest).ok()?.to_vec())
    }
}

/// Tokens of accounts in the store.
pub struct Vault {
    store: Store,
    seal: Seal,
}

impl Vault {
    /// A vault that is opened by a secret.
    ///
    /// # Errors
    /// A cipher that this machine's library does not have.
    pub fn new(store: Store, secret: &str) -> Result<Self, StartError> {
        Ok(Self { store, seal: Seal::new("tokens of accounts", secret)? })
    }

    fn seal(&self, place: &str, tokens: &Tokens) -> Option<String> {
        self.seal.seal(place, serde_json::to_vec(tokens).ok()?)
    }

    fn open(&self, place: &str, sealed: &str) -> Option<Tokens> {
        serde_json::from_slice(&self.seal.open(place, sealed)?).ok()
    }
}

/// What a seal is bound to: tokens that were kept for other settings do not open.
fn place(account: &str, seed: &str) -> String {
    format!("{account}\n{seed}")
}

impl Keeper for Vault {
    fn recall<'a>(&'a self, account: &'a str, seed: &'a str) -> Pin<Box<dyn Future<Output = Option<Tokens>> + Send + 'a>> {
        Box::pin(async move {
            match meta::get(&self.store, &format!("{NAME}{account}")).await {
                Ok(sealed) => {
                    let opened = self.open(&place(account, seed), &sealed?);
                    if opened.is_none() {
                        tracing::info!(
                            account,
                            "the OAuth tokens that were kept belong to other settings or another secret and are not used"
                        );
                    }
                    opened
                }
                Err(error) => {
                    tracing::warn!(account, %error, "kept OAuth tokens cannot be read");
                    None
                }
            }
        })
    }

    fn keep<'a>(&'a self, account: &'a str, seed: &'a str, tokens: &'a Tokens) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            let Some(sealed) = self.seal(&place(account, seed), tokens) else { return };
            if let Err(error) = meta::set(&self.store, &format!("{NAME}{account}"), &sealed).await {
                tracing::error!(account, %error, "a renewed OAuth token cannot be kept: after a restart the account may have to be logged in anew");
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_kept_opens_with_its_secret_and_settings_only() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open("", directory.path()).await.unwrap();
        let vault = Vault::new(store.clone(), "secret").unwrap();
        let tokens = Tokens { access: Some("PLAIN".to_owned()), serial: 3, ..Tokens::default() };
        vault.keep("a", "seed", &tokens).await;
        assert!(vault.recall("a", "seed").await == Some(tokens.clone()));
        assert!(vault.recall("a", "other").await.is_none() && vault.recall("b", "seed").await.is_none());
        assert!(Vault::new(store.clone(), "another").unwrap().recall("a", "seed").await.is_none());
        assert!(!meta::get(&store, "account_tokens:a").await.unwrap().unwrap().contains("PLAIN"));
        let other = vault.seal("x", &tokens);
        assert_ne!(vault.seal("x", &tokens), other, "each seal has a nonce of its own");
    }
}
