-- Halts: the log of who put one up or lifted it, and those that stand, read before every dispatch.
CREATE TABLE halt_log (
  tenant TEXT NOT NULL,
  n INTEGER NOT NULL,
  hash BLOB NOT NULL,
  bytes BLOB NOT NULL,
  opening BLOB,
  PRIMARY KEY (tenant, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE halts (
  tenant TEXT NOT NULL,
  id TEXT NOT NULL,
  covers TEXT NOT NULL,
  PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;
