-- Sums are written after many rows at a time: those of the rows since the last time are read from the rows themselves.
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

INSERT INTO meta (name, value) SELECT 'requests_summed', CAST(coalesce(max(seq), 0) AS TEXT) FROM requests;
