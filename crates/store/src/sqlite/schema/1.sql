-- Frozen: a released schema is never edited; later versions are files of their own.

-- A rowid table: rows of many runs land on the same last page, so a group commit dirties few pages.
CREATE TABLE events (
  tenant TEXT NOT NULL,
  run TEXT NOT NULL,
  seq INTEGER NOT NULL,
  kind TEXT NOT NULL,
  at INTEGER NOT NULL,
  hash BLOB NOT NULL,
  bytes BLOB NOT NULL,
  openings BLOB,
  PRIMARY KEY (tenant, run, seq)
) STRICT;

-- `erased_to`: openings of events below it are gone on purpose.
CREATE TABLE runs (
  tenant TEXT NOT NULL,
  run TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  next_seq INTEGER NOT NULL,
  head_hash BLOB NOT NULL,
  wake_at INTEGER,
  inbox_pending INTEGER NOT NULL DEFAULT 0,
  erased_to INTEGER NOT NULL DEFAULT 0,
  status TEXT,
  intent TEXT,
  pack TEXT,
  agent TEXT,
  opened_at INTEGER,
  row TEXT,
  PRIMARY KEY (tenant, run)
) STRICT, WITHOUT ROWID;
CREATE INDEX runs_due ON runs (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX runs_pending ON runs (tenant, run) WHERE inbox_pending > 0;
CREATE INDEX runs_opened ON runs (tenant, opened_at, run) WHERE row IS NOT NULL;
CREATE INDEX runs_status ON runs (tenant, status, opened_at, run) WHERE row IS NOT NULL;

CREATE TABLE inbox (
  tenant TEXT NOT NULL,
  run TEXT NOT NULL,
  signal_id TEXT NOT NULL,
  posted INTEGER NOT NULL,
  body BLOB,
  consumed INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant, run, signal_id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX inbox_order ON inbox (tenant, run, posted);

CREATE TABLE approvals (
  tenant TEXT NOT NULL,
  id TEXT NOT NULL,
  run TEXT NOT NULL,
  opened_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  row TEXT NOT NULL,
  state TEXT,
  closed_at INTEGER,
  PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX approvals_open ON approvals (tenant, expires_at, id) WHERE state IS NULL;
CREATE INDEX approvals_all ON approvals (tenant, opened_at, id);

CREATE TABLE exceptions (
  tenant TEXT NOT NULL,
  id TEXT NOT NULL,
  run TEXT NOT NULL,
  at INTEGER NOT NULL,
  row TEXT NOT NULL,
  closed_at INTEGER,
  PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX exceptions_open ON exceptions (tenant, at, id) WHERE closed_at IS NULL;
CREATE INDEX exceptions_all ON exceptions (tenant, at, id);

CREATE TABLE tokens (
  tenant TEXT NOT NULL,
  id TEXT NOT NULL,
  run TEXT NOT NULL,
  action INTEGER NOT NULL,
  undo TEXT NOT NULL,
  state TEXT NOT NULL,
  expires_at INTEGER NOT NULL,
  PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX tokens_run ON tokens (tenant, run, action, id);

CREATE TABLE receipts (
  tenant TEXT NOT NULL,
  id TEXT NOT NULL,
  run TEXT NOT NULL,
  idx INTEGER NOT NULL,
  action INTEGER,
  log_index INTEGER NOT NULL,
  leaf BLOB NOT NULL,
  envelope BLOB NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (tenant, id)
) STRICT;
CREATE UNIQUE INDEX receipts_log ON receipts (tenant, log_index);
CREATE UNIQUE INDEX receipts_run ON receipts (tenant, run, idx);

CREATE TABLE checkpoints (
  tenant TEXT NOT NULL,
  size INTEGER NOT NULL,
  root BLOB NOT NULL,
  note BLOB NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (tenant, size)
) STRICT, WITHOUT ROWID;

-- `name` is a run id or `blob:<hex digest>`.
CREATE TABLE keys (
  tenant TEXT NOT NULL,
  name TEXT NOT NULL,
  key BLOB NOT NULL,
  PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE blobs (
  tenant TEXT NOT NULL,
  digest BLOB NOT NULL,
  bytes BLOB NOT NULL,
  PRIMARY KEY (tenant, digest)
) STRICT;
