-- Models whose files the router keeps, and conversions of models.

CREATE TABLE model_files (
    name          TEXT   NOT NULL PRIMARY KEY,
    repo          TEXT   NOT NULL,
    revision      TEXT   NOT NULL,
    filename      TEXT   NOT NULL,
    quantization  TEXT,
    display_name  TEXT,
    chat_template TEXT,
    tags          TEXT   NOT NULL,
    size_bytes    BIGINT NOT NULL,
    status        TEXT   NOT NULL,
    error         TEXT,
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL
);

CREATE TABLE model_tasks (
    id            TEXT   NOT NULL PRIMARY KEY,
    repo          TEXT   NOT NULL,
    filename      TEXT   NOT NULL,
    revision      TEXT,
    quantization  TEXT,
    chat_template TEXT,
    model         TEXT   NOT NULL,
    status        TEXT   NOT NULL,
    progress      DOUBLE PRECISION NOT NULL,
    error         TEXT,
    path          TEXT,
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL
);
