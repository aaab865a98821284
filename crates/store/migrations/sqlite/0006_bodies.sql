-- What is kept of the texts of requests and answers, beside their rows so that looking through those stays cheap. `*_cut`: it went on.
CREATE TABLE request_bodies (
    seq          INTEGER PRIMARY KEY,
    request      TEXT,
    response     TEXT,
    request_cut  BIGINT NOT NULL,
    response_cut BIGINT NOT NULL
);
CREATE TRIGGER request_bodies_go AFTER DELETE ON requests BEGIN
    DELETE FROM request_bodies WHERE seq = old.seq;
END;

-- What people and programs think of answers; one opinion of each about each.
CREATE TABLE feedback (
    seq             BIGINT NOT NULL,
    actor           TEXT   NOT NULL,
    score           DOUBLE PRECISION,
    label           TEXT,
    preferred_model TEXT,
    comment         TEXT,
    created_at      BIGINT NOT NULL,
    PRIMARY KEY (seq, actor)
);
CREATE TRIGGER feedback_goes AFTER DELETE ON requests BEGIN
    DELETE FROM feedback WHERE seq = old.seq;
END;
