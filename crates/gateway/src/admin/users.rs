//! Users: made, listed, changed, removed. Somebody who may administer always stays.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{
    StoreError,
    users::{self, Change, User},
};
use wire::{Code, Failure};

use super::{
    Admin, Answer, Asked, Asks, Refusal, read,
    session::{self, Seat, Transport},
    trail,
};
use crate::{app::App, first_run};

/// Longest name of a user, in characters.
const NAME_CHARS_MAX: usize = 128;

/// Fewest characters of a password; the dashboard says so too.
pub const PASSWORD_CHARS_MIN: usize = 12;

/// Most bytes of a password: each is hashed.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// Shortest name that a password must not hold; shorter ones are in many words.
const NAME_CHARS_NOTED: usize = 4;

/// What a user may.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    Admin,
    Viewer,
}

impl Role {
    fn name(self) -> String {
        match self {
            Self::Admin => "admin",
            Self::Viewer => "viewer",
        }
        .to_owned()
    }
}

#[derive(Deserialize)]
struct NewUser {
    username: String,
    password: String,
    role: Role,
    /// The password is somebody else's choice.
    #[serde(default)]
    must_change_password: bool,
}

/// The body of `PUT /api/users/{id}`: what it does not name stays as it is.
#[derive(Deserialize)]
struct ChangedUser {
    username: Option<String>,
    password: Option<String>,
    role: Option<Role>,
    must_change_password: Option<bool>,
}

/// `GET /api/users`.
#[utoipa::path(
    get,
    path = "/api/users",
    tag = "users",
    summary = "All users",
    responses((status = 200, description = "By name", body = serde_json::Value)),
    security(("bearer" = ["admin"]))
)]
pub async fn list(State(app): State<Arc<App>>, _: Admin) -> Answer<Json<Value>> {
    let all = users::list(&app.store).await?;
    Ok(Json(json!({"users": all.iter().map(shown).collect::<Vec<_>>()})))
}

/// `POST /api/users`: 201 with the user.
#[utoipa::path(
    post,
    path = "/api/users",
    tag = "users",
    summary = "Make a user",
    request_body = serde_json::Value,
    responses((status = 201, description = "The user; 409 where the name is taken", body = serde_json::Value)),
    security(("bearer" = ["admin"]))
)]
pub async fn create(State(app): State<Arc<App>>, Admin(by): Admin, body: Bytes) -> Answer<(StatusCode, Json<Value>)> {
    let NewUser { username, password, role, must_change_password } = read(&body)?;
    let username = checked_name(&username)?;
    let user = User {
        id: store::new_id("user"),
        password_hash: hashed(&app, password, &username).await?,
        username,
        role: role.name(),
        must_change_password,
        created_at_ms: store::now_ms(),
        last_login_at_ms: None,
    };
    trail::about(&user.id);
    trail::changed(None, Some(shown(&user)));
    users::insert(&app.store, &user).await.map_err(taken)?;
    known(&app).await?;
    tracing::info!(user = user.username, role = user.role, by = by.key.as_ref().map(|k| &*k.name), "a user was made");
    Ok((StatusCode::CREATED, Json(shown(&user))))
}

/// `PUT /api/users/{id}`: administrators change everything; everybody may choose another password for themselves, which ends the sessions of the
/// one before, and gets a new token.
#[utoipa::path(
    put,
    path = "/api/users/{id}",
    tag = "users",
    summary = "Change a user, or one's own password",
    params(("id" = String, Path)),
    request_body = serde_json::Value,
    responses((status = 200, description = "The user; with a new `token` where it is one's own password that changed", body = serde_json::Value)),
    security(("bearer" = ["admin"]))
)]
pub async fn change(
    State(app): State<Arc<App>>,
    admin: Result<Admin, Refusal>,
    asked: Asked,
    headers: HeaderMap,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer<Response> {
    let asks = Asks { headers: &headers, query_key: None, is_change: true };
    let own = session::present(&app, &app.house(), asks)?.filter(|session| session.id == id);
    if let (Err(refusal), None) = (&admin, &own) {
        return Err(Refusal(refusal.0.clone()));
    }
    let ChangedUser { username, password, role, must_change_password } = read(&body)?;
    if let Err(refusal) = admin
        && (username.is_some() || role.is_some() || must_change_password.is_some() || password.is_none())
    {
        return Err(refusal);
    }
    let before = users::get_by_id(&app.store, &id).await?.ok_or_else(unknown)?;
    if own.is_some() {
        trail::by("user", Some(&id), Some(&before.username));
    }
    let is_new_password = password.is_some();
    let username = username.as_deref().map(checked_name).transpose()?;
    let password_hash = match password {
        Some(password) => Some(renewed(&app, &before, username.as_ref().unwrap_or(&before.username), password).await?),
        None => None,
    };
    let change = Change {
        username,
        role: role.map(Role::name),
        must_change_password: must_change_password.or(is_new_password.then_some(false)),
        password_hash,
    };
    trail::changed(Some(shown(&before)), Some(changed(&before, &change)));
    if !users::change(&app.store, &id, &change).await.map_err(taken)? {
        return Err(kept(&app, &id, "Cannot take the role from the last administrator").await);
    }
    known(&app).await?;
    let user = users::get_by_id(&app.store, &id).await?.ok_or_else(unknown)?;
    tracing::info!(user = user.username, role = user.role, is_new_password, "a user was changed");
    let mut answer = shown(&user);
    if own.is_none() || !is_new_password {
        return Ok(Json(answer).into_response());
    }
    let (token, cookies) = session::open(&app, &id, &Seat::of(&user), Transport::of(asked.peer, &headers))?;
    answer["token"] = token.into();
    Ok((cookies, Json(answer)).into_response())
}

/// `DELETE /api/users/{id}`: their sessions end with them.
#[utoipa::path(
    delete,
    path = "/api/users/{id}",
    tag = "users",
    summary = "Remove a user",
    params(("id" = String, Path)),
    responses((status = 204, description = "Removed; 409 for the last administrator")),
    security(("bearer" = ["admin"]))
)]
pub async fn remove(State(app): State<Arc<App>>, Admin(by): Admin, Path(id): Path<String>) -> Answer<StatusCode> {
    trail::changed(users::get_by_id(&app.store, &id).await?.as_ref().map(shown), None);
    if !users::delete(&app.store, &id).await? {
        return Err(kept(&app, &id, "Cannot delete the last administrator").await);
    }
    known(&app).await?;
    tracing::info!(user = id, by = by.key.as_ref().map(|k| &*k.name), "a user was removed");
    Ok(StatusCode::NO_CONTENT)
}

/// A user as the change will have it; of a new password only that there is one.
fn changed(before: &User, change: &Change) -> Value {
    let mut after = before.clone();
    after.username = change.username.clone().unwrap_or(after.username);
    after.role = change.role.clone().unwrap_or(after.role);
    after.must_change_password = change.must_change_password.unwrap_or(after.must_change_password);
    let mut shown = shown(&after);
    if change.password_hash.is_some() {
        shown["is_new_password"] = true.into();
    }
    shown
}

/// Why a user stayed as it was.
async fn kept(app: &App, id: &str, why: &str) -> Refusal {
    match users::get_by_id(&app.store, id).await {
        Ok(Some(_)) => Failure::new(Code::Conflict, why).into(),
        Ok(None) => unknown().into(),
        Err(error) => error.into(),
    }
}

fn unknown() -> Failure {
    Failure::new(Code::NotFound, "User not found")
}

fn taken(error: StoreError) -> Refusal {
    match error {
        StoreError::Exists(_) => Failure::new(Code::Conflict, "Username already exists").into(),
        other => other.into(),
    }
}

/// Sessions follow at once, not when the watcher next looks.
async fn known(app: &App) -> Answer<()> {
    Ok(app.refresh().await.map_err(|e| Failure::new(Code::InternalError, e.to_string()))?)
}

/// A user's name as it is kept.
///
/// # Errors
/// A 400 that says what a name may be.
pub fn checked_name(name: &str) -> Result<String, Failure> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
        let message = format!("`username` must have 1 to {NAME_CHARS_MAX} characters, none of them a control character");
        return Err(Failure::invalid("username", message));
    }
    Ok(name.to_owned())
}

/// The hash of another password; one that had to be changed is not changed by saying it again.
async fn renewed(app: &App, before: &User, username: &str, password: String) -> Answer<String> {
    if before.must_change_password {
        let (said, hash) = (password.clone(), before.password_hash.clone());
        let _turn = app.sessions.checks.acquire().await;
        if tokio::task::spawn_blocking(move || first_run::is_password(&said, &hash)).await.unwrap_or(false) {
            return Err(Failure::invalid("password", "`password` must be another than the one before").into());
        }
    }
    hashed(app, password, username).await
}

/// Whether a password may be that of the user of this name. The one rule, for the API, the commands and the dashboard.
///
/// # Errors
/// A 400 that says what it must be.
pub fn check_password(password: &str, username: &str) -> Result<(), Failure> {
    if password.chars().count() < PASSWORD_CHARS_MIN || password.len() > PASSWORD_BYTES_MAX {
        let message = format!("`password` must have at least {PASSWORD_CHARS_MIN} characters, and at most {PASSWORD_BYTES_MAX} bytes");
        return Err(Failure::invalid("password", message));
    }
    if username.chars().count() >= NAME_CHARS_NOTED && password.to_lowercase().contains(&username.to_lowercase()) {
        return Err(Failure::invalid("password", "`password` must not have the user's name in it"));
    }
    Ok(())
}

async fn hashed(app: &App, password: String, username: &str) -> Answer<String> {
    check_password(&password, username)?;
    let _turn = app.sessions.checks.acquire().await;
    let failed = || Failure::new(Code::InternalError, "the password could not be hashed");
    let hash = tokio::task::spawn_blocking(move || first_run::hash_password(&password)).await;
    Ok(hash.map_err(|_| failed())?.map_err(|_| failed())?)
}

/// A user as it is shown: never with anything of the password.
pub fn shown(user: &User) -> Value {
    let time = |ms: i64| Timestamp::from_millisecond(ms).ok().map(|t| t.to_string());
    let mut value = json!({
        "id": user.id,
        "username": user.username,
        "role": user.role,
        "created_at": time(user.created_at_ms),
        "last_login": user.last_login_at_ms.and_then(time),
    });
    if user.must_change_password {
        value["must_change_password"] = true.into();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_long_and_not_the_name() {
        let most = "a".repeat(PASSWORD_BYTES_MAX);
        for (password, username, is_fine) in [
            ("four words in", "vera", true),
            ("zwölf-zeiche", "vera", true),
            ("eleven-char", "vera", false),
            ("ééééééééééé", "vera", false),
            ("my-name-is-VERA", "vera", false),
            ("my-annual-visit", "ann", true),
            (&most, "vera", true),
            (&format!("{most}a"), "vera", false),
        ] {
            assert_eq!(check_password(password, username).is_ok(), is_fine, "{password}");
        }
    }

    #[test]
    fn the_dashboard_says_the_same() {
        let page = include_str!("../../../../ui/src/pages/password.tsx");
        assert!(page.contains(&format!("PASSWORD_CHARS_MIN = {PASSWORD_CHARS_MIN};")));
        assert!(page.contains(&format!("[...username].length >= {NAME_CHARS_NOTED}")));
    }
}
