-- Sessions that were logged out before their tokens ran out. `id` is the token's own; `*` stands for all that were opened up to `ended_at`.
CREATE TABLE ended_sessions (
    user_id    TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    id         TEXT   NOT NULL,
    ended_at   BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, id)
);
