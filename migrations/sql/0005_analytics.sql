-- What analysts may read: a schema of stable views, and a role that can read them and nothing else.
--
-- The views stand on the public views, never on the tables of one version, and name their columns; so a read model may
-- get another version beneath them. Words whose key is destroyed do not show: the public view `messages` hides them.

SET LOCAL ROLE onrecord_projector;
CREATE TABLE activity_v1 (
    day date NOT NULL,
    room_id text NOT NULL,
    user_id text NOT NULL,
    messages bigint NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    PRIMARY KEY (day, room_id, user_id)
) WITH (fillfactor = 50);
COMMENT ON TABLE activity_v1 IS 'Messages written per UTC day, room and person; deleting takes nothing away';
CREATE INDEX activity_v1_room_idx ON activity_v1 (room_id, day);
CREATE VIEW activity AS
    SELECT day, room_id, user_id, messages, first_at, last_at FROM activity_v1;
GRANT SELECT ON activity_v1, activity TO onrecord_node;
RESET ROLE;
INSERT INTO notification_tracking (application_name, notification_id) VALUES ('activity_v1', 0);

-- Owned by the owner of the schema, not by the projector: a view reads with its owner's rights.
CREATE SCHEMA analytics;
COMMENT ON SCHEMA analytics IS 'What analysts may read: stable views of the read models, described in docs/analytics.md';

CREATE VIEW analytics.messages AS
    SELECT room_id, id AS message_id, user_id, content, created_at, reply_to, mentions FROM public.messages;
COMMENT ON VIEW analytics.messages IS 'Every message of every room, one row each';
COMMENT ON COLUMN analytics.messages.room_id IS 'The room it was posted in; rooms.room_id';
COMMENT ON COLUMN analytics.messages.message_id IS 'Its number in the room: rising, with gaps, since joins and the like are numbered too';
COMMENT ON COLUMN analytics.messages.user_id IS 'Who wrote it: the sub of the token';
COMMENT ON COLUMN analytics.messages.content IS 'The words as they now read; null once deleted or erased';
COMMENT ON COLUMN analytics.messages.created_at IS 'When it was recorded, by the database''s clock; never decreasing within a room';
COMMENT ON COLUMN analytics.messages.reply_to IS 'The message_id in the same room that it answers; null for most';
COMMENT ON COLUMN analytics.messages.mentions IS 'The user ids that it mentions, in the order in which they were given; often empty';

CREATE VIEW analytics.memberships AS
    SELECT room_id, user_id, role, joined_seq, joined_at, left_seq, left_at FROM public.memberships;
COMMENT ON VIEW analytics.memberships IS 'Who is, or was, in which room: one row per room and person, about the last time';
COMMENT ON COLUMN analytics.memberships.room_id IS 'The room; rooms.room_id';
COMMENT ON COLUMN analytics.memberships.user_id IS 'The person: the sub of the token';
COMMENT ON COLUMN analytics.memberships.role IS 'owner, moderator or member; after leaving, the last one';
COMMENT ON COLUMN analytics.memberships.joined_seq IS 'The number of the last join in the room';
COMMENT ON COLUMN analytics.memberships.joined_at IS 'When that was';
COMMENT ON COLUMN analytics.memberships.left_seq IS 'The number of the event that ended the membership; null for members';
COMMENT ON COLUMN analytics.memberships.left_at IS 'When that was; null for members';

CREATE VIEW analytics.read_receipts AS
    SELECT room_id, user_id, last_read_message_id, last_read_at FROM public.read_receipts;
COMMENT ON VIEW analytics.read_receipts IS 'How far each person has read in each room: one row each, none before the first';
COMMENT ON COLUMN analytics.read_receipts.room_id IS 'The room; rooms.room_id';
COMMENT ON COLUMN analytics.read_receipts.user_id IS 'The reader: the sub of the token';
COMMENT ON COLUMN analytics.read_receipts.last_read_message_id IS 'The furthest message read; messages.message_id in the same room';
COMMENT ON COLUMN analytics.read_receipts.last_read_at IS 'When it was recorded as read';

CREATE VIEW analytics.rooms AS
    SELECT room_id, name, visibility, created_at, created_by, head, last_message_id, last_message_at FROM public.rooms;
COMMENT ON VIEW analytics.rooms IS 'Every room that was ever opened';
COMMENT ON COLUMN analytics.rooms.room_id IS 'What clients call it';
COMMENT ON COLUMN analytics.rooms.name IS 'What people call it, at present';
COMMENT ON COLUMN analytics.rooms.visibility IS 'public, private or direct';
COMMENT ON COLUMN analytics.rooms.created_at IS 'When it was opened';
COMMENT ON COLUMN analytics.rooms.created_by IS 'Who opened it: the sub of the token';
COMMENT ON COLUMN analytics.rooms.head IS 'The number of its last event, which is how many it has';
COMMENT ON COLUMN analytics.rooms.last_message_id IS 'Its last message; null before the first';
COMMENT ON COLUMN analytics.rooms.last_message_at IS 'When that was recorded; null before the first';

CREATE VIEW analytics.daily_activity AS
    SELECT day, room_id, user_id, messages, first_at, last_at FROM public.activity;
COMMENT ON VIEW analytics.daily_activity IS 'Messages written per day, room and person; no row where there were none';
COMMENT ON COLUMN analytics.daily_activity.day IS 'The day in UTC';
COMMENT ON COLUMN analytics.daily_activity.room_id IS 'The room; rooms.room_id';
COMMENT ON COLUMN analytics.daily_activity.user_id IS 'Who wrote: the sub of the token';
COMMENT ON COLUMN analytics.daily_activity.messages IS 'How many; deleting or erasing later takes nothing away';
COMMENT ON COLUMN analytics.daily_activity.first_at IS 'When the first of them was recorded';
COMMENT ON COLUMN analytics.daily_activity.last_at IS 'When the last of them was recorded';

-- Roles belong to the whole server, so another database's migration may have made it.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'onrecord_analyst') THEN
        CREATE ROLE onrecord_analyst NOLOGIN;
    END IF;
END $$;
GRANT USAGE ON SCHEMA analytics TO onrecord_analyst;
GRANT SELECT ON ALL TABLES IN SCHEMA analytics TO onrecord_analyst;
