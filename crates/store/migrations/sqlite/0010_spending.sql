-- What keys with a budget have spent in the window of the calendar that began at `starts_at`, known up to `upto`.

CREATE TABLE key_spending (
    key_id    TEXT             NOT NULL PRIMARY KEY,
    starts_at BIGINT           NOT NULL,
    dollars   DOUBLE PRECISION NOT NULL,
    upto      BIGINT           NOT NULL
);
