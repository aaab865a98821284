//! Join tokens that administrators make: for so many nodes, until some time, with or without their consent to each.

use serde::{Deserialize, Serialize};
use store::join_tokens::{self, JoinToken};
use uuid::Uuid;
use wire::{Code, Failure};

use crate::{
    Fleet,
    clock::rfc3339,
    record::Record,
    register::{hash, is_name, stored},
};

/// How these tokens begin.
pub(crate) const PREFIX: &str = "jt_";
/// Tokens that are kept, used up and revoked ones included.
const TOKENS_MAX: usize = 1000;
/// How long a token that is over is still listed.
const LISTED_MS: i64 = 30 * 24 * 60 * 60 * 1000;

/// `POST /api/nodes/join-tokens`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NewJoinToken {
    pub name: String,
    /// Nodes that may come with it; no bound where missing.
    pub max_uses: Option<u32>,
    /// RFC 3339; for ever where missing.
    pub expires_at: Option<String>,
    /// Whether nodes that come with it wait for consent.
    pub require_approval: bool,
}

/// A join token as it is shown. Times are RFC 3339.
#[derive(Debug, Clone, Serialize)]
pub struct JoinTokenView {
    pub id: String,
    pub name: String,
    pub require_approval: bool,
    pub max_uses: Option<u32>,
    pub uses: u32,
    pub created_by: Option<String>,
    pub created_at: String,
    pub expires_at: Option<String>,
    pub revoked_at: Option<String>,
}

impl From<JoinToken> for JoinTokenView {
    fn from(token: JoinToken) -> Self {
        Self {
            id: token.id,
            name: token.name,
            require_approval: token.approval,
            max_uses: token.uses_max,
            uses: token.uses,
            created_by: token.created_by,
            created_at: rfc3339(token.created_at_ms),
            expires_at: token.expires_at_ms.map(rfc3339),
            revoked_at: token.revoked_at_ms.map(rfc3339),
        }
    }
}

impl Fleet {
    /// Makes a join token. The text beside it is the secret, which nobody can be shown again.
    ///
    /// # Errors
    /// 400 what is wrong with the fields, 409 where there are too many.
    pub async fn make_join_token(&self, wanted: NewJoinToken, by: Option<String>) -> Result<(JoinTokenView, String), Failure> {
        let now_ms = self.clock.unix_ms();
        if !is_name(&wanted.name) {
            return Err(Failure::invalid("name", "`name` must have 1 to 256 bytes and no control characters"));
        }
        if wanted.max_uses == Some(0) {
            return Err(Failure::invalid("max_uses", "`max_uses` must be at least 1"));
        }
        let read = |text: String| text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_millisecond);
        let expires_at_ms = wanted.expires_at.map(read).transpose();
        let expires_at_ms =
            expires_at_ms.map_err(|_| Failure::invalid("expires_at", "`expires_at` must be a time like 2027-01-31T12:00:00Z"))?;
        if expires_at_ms.is_some_and(|at| at <= now_ms) {
            return Err(Failure::invalid("expires_at", "`expires_at` is over already"));
        }
        join_tokens::prune(&self.store, now_ms - LISTED_MS).await.map_err(stored)?;
        if join_tokens::list(&self.store).await.map_err(stored)?.len() >= TOKENS_MAX {
            return Err(Failure::new(Code::Conflict, format!("there are {TOKENS_MAX} join tokens already: revoke some")));
        }
        let secret = format!("{PREFIX}{}", Uuid::new_v4().simple());
        let token = JoinToken {
            id: store::new_id("join"),
            name: wanted.name,
            hash: hash(&secret),
            approval: wanted.require_approval,
            uses_max: wanted.max_uses,
            uses: 0,
            created_by: by,
            created_at_ms: now_ms,
            expires_at_ms,
            revoked_at_ms: None,
        };
        join_tokens::insert(&self.store, &token).await.map_err(stored)?;
        Ok((token.into(), secret))
    }

    /// All join tokens, newest first.
    ///
    /// # Errors
    /// The store's.
    pub async fn join_tokens(&self) -> Result<Vec<JoinTokenView>, Failure> {
        Ok(join_tokens::list(&self.store).await.map_err(stored)?.into_iter().map(Into::into).collect())
    }

    /// Ends a join token's life. Nodes that came with it stay.
    ///
    /// # Errors
    /// 404 for an unknown one.
    pub async fn revoke_join_token(&self, id: &str) -> Result<(), Failure> {
        if join_tokens::revoke(&self.store, id, self.clock.unix_ms()).await.map_err(stored)? {
            return Ok(());
        }
        Err(Failure::new(Code::NotFound, "there is no such join token"))
    }

    /// The token that was shown, if it is one of those that are made and may still be used; a known node may come again with its own.
    pub(crate) async fn token_shown(&self, shown: &str, known: Option<&str>) -> Result<JoinToken, Failure> {
        let refused = |why: &str| Failure::new(Code::InvalidApiKey, format!("the join token {why}"));
        let token = join_tokens::find(&self.store, &hash(shown)).await.map_err(stored)?.ok_or_else(|| refused("is not valid"))?;
        if token.revoked_at_ms.is_some() {
            return Err(refused("was revoked"));
        }
        if token.expires_at_ms.is_some_and(|at| at <= self.clock.unix_ms()) {
            return Err(refused("is over"));
        }
        let is_used_up = token.uses_max.is_some_and(|max| token.uses >= max);
        if is_used_up && known != Some(token.id.as_str()) {
            return Err(refused("is used up"));
        }
        Ok(token)
    }

    /// Takes a use of the token for a record that is about to be stored, unless it came with it before. `writing` must be held.
    pub(crate) async fn use_token(&self, token: &JoinToken, record: &mut Record) -> Result<bool, Failure> {
        if record.join_token_id.as_ref() == Some(&token.id) {
            return Ok(false);
        }
        if !join_tokens::take(&self.store, &token.id, self.clock.unix_ms()).await.map_err(stored)? {
            return Err(Failure::new(Code::InvalidApiKey, "the join token is used up"));
        }
        record.join_token_id = Some(token.id.clone());
        Ok(true)
    }
}
