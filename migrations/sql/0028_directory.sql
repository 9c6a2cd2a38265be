-- The public rooms with their members, so that a directory can be listed and searched. A projector fills the table from
-- the beginning of the log; until then the directory is refused as too far behind.

SET LOCAL ROLE onrecord_projector;
CREATE TABLE read_models.directory_v1 (
    room_id text NOT NULL,
    user_id text NOT NULL,
    sought text,
    listed boolean,
    members bigint,
    PRIMARY KEY (room_id, user_id)
) WITH (fillfactor = 80);
COMMENT ON TABLE read_models.directory_v1 IS 'The public rooms, a row for each and one for each present member of it';
COMMENT ON COLUMN read_models.directory_v1.user_id IS 'A present member; the room''s own row has ''''';
COMMENT ON COLUMN read_models.directory_v1.sought IS 'The room''s name as it is searched and sorted: cleaned, case-folded, in its first 200 code points';
COMMENT ON COLUMN read_models.directory_v1.listed IS 'Whether the room is not archived';
COMMENT ON COLUMN read_models.directory_v1.members IS 'How many members the room has';
CREATE INDEX directory_v1_listed_idx ON read_models.directory_v1 (sought COLLATE "C", room_id COLLATE "C") WHERE listed;
GRANT SELECT ON read_models.directory_v1 TO onrecord_node;
RESET ROLE;

INSERT INTO notification_tracking (application_name, notification_id) VALUES ('directory_v1', 0) ON CONFLICT DO NOTHING;
