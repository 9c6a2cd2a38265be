-- The read models of every chat action, in their second version. The log holds none of the new events yet, since no
-- earlier version could write them: so each row of a first version becomes one of the second as it is, with its
-- table's position, and nothing has to be built again.

SET LOCAL ROLE onrecord_projector;
-- No projector may move a first version while it is carried over.
LOCK TABLE messages_v1, memberships_v1, rooms_v1 IN ACCESS EXCLUSIVE MODE;

CREATE TABLE messages_v2 (
    room_id text NOT NULL,
    id bigint NOT NULL,
    user_id text NOT NULL,
    content text,
    created_at timestamptz NOT NULL,
    reply_to bigint,
    mentions text[] NOT NULL,
    "position" bigint NOT NULL,
    key_id uuid,
    changed_seq bigint NOT NULL,
    edited_at timestamptz,
    deleted_at timestamptz,
    reactions jsonb NOT NULL,
    pinned boolean NOT NULL,
    -- With author and deletion in the index, unread messages are counted without a look at the table.
    PRIMARY KEY (room_id, id) INCLUDE (user_id, deleted_at)
);
COMMENT ON COLUMN messages_v2.id IS 'The number of the message in its room, which is the seq of its event';
COMMENT ON COLUMN messages_v2.content IS 'As last edited; null once deleted or erased';
COMMENT ON COLUMN messages_v2.key_id IS 'The key that the words are sealed with in the log; without it nobody is shown them';
COMMENT ON COLUMN messages_v2.changed_seq IS 'The seq of the last event about the message';
COMMENT ON COLUMN messages_v2.reactions IS 'A list of {emoji, users}, both in the order in which they came';
INSERT INTO messages_v2
    SELECT room_id, id, user_id, content, created_at, reply_to, mentions, "position", key_id, id, NULL, NULL, '[]', false
    FROM messages_v1;
CREATE INDEX messages_v2_created_at_idx ON messages_v2 (room_id, created_at);
CREATE INDEX messages_v2_mentions_idx ON messages_v2 (room_id, id) WHERE mentions <> '{}';

CREATE TABLE memberships_v2 (
    room_id text NOT NULL,
    user_id text NOT NULL,
    role text,
    joined_seq bigint,
    joined_at timestamptz,
    left_seq bigint,
    left_at timestamptz,
    left_how text,
    invited_at timestamptz,
    invited_by text,
    banned boolean NOT NULL,
    banned_until timestamptz,
    muted boolean NOT NULL,
    muted_until timestamptz,
    PRIMARY KEY (room_id, user_id)
);
COMMENT ON TABLE memberships_v2 IS
    'What somebody is to a room: member, former member (left_seq), invited, banned; joined_seq is null for who never was in';
COMMENT ON COLUMN memberships_v2.left_how IS 'left, kicked or banned';
COMMENT ON COLUMN memberships_v2.banned_until IS 'Null for good; a time that has passed counts as no ban, and so with muted_until';
INSERT INTO memberships_v2
    SELECT room_id, user_id, role, joined_seq, joined_at, left_seq, left_at, CASE WHEN left_seq IS NOT NULL THEN 'left' END,
        NULL, NULL, false, NULL, false, NULL
    FROM memberships_v1;
CREATE INDEX memberships_v2_user_idx ON memberships_v2 (user_id);

CREATE TABLE rooms_v2 (
    room_id text PRIMARY KEY,
    name text NOT NULL,
    visibility text NOT NULL,
    created_at timestamptz NOT NULL,
    created_by text NOT NULL,
    head bigint NOT NULL,
    last_message_id bigint,
    last_message_at timestamptz,
    topic text,
    topic_position bigint,
    archived boolean NOT NULL
) WITH (fillfactor = 50);
COMMENT ON COLUMN rooms_v2.head IS 'The seq of the room''s last event';
COMMENT ON COLUMN rooms_v2.topic_position IS 'The position of the event that said the topic';
INSERT INTO rooms_v2
    SELECT room_id, name, visibility, created_at, created_by, head, last_message_id, last_message_at, NULL, NULL, false
    FROM rooms_v1;

CREATE OR REPLACE VIEW messages AS
    SELECT m.id, m.room_id, m.user_id,
        CASE WHEN m.key_id IS NULL OR k.key_id IS NOT NULL THEN m.content END AS content,
        m.created_at, m.reply_to, m.mentions, m."position", m.edited_at, m.deleted_at, m.reactions, m.pinned
    FROM messages_v2 m LEFT JOIN person_keys k ON k.key_id = m.key_id;
-- Those who are or were in; who only is invited or banned stands in the views below.
CREATE OR REPLACE VIEW memberships AS
    SELECT room_id, user_id, role, joined_seq, joined_at, left_seq, left_at, left_how, muted, muted_until
    FROM memberships_v2 WHERE joined_seq IS NOT NULL;
CREATE VIEW invitations AS
    SELECT room_id, user_id, invited_at, invited_by FROM memberships_v2 WHERE invited_at IS NOT NULL;
CREATE VIEW bans AS
    SELECT room_id, user_id, banned_until FROM memberships_v2 WHERE banned;
CREATE OR REPLACE VIEW rooms AS
    SELECT r.room_id, r.name, r.visibility, r.created_at, r.created_by, r.head, r.last_message_id, r.last_message_at,
        CASE WHEN EXISTS (SELECT FROM stored_events e JOIN person_keys k ON k.key_id = e.key_id
            WHERE e.notification_id = r.topic_position) THEN r.topic END AS topic,
        r.archived
    FROM rooms_v2 r;

DROP TABLE messages_v1, memberships_v1, rooms_v1;
GRANT SELECT ON messages_v2, memberships_v2, rooms_v2, invitations, bans TO onrecord_node;
RESET ROLE;

UPDATE notification_tracking SET application_name = replace(application_name, '_v1', '_v2')
    WHERE application_name IN ('messages_v1', 'memberships_v1', 'rooms_v1');
