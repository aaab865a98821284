-- Who changed what in the control plane. `id` is a UUID whose order is that of time.

CREATE TABLE audit (
    id            TEXT   NOT NULL PRIMARY KEY,
    at            BIGINT NOT NULL,
    request_id    TEXT   NOT NULL,
    actor_type    TEXT   NOT NULL,
    actor_id      TEXT,
    actor         TEXT,
    client_ip     TEXT,
    action        TEXT   NOT NULL,
    resource_type TEXT   NOT NULL,
    resource_id   TEXT,
    outcome       TEXT   NOT NULL,
    reason        TEXT,
    details       TEXT
);
CREATE INDEX audit_by_time ON audit (at);
CREATE INDEX audit_by_outcome ON audit (outcome, id);
