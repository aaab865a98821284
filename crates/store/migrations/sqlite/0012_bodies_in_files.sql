-- Texts of requests stand in files beside the database; a row says where. Texts that stood in the table before are not taken over.
DROP TRIGGER request_bodies_go;
DROP TABLE request_bodies;
ALTER TABLE requests ADD COLUMN bodies_segment BIGINT;
ALTER TABLE requests ADD COLUMN bodies_offset BIGINT;

-- Which rows may point to a file: it goes when none of them is left.
CREATE TABLE body_segments (
    segment   BIGINT NOT NULL PRIMARY KEY,
    first_seq BIGINT NOT NULL,
    last_seq  BIGINT NOT NULL
);
