-- Documents beside the journal: credentials, sessions, kept answers, messages that wait to be sent.
CREATE TABLE documents (
  tenant TEXT NOT NULL,
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  version INTEGER NOT NULL,
  due INTEGER,
  body BLOB NOT NULL,
  PRIMARY KEY (tenant, kind, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX documents_due ON documents (kind, due) WHERE due IS NOT NULL;
