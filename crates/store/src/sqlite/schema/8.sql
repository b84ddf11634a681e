-- Dictionaries that the store made of its own events and receipts, see `dictionaries.rs`. What was packed
-- with one names it by the first bytes of the digest of its text. None is changed or taken away.
CREATE TABLE dictionaries (
  n INTEGER PRIMARY KEY,
  name BLOB NOT NULL UNIQUE,
  bytes BLOB NOT NULL
) STRICT;
