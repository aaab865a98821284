//! People who log in.

use sqlx::{Row, sqlite::SqliteRow};

use crate::{Store, StoreError, error::is_duplicate};

/// A user as stored. Times are unix milliseconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct User {
    pub id: String,
    /// Unique.
    pub username: String,
    /// A PHC string.
    pub password_hash: String,
    /// `admin` or `viewer`.
    pub role: String,
    pub must_change_password: bool,
    pub created_at_ms: i64,
    pub last_login_at_ms: Option<i64>,
}

/// Stores a new user.
///
/// # Errors
/// [`StoreError::Exists`] where the name is taken.
pub async fn insert(store: &Store, user: &User) -> Result<(), StoreError> {
    let query = sqlx::query("INSERT INTO users (id, username, password_hash, role, must_change_password, created_at, last_login_at) VALUES (?, ?, ?, ?, ?, ?, ?)")
        .bind(&user.id)
        .bind(&user.username)
        .bind(&user.password_hash)
        .bind(&user.role)
        .bind(user.must_change_password)
        .bind(user.created_at_ms)
        .bind(user.last_login_at_ms);
    match store.execute(query).await {
        Err(e) if is_duplicate(&e) => Err(StoreError::Exists("this user name")),
        other => other.map(drop),
    }
}

/// The user with this name.
///
/// # Errors
/// The database's.
pub async fn get(store: &Store, username: &str) -> Result<Option<User>, StoreError> {
    let row = sqlx::query("SELECT * FROM users WHERE username = ?").bind(username).fetch_optional(store.readers()).await?;
    row.as_ref().map(read).transpose()
}

/// All users by name.
///
/// # Errors
/// The database's.
pub async fn list(store: &Store) -> Result<Vec<User>, StoreError> {
    let rows = sqlx::query("SELECT * FROM users ORDER BY username").fetch_all(store.readers()).await?;
    rows.iter().map(read).collect()
}

/// The user with this id.
///
/// # Errors
/// The database's.
pub async fn get_by_id(store: &Store, id: &str) -> Result<Option<User>, StoreError> {
    let row = sqlx::query("SELECT * FROM users WHERE id = ?").bind(id).fetch_optional(store.readers()).await?;
    row.as_ref().map(read).transpose()
}

/// What of a user is to be another than before.
#[derive(Debug, Clone, Default)]
pub struct Change {
    pub username: Option<String>,
    /// A PHC string.
    pub password_hash: Option<String>,
    /// `admin` or `viewer`.
    pub role: Option<String>,
    pub must_change_password: Option<bool>,
}

/// Changes a user, unless nobody would be left to administer. False: no such user, or the last administrator would be none any more.
///
/// # Errors
/// [`StoreError::Exists`] where the new name is taken.
pub async fn change(store: &Store, id: &str, change: &Change) -> Result<bool, StoreError> {
    let query = sqlx::query(
        "UPDATE users SET username = coalesce(?1, username), password_hash = coalesce(?2, password_hash), role = coalesce(?3, role), \
         must_change_password = coalesce(?4, must_change_password) WHERE id = ?5 \
         AND (coalesce(?3, role) = 'admin' OR role <> 'admin' OR (SELECT count(*) FROM users WHERE role = 'admin') > 1)",
    )
    .bind(&change.username)
    .bind(&change.password_hash)
    .bind(&change.role)
    .bind(change.must_change_password)
    .bind(id);
    match store.execute(query).await {
        Err(e) if is_duplicate(&e) => Err(StoreError::Exists("this user name")),
        other => Ok(other? > 0),
    }
}

/// Replaces a password's hash. False: no such user.
///
/// # Errors
/// The database's.
pub async fn set_password(store: &Store, id: &str, password_hash: &str, must_change_password: bool) -> Result<bool, StoreError> {
    let query = sqlx::query("UPDATE users SET password_hash = ?, must_change_password = ? WHERE id = ?")
        .bind(password_hash)
        .bind(must_change_password)
        .bind(id);
    Ok(store.execute(query).await? > 0)
}

/// Notes a login. False: no such user.
///
/// # Errors
/// The database's.
pub async fn logged_in(store: &Store, id: &str, at_ms: i64) -> Result<bool, StoreError> {
    Ok(store.execute(sqlx::query("UPDATE users SET last_login_at = ? WHERE id = ?").bind(at_ms).bind(id)).await? > 0)
}

/// Removes a user, unless it is the last administrator. False: no such user, or the last administrator.
///
/// # Errors
/// The database's.
pub async fn delete(store: &Store, id: &str) -> Result<bool, StoreError> {
    let query =
        sqlx::query("DELETE FROM users WHERE id = ? AND (role <> 'admin' OR (SELECT count(*) FROM users WHERE role = 'admin') > 1)")
            .bind(id);
    Ok(store.execute(query).await? > 0)
}

/// How many administrators there are.
///
/// # Errors
/// The database's.
pub async fn count_admins(store: &Store) -> Result<u64, StoreError> {
    let n: i64 = sqlx::query_scalar("SELECT count(*) FROM users WHERE role = 'admin'").fetch_one(store.readers()).await?;
    Ok(n.unsigned_abs())
}

fn read(row: &SqliteRow) -> Result<User, StoreError> {
    Ok(User {
        id: row.try_get("id")?,
        username: row.try_get("username")?,
        password_hash: row.try_get("password_hash")?,
        role: row.try_get("role")?,
        must_change_password: row.try_get("must_change_password")?,
        created_at_ms: row.try_get("created_at")?,
        last_login_at_ms: row.try_get("last_login_at")?,
    })
}
