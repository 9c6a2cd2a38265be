-- The key encryption keys that wrap keys of people. A process that lacks one of them cannot tell a damaged key from one
-- that the key it lacks has wrapped (docs/decisions/0023-unreadable-events.md).

CREATE TABLE key_encryption_keys (
    identifier bytea PRIMARY KEY CHECK (length(identifier) = 16)
);
COMMENT ON TABLE key_encryption_keys IS 'The key encryption keys that wrap keys of people';
COMMENT ON COLUMN key_encryption_keys.identifier IS 'Derived from the key: shows which it is, and nothing of it';

GRANT SELECT, INSERT ON key_encryption_keys TO onrecord_node;
GRANT SELECT ON key_encryption_keys TO onrecord_projector;
