-- What requests have in common, each combination once; '' where there was none. Nothing here goes with the rows: sums stay.
CREATE TABLE facets (
    id              INTEGER PRIMARY KEY,
    key_id          TEXT   NOT NULL,
    key_name        TEXT   NOT NULL,
    model_requested TEXT   NOT NULL,
    model_served    TEXT   NOT NULL,
    target          TEXT   NOT NULL,
    node_id         TEXT   NOT NULL,
    outcome         TEXT   NOT NULL,
    price_version   TEXT   NOT NULL,
    status          BIGINT NOT NULL,
    remembered      BIGINT NOT NULL,
    UNIQUE (key_id, key_name, model_requested, model_served, target, node_id, outcome, price_version, status, remembered)
);

-- Sums by the hour (width 1) and by the day (width 24) of the start; `start` is in hours since 1970. Costs in billionths of a dollar.
CREATE TABLE request_sums (
    width             BIGINT NOT NULL,
    start             BIGINT NOT NULL,
    facet             BIGINT NOT NULL,
    requests          BIGINT NOT NULL,
    prompt_tokens     BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    cached_tokens     BIGINT NOT NULL,
    cost_nano         BIGINT NOT NULL,
    priced            BIGINT NOT NULL,
    unpriced          BIGINT NOT NULL,
    PRIMARY KEY (width, start, facet)
) WITHOUT ROWID;

-- Counts by the minute of the start, for the last hours only.
CREATE TABLE request_minutes (
    minute    INTEGER PRIMARY KEY,
    successes BIGINT NOT NULL,
    errors    BIGINT NOT NULL
);

-- What was charged for, and since when (unix milliseconds).
CREATE TABLE price_books (
    version TEXT   NOT NULL PRIMARY KEY,
    since   BIGINT NOT NULL,
    prices  TEXT   NOT NULL
);

ALTER TABLE requests ADD COLUMN facet BIGINT;
ALTER TABLE requests ADD COLUMN cost_nano BIGINT;

INSERT INTO facets (key_id, key_name, model_requested, model_served, target, node_id, outcome, price_version, status, remembered)
SELECT DISTINCT coalesce(key_id, ''), coalesce(key_name, ''), coalesce(model_requested, ''), coalesce(model_served, ''), coalesce(target, ''),
       coalesce(node_id, ''), outcome, '', status, coalesce(cache IN ('hit', 'replayed'), 0)
FROM requests;

UPDATE requests SET facet = (
    SELECT id FROM facets AS f
    WHERE f.key_id = coalesce(requests.key_id, '') AND f.key_name = coalesce(requests.key_name, '')
      AND f.model_requested = coalesce(requests.model_requested, '') AND f.model_served = coalesce(requests.model_served, '')
      AND f.target = coalesce(requests.target, '') AND f.node_id = coalesce(requests.node_id, '') AND f.outcome = requests.outcome
      AND f.price_version = '' AND f.status = requests.status AND f.remembered = coalesce(requests.cache IN ('hit', 'replayed'), 0)
);

-- Pages are found, and their records counted, in this alone.
DROP INDEX requests_by_start_outcome;
CREATE INDEX requests_by_start ON requests (started_at, facet);

INSERT INTO request_sums
SELECT 1, started_at / 3600000, facet, count(*), coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0),
       coalesce(sum(cached_tokens), 0), 0, 0, sum(coalesce(prompt_tokens, 0) + coalesce(completion_tokens, 0) > 0)
FROM requests GROUP BY 2, 3;

INSERT INTO request_sums
SELECT 24, start / 24 * 24, facet, sum(requests), sum(prompt_tokens), sum(completion_tokens), sum(cached_tokens), 0, 0, sum(unpriced)
FROM request_sums WHERE width = 1 GROUP BY 2, 3;

INSERT INTO request_minutes
SELECT started_at / 60000, sum(outcome = 'success'), sum(outcome = 'error')
FROM requests WHERE started_at >= (SELECT max(started_at) FROM requests) - 86400000 GROUP BY 1;
