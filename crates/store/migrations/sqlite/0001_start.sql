-- Portable on purpose: TEXT identifiers, BIGINT for numbers and unix milliseconds, JSON as TEXT, 0/1 for flags.

CREATE TABLE keys (
    id            TEXT   NOT NULL PRIMARY KEY,
    name          TEXT   NOT NULL,
    hash          TEXT   NOT NULL UNIQUE,
    prefix        TEXT   NOT NULL,
    owner         TEXT,
    scopes        TEXT   NOT NULL,
    allowed_models TEXT  NOT NULL,
    tags          TEXT   NOT NULL,
    limits        TEXT   NOT NULL,
    budget        TEXT,
    metadata      TEXT   NOT NULL,
    created_by    TEXT,
    created_at    BIGINT NOT NULL,
    expires_at    BIGINT,
    revoked_at    BIGINT,
    last_used_at  BIGINT
);

CREATE TABLE users (
    id                   TEXT   NOT NULL PRIMARY KEY,
    username             TEXT   NOT NULL UNIQUE,
    password_hash        TEXT   NOT NULL,
    role                 TEXT   NOT NULL,
    must_change_password BIGINT NOT NULL,
    created_at           BIGINT NOT NULL,
    last_login_at        BIGINT
);

CREATE TABLE nodes (
    id              TEXT   NOT NULL PRIMARY KEY,
    kind            TEXT   NOT NULL,
    machine_name    TEXT   NOT NULL,
    ip_address      TEXT   NOT NULL,
    runtime_port    BIGINT NOT NULL,
    endpoint        TEXT,
    runtime_version TEXT   NOT NULL,
    registration    TEXT   NOT NULL,
    token_hash      TEXT   NOT NULL,
    router_secret   TEXT   NOT NULL,
    status          TEXT   NOT NULL,
    draining        BIGINT NOT NULL,
    models          TEXT   NOT NULL,
    custom_name     TEXT,
    tags            TEXT   NOT NULL,
    notes           TEXT,
    registered_at   BIGINT NOT NULL,
    last_seen       BIGINT NOT NULL,
    online_since    BIGINT,
    UNIQUE (kind, machine_name, runtime_port)
);

CREATE TABLE models (
    name       TEXT   NOT NULL PRIMARY KEY,
    type       TEXT   NOT NULL,
    endpoint   TEXT   NOT NULL,
    kind       TEXT   NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

-- `seq` is the order of arrival; `id` is what the caller saw, and a caller may send the same id twice.
CREATE TABLE requests (
    seq               INTEGER PRIMARY KEY,
    id                TEXT    NOT NULL,
    started_at        BIGINT  NOT NULL,
    duration_ms       BIGINT  NOT NULL,
    first_byte_ms     BIGINT,
    key_id            TEXT,
    key_name          TEXT,
    client_ip         TEXT,
    dialect           TEXT    NOT NULL,
    path              TEXT    NOT NULL,
    model_requested   TEXT,
    model_served      TEXT,
    target            TEXT,
    provider          TEXT,
    node_id           TEXT,
    attempts          BIGINT  NOT NULL,
    status            BIGINT  NOT NULL,
    outcome           TEXT    NOT NULL,
    error_code        TEXT,
    stream            BIGINT  NOT NULL,
    prompt_tokens     BIGINT,
    completion_tokens BIGINT,
    cached_tokens     BIGINT,
    reasoning_tokens  BIGINT,
    usage_raw         TEXT,
    overhead_us       BIGINT,
    bytes_in          BIGINT  NOT NULL,
    bytes_out         BIGINT  NOT NULL,
    decision          TEXT,
    metadata          TEXT
);
CREATE INDEX requests_by_id ON requests (id);
CREATE INDEX requests_by_start ON requests (started_at);
