-- The proof of the log: a Merkle tree over every stored event, and its signed checkpoints (docs/decisions/0007-proof.md).
-- Append-only by force, as the log itself. service/audit/sealer.py writes it and nobody else.

-- The keys that sign, one after the other. The secret is wrapped by the installation's key encryption key together with
-- the rest of the row, so a row that was put here without that key is known for what it is.
CREATE TABLE seal_keys (
    number integer PRIMARY KEY CHECK (number > 0),
    name text NOT NULL,
    public bytea NOT NULL CHECK (length(public) = 32),
    wrapped bytea NOT NULL,
    endorsement text CHECK ((endorsement IS NULL) = (number = 1))
);
COMMENT ON COLUMN seal_keys.endorsement IS 'A note in which the key before says that this one follows it';

-- What was sealed together: the leaves numbered from first up to, and without, size, each with its position and hash.
CREATE TABLE seals (
    size bigint PRIMARY KEY,
    first bigint NOT NULL UNIQUE CHECK (first >= 0 AND first < size),
    positions bigint[] NOT NULL CHECK (cardinality(positions) = size - first),
    hashes bytea NOT NULL CHECK (length(hashes) = 32 * (size - first)),
    checkpoint text NOT NULL
);
COMMENT ON COLUMN seals.first IS 'The size before. Unique, so that no two trees can grow from the same';
COMMENT ON COLUMN seals.checkpoint IS 'The signed note (C2SP tlog-checkpoint) of the tree of this size';
CREATE UNIQUE INDEX seals_last_position_idx ON seals ((positions[array_upper(positions, 1)]));
ALTER TABLE seals ALTER COLUMN hashes SET STORAGE EXTERNAL;  -- hashes do not compress

-- Perfect subtrees of 2^8, 2^16 ... leaves, so that a proof need not hash the whole tree again.
CREATE TABLE seal_nodes (
    level smallint NOT NULL CHECK (level > 0 AND level < 63 AND level % 8 = 0),
    number bigint NOT NULL CHECK (number >= 0),
    hash bytea NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (level, number)
);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON seals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON seal_nodes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
-- A new key encryption key wraps the secrets anew; nothing else about a key ever changes.
CREATE TRIGGER append_only BEFORE UPDATE OF number, name, public, endorsement OR DELETE OR TRUNCATE ON seal_keys
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE seals ENABLE ALWAYS TRIGGER append_only;
ALTER TABLE seal_nodes ENABLE ALWAYS TRIGGER append_only;
ALTER TABLE seal_keys ENABLE ALWAYS TRIGGER append_only;

GRANT SELECT, INSERT ON seal_keys, seals, seal_nodes TO onrecord_projector;
