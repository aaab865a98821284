-- Counts by minute are read from this alone.
CREATE INDEX requests_by_start_outcome ON requests (started_at, outcome);
DROP INDEX requests_by_start;
