-- Where users' own unread counts begin after they marked messages as unread. No event of the log before this migration
-- belongs in the table, so it has the log up to its end (docs/decisions/0040-mark-as-unread.md).

SET LOCAL ROLE onrecord_projector;
CREATE TABLE read_models.unread_markers_v1 (
    user_id text NOT NULL,
    room_id text NOT NULL,
    message_id bigint NOT NULL,
    marker bigint NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (user_id, room_id)
) WITH (fillfactor = 70);
COMMENT ON TABLE read_models.unread_markers_v1 IS 'Where unread counts begin of users who marked messages as unread';
COMMENT ON COLUMN read_models.unread_markers_v1.message_id IS 'The unread count begins after this number of the room';
COMMENT ON COLUMN read_models.unread_markers_v1.marker IS 'The read marker then; the row counts until the read marker is past it';
COMMENT ON COLUMN read_models.unread_markers_v1.seq IS 'The number of the event in the stream of the reader';
CREATE INDEX unread_markers_v1_room_idx ON read_models.unread_markers_v1 (room_id);
GRANT SELECT ON read_models.unread_markers_v1 TO onrecord_node;
RESET ROLE;

INSERT INTO notification_tracking (application_name, notification_id)
    SELECT 'unread_markers_v1', coalesce(max(notification_id), 0) FROM stored_events;
