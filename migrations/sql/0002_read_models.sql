-- The read models: tables that may be dropped and built again from the log, each in its first version (`<name>_v1`), and
-- the stable views that bear the public names. `projections/` fills and queries them. Each has one row in
-- notification_tracking, under the name of its table: the position up to which it has the log.

-- The projector owns them, so that it can build later versions and repoint the views.
GRANT USAGE, CREATE ON SCHEMA public TO onrecord_projector;
SET LOCAL ROLE onrecord_projector;

CREATE TABLE messages_v1 (
    room_id text NOT NULL,
    id bigint NOT NULL,
    user_id text NOT NULL,
    content text,
    created_at timestamptz NOT NULL,
    reply_to bigint,
    mentions text[] NOT NULL,
    "position" bigint NOT NULL,
    key_id uuid,
    -- With the author in the index, unread messages are counted without a look at the table.
    PRIMARY KEY (room_id, id) INCLUDE (user_id)
);
COMMENT ON COLUMN messages_v1.id IS 'The number of the message in its room, which is the seq of its event';
COMMENT ON COLUMN messages_v1.content IS 'Null once erased';
COMMENT ON COLUMN messages_v1.key_id IS 'The key that the words are sealed with in the log; without it nobody is shown them';
CREATE INDEX messages_v1_created_at_idx ON messages_v1 (room_id, created_at);
CREATE INDEX messages_v1_mentions_idx ON messages_v1 (room_id, id) WHERE mentions <> '{}';

CREATE TABLE memberships_v1 (
    room_id text NOT NULL,
    user_id text NOT NULL,
    role text NOT NULL,
    joined_seq bigint NOT NULL,
    joined_at timestamptz NOT NULL,
    left_seq bigint,
    left_at timestamptz,
    PRIMARY KEY (room_id, user_id)
);
COMMENT ON TABLE memberships_v1 IS 'Who is, or was, in which room; whoever left has a left_seq and keeps the last role';
CREATE INDEX memberships_v1_user_idx ON memberships_v1 (user_id);

CREATE TABLE read_receipts_v1 (
    user_id text NOT NULL,
    room_id text NOT NULL,
    last_read_at timestamptz NOT NULL,
    last_read_message_id bigint NOT NULL,
    PRIMARY KEY (user_id, room_id)
) WITH (fillfactor = 70);
CREATE INDEX read_receipts_v1_room_idx ON read_receipts_v1 (room_id);

CREATE TABLE rooms_v1 (
    room_id text PRIMARY KEY,
    name text NOT NULL,
    visibility text NOT NULL,
    created_at timestamptz NOT NULL,
    created_by text NOT NULL,
    head bigint NOT NULL,
    last_message_id bigint,
    last_message_at timestamptz
) WITH (fillfactor = 50);
COMMENT ON COLUMN rooms_v1.head IS 'The seq of the room''s last event';

-- The views name their columns, so that a later version may have others and the views stay what they are. Words whose
-- key is destroyed do not show here, even before the table is purged of them.
CREATE VIEW messages AS
    SELECT m.id, m.room_id, m.user_id,
        CASE WHEN m.key_id IS NULL OR k.key_id IS NOT NULL THEN m.content END AS content,
        m.created_at, m.reply_to, m.mentions, m."position"
    FROM messages_v1 m LEFT JOIN person_keys k ON k.key_id = m.key_id;
CREATE VIEW memberships AS
    SELECT room_id, user_id, role, joined_seq, joined_at, left_seq, left_at FROM memberships_v1;
CREATE VIEW read_receipts AS
    SELECT user_id, room_id, last_read_at, last_read_message_id FROM read_receipts_v1;
CREATE VIEW rooms AS
    SELECT room_id, name, visibility, created_at, created_by, head, last_message_id, last_message_at FROM rooms_v1;

GRANT SELECT ON messages_v1, memberships_v1, read_receipts_v1, rooms_v1 TO onrecord_node;
GRANT SELECT ON messages, memberships, read_receipts, rooms TO onrecord_node;
RESET ROLE;

INSERT INTO notification_tracking (application_name, notification_id)
    VALUES ('messages_v1', 0), ('memberships_v1', 0), ('read_receipts_v1', 0), ('rooms_v1', 0);
