-- One row for all events of one append, packed: few pages dirtied by a commit, few bytes kept for an event.
-- `seq` is that of the first event, `hash` that of the last. What older versions wrote is a batch of one
-- event as it is; its openings stay sealed as they were.
CREATE TABLE batches (
  tenant TEXT NOT NULL,
  run TEXT NOT NULL,
  seq INTEGER NOT NULL,
  hash BLOB NOT NULL,
  events BLOB NOT NULL,
  openings BLOB,
  PRIMARY KEY (tenant, run, seq)
) STRICT;
INSERT INTO batches (tenant, run, seq, hash, events, openings)
  SELECT tenant, run, seq, hash, CAST(x'00' || bytes AS BLOB), openings FROM events ORDER BY rowid;
DROP TABLE events;
UPDATE receipts SET envelope = CAST(x'00' || envelope AS BLOB);
