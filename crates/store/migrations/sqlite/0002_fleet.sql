-- Nodes that wait for an administrator's consent, and the token that each came with.
ALTER TABLE nodes ADD COLUMN pending BIGINT NOT NULL DEFAULT 0;
ALTER TABLE nodes ADD COLUMN join_token_id TEXT;

CREATE TABLE join_tokens (
    id         TEXT   NOT NULL PRIMARY KEY,
    name       TEXT   NOT NULL,
    hash       TEXT   NOT NULL UNIQUE,
    approval   BIGINT NOT NULL,
    uses_max   BIGINT,
    uses       BIGINT NOT NULL,
    created_by TEXT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
);
