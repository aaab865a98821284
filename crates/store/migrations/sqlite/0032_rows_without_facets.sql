-- What a combination says is said there alone: a row names it, and the view `records` has both.
DROP VIEW request_sums_now;

CREATE TABLE requests_slim (
    seq               INTEGER PRIMARY KEY,
    facet             BIGINT NOT NULL,
    id                TEXT   NOT NULL,
    started_at        BIGINT NOT NULL,
    duration_ms       BIGINT NOT NULL,
    first_byte_ms     BIGINT,
    client_ip         TEXT,
    dialect           TEXT   NOT NULL,
    path              TEXT   NOT NULL,
    provider          TEXT,
    attempts          BIGINT NOT NULL,
    error_code        TEXT,
    stream            BIGINT NOT NULL,
    prompt_tokens     BIGINT,
    completion_tokens BIGINT,
    cached_tokens     BIGINT,
    reasoning_tokens  BIGINT,
    usage_raw         TEXT,
    overhead_us       BIGINT,
    bytes_in          BIGINT NOT NULL,
    bytes_out         BIGINT NOT NULL,
    decision          TEXT,
    metadata          TEXT,
    cache             TEXT,
    bodies_segment    BIGINT,
    bodies_offset     BIGINT,
    cost_nano         BIGINT
);
INSERT INTO requests_slim
SELECT seq, facet, id, started_at, duration_ms, first_byte_ms, client_ip, dialect, path, provider, attempts, error_code, stream,
       prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens, usage_raw, overhead_us, bytes_in, bytes_out, decision, metadata,
       cache, bodies_segment, bodies_offset, cost_nano
FROM requests ORDER BY seq;
DROP TABLE requests;
ALTER TABLE requests_slim RENAME TO requests;

CREATE INDEX requests_by_id ON requests (id);
CREATE INDEX requests_by_start
    ON requests (started_at, facet, duration_ms, first_byte_ms, prompt_tokens, completion_tokens, cost_nano, cache);
CREATE TRIGGER feedback_goes AFTER DELETE ON requests BEGIN
    DELETE FROM feedback WHERE seq = old.seq;
END;

-- CROSS: rows are found first, and each one's combination by its number; never the other way about.
CREATE VIEW records AS
SELECT requests.*, nullif(key_id, '') AS key_id, nullif(key_name, '') AS key_name, nullif(model_requested, '') AS model_requested,
       nullif(model_served, '') AS model_served, nullif(target, '') AS target, nullif(node_id, '') AS node_id, outcome, status
FROM requests CROSS JOIN facets ON facets.id = facet;

CREATE VIEW request_sums_now AS
SELECT width, start, facet, requests, prompt_tokens, completion_tokens, cached_tokens, cost_nano, priced, unpriced FROM request_sums
UNION ALL
SELECT 1, started_at / 3600000, facet, 1, coalesce(prompt_tokens, 0), coalesce(completion_tokens, 0), coalesce(cached_tokens, 0),
       coalesce(cost_nano, 0), cost_nano IS NOT NULL,
       cost_nano IS NULL AND (coalesce(prompt_tokens, 0) > 0 OR coalesce(completion_tokens, 0) > 0)
FROM requests WHERE seq > (SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'requests_summed')
UNION ALL
SELECT 24, started_at / 86400000 * 24, facet, 1, coalesce(prompt_tokens, 0), coalesce(completion_tokens, 0), coalesce(cached_tokens, 0),
       coalesce(cost_nano, 0), cost_nano IS NOT NULL,
       cost_nano IS NULL AND (coalesce(prompt_tokens, 0) > 0 OR coalesce(completion_tokens, 0) > 0)
FROM requests WHERE seq > (SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'requests_summed');
