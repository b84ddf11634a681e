-- Whole indexes instead of partial ones: a partial index on `row` is written again with every batch,
-- because the column in its condition changes; a whole one only when the run changes its status.
DROP INDEX runs_opened;
DROP INDEX runs_status;
CREATE INDEX runs_opened ON runs (tenant, opened_at, run);
CREATE INDEX runs_status ON runs (tenant, status, opened_at, run);
