-- What remembered answers had to do with a request: hit, miss or replayed; nothing where they had none.
ALTER TABLE requests ADD COLUMN cache TEXT;
