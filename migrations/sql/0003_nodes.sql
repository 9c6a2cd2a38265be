-- Nodes and who is connected to them: what a node's death leaves open can be closed on the record by any other node.
-- Operational tables, not part of the record: `service/log/leases.py` and `service/log/visits.py` own them.

-- A node's life, from its start (or from finding itself fenced) to its end. All times are the database's clock.
CREATE TABLE incarnations (
    incarnation uuid PRIMARY KEY,
    node text NOT NULL,
    started_at timestamptz NOT NULL,
    renewed_at timestamptz NOT NULL,
    unbroken_since timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    fenced_at timestamptz,
    fenced_by uuid,
    ended_at timestamptz
) WITH (fillfactor = 50);
COMMENT ON COLUMN incarnations.unbroken_since IS 'Since when every renewal came in time; only who has this for a whole lease judges others';
COMMENT ON COLUMN incarnations.fenced_at IS 'When another node found the lease run out. Final: such a node takes a new incarnation';

-- Written before SessionOpened is appended, deleted after SessionClosed is on the record.
CREATE TABLE open_sessions (
    session_id uuid PRIMARY KEY,
    incarnation uuid NOT NULL REFERENCES incarnations,
    user_id text NOT NULL
);
CREATE INDEX open_sessions_incarnation_idx ON open_sessions (incarnation);

GRANT SELECT, INSERT, UPDATE, DELETE ON incarnations TO onrecord_node;
GRANT SELECT, INSERT, DELETE ON open_sessions TO onrecord_node;
