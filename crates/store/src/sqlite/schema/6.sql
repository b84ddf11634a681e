-- What runs are found by: of each facet (a status, an intent, a pack in its version, an agent, a subject,
-- an operation) the runs that have it, in the order of lists, so that lists under several filters are
-- intersections of sorted sequences. A facet belongs to one tenant and is found by it only.
CREATE TABLE facets (
  tenant TEXT NOT NULL,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  id INTEGER NOT NULL,
  PRIMARY KEY (tenant, kind, name)
) STRICT, WITHOUT ROWID;

-- The last id given; one row.
CREATE TABLE facets_last (id INTEGER NOT NULL) STRICT;

-- `run`: the sixteen bytes of a run's hash; its text where it is none.
CREATE TABLE facet_runs (
  facet INTEGER NOT NULL,
  opened_at INTEGER NOT NULL,
  run ANY NOT NULL,
  PRIMARY KEY (facet, opened_at, run)
) STRICT, WITHOUT ROWID;

CREATE TEMP TABLE found AS
  WITH listed AS (
    SELECT tenant, run, opened_at, status, intent, pack, agent FROM runs
    WHERE row IS NOT NULL AND opened_at IS NOT NULL
  )
  SELECT tenant, 'status' AS kind, status AS name, opened_at, run FROM listed
  UNION ALL SELECT tenant, 'intent', intent, opened_at, run FROM listed
  UNION ALL SELECT tenant, 'pack', pack, opened_at, run FROM listed
  UNION ALL SELECT tenant, 'agent', agent, opened_at, run FROM listed
  UNION ALL SELECT listed.tenant, 'subject', subjects.subject, opened_at, listed.run
    FROM subjects JOIN listed ON listed.tenant = subjects.tenant AND listed.run = subjects.run
  UNION ALL SELECT DISTINCT listed.tenant, 'operation',
      json_extract(CAST(events.bytes AS TEXT), '$.body.operation'), opened_at, listed.run
    FROM events JOIN listed ON listed.tenant = events.tenant AND listed.run = events.run
    WHERE events.kind = 'proposed';
INSERT INTO facets (tenant, kind, name, id)
  SELECT tenant, kind, name, row_number() OVER (ORDER BY tenant, kind, name)
  FROM (SELECT DISTINCT tenant, kind, name FROM temp.found);
INSERT INTO facets_last (id) SELECT count(*) FROM facets;
INSERT OR IGNORE INTO facet_runs (facet, opened_at, run)
  SELECT facets.id, found.opened_at, coalesce(
    CASE WHEN length(found.run) = 36 AND substr(found.run, 5) NOT GLOB '*[^0-9a-f]*'
      THEN unhex(substr(found.run, 5)) END,
    found.run)
  FROM temp.found AS found JOIN facets USING (tenant, kind, name)
  ORDER BY 1, 2, 3;
DROP TABLE temp.found;

-- Lists and erasing go by the facets now.
DROP INDEX runs_opened;
DROP INDEX runs_status;
DROP TABLE subjects;
