-- Texts of the configuration file as they were in force, sealed. Numbers are never given again.

CREATE TABLE config_versions (
    version INTEGER PRIMARY KEY AUTOINCREMENT,
    at      BIGINT  NOT NULL,
    origin  TEXT    NOT NULL,
    author  TEXT,
    comment TEXT,
    changes TEXT    NOT NULL,
    sealed  TEXT    NOT NULL
);
