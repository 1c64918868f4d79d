-- When the next message that looks for leases that ran out is due: one is enough for all.

CREATE TABLE watch (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  at INTEGER NOT NULL DEFAULT 0
);
INSERT INTO watch (id) VALUES (1);
