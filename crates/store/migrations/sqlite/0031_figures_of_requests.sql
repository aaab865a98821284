-- What a request took, used and cost stands in the index by which pages are found: a filter by it reads no row that it does not show.
DROP INDEX requests_by_start;
CREATE INDEX requests_by_start
    ON requests (started_at, facet, duration_ms, first_byte_ms, prompt_tokens, completion_tokens, cost_nano, cache);
