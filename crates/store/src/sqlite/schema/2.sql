-- Runs by subject: for filters and for erasing everything about one customer.
CREATE TABLE subjects (
  tenant TEXT NOT NULL,
  subject TEXT NOT NULL,
  run TEXT NOT NULL,
  PRIMARY KEY (tenant, subject, run)
) STRICT, WITHOUT ROWID;
INSERT OR IGNORE INTO subjects (tenant, subject, run)
  SELECT runs.tenant, each.value, runs.run
  FROM runs, json_each(runs.row, '$.subjects') AS each
  WHERE runs.row IS NOT NULL;
