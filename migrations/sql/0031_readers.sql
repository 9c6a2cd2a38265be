-- What auditors and analysts look up (docs/decisions/0044-readers.md).

-- The rooms that a person was ever in, or was named in: only events about members pay for it. This locks the log against
-- appends while the log is read once.
CREATE INDEX stored_events_members_idx ON stored_events (subject, originator_id)
    WHERE starts_with(stream, 'room:') AND starts_with(subject, 'user:');

-- The people of the record, with the names that they have: see projections/profiles.py. Names are encrypted in the log, so
-- a projector fills the table, from the first event on.
SET LOCAL ROLE onrecord_projector;
CREATE TABLE read_models.profiles_v1 (
    user_id text PRIMARY KEY,
    name text,
    named_at timestamptz,
    first_at timestamptz NOT NULL,
    erased_at timestamptz
) WITH (fillfactor = 70);
COMMENT ON TABLE read_models.profiles_v1 IS 'The people of the record: everyone who had a name, was in a room or was erased';
-- ANALYZE would keep samples of names that erasure does not reach.
ALTER TABLE read_models.profiles_v1 ALTER COLUMN name SET STATISTICS 0;
CREATE VIEW read_models.profiles AS
    SELECT p.user_id,
        CASE WHEN NOT EXISTS (
            SELECT FROM public.open_keys k WHERE k.person = p.user_id AND k.scope = '' AND k.wrapped IS NULL)
            THEN p.name END AS name,
        p.named_at, p.first_at, p.erased_at
    FROM read_models.profiles_v1 p;
GRANT SELECT ON read_models.profiles_v1, read_models.profiles TO onrecord_node;

-- As in 0020_privacy, and why content is null.
CREATE OR REPLACE VIEW read_models.messages AS
    SELECT shown.id, shown.room_id, shown.user_id, shown.content, shown.created_at, shown.reply_to, shown.mentions,
        shown."position", shown.edited_at, shown.deleted_at, shown.reactions, shown.pinned,
        CASE WHEN shown.deleted_at IS NOT NULL THEN 'deleted'
            WHEN shown.content IS NOT NULL THEN NULL
            WHEN EXISTS (
                SELECT FROM public.open_keys k
                WHERE k.person = shown.user_id AND k.scope = '' AND k.wrapped IS NULL) THEN 'erased'
            WHEN shown.key_gone THEN 'expired'
            ELSE 'unreadable' END AS content_missing
    FROM (
        SELECT m.id, m.room_id, m.user_id,
            CASE WHEN m.key_id IS NULL OR k.wrapped IS NOT NULL THEN m.content
                WHEN starts_with(k.scope, '~') AND (
                    SELECT l.wrapped IS NOT NULL
                    FROM public.stored_events p
                        JOIN public.stored_events e ON e.originator_id = p.originator_id
                            AND e.subject = 'message:' || m.id
                        JOIN public.carried_words c ON c."position" = e.notification_id
                        JOIN public.open_keys l ON l.key_id = c.key_id
                    WHERE p.notification_id = m."position" AND (e.key_id = m.key_id OR EXISTS (
                        SELECT FROM public.carried_words before
                        WHERE before."position" = e.notification_id AND before.key_id = m.key_id))
                    ORDER BY e.originator_version DESC, l.wrapped IS NULL LIMIT 1) THEN m.content END AS content,
            m.created_at, m.reply_to, m.mentions, m."position", m.edited_at, m.deleted_at, m.reactions, m.pinned,
            m.key_id IS NOT NULL AND k.wrapped IS NULL AS key_gone
        FROM read_models.messages_v2 m LEFT JOIN public.open_keys k ON k.key_id = m.key_id) shown;
RESET ROLE;
INSERT INTO notification_tracking (application_name, notification_id) VALUES ('profiles_v1', 0) ON CONFLICT DO NOTHING;

-- Columns are added at the end of views; those that exist stay as they are.
CREATE OR REPLACE VIEW analytics.messages AS
    SELECT room_id, id AS message_id, user_id, content, created_at, reply_to, mentions, edited_at, deleted_at,
        content_missing
    FROM read_models.messages;
COMMENT ON COLUMN analytics.messages.content IS
    'The content as it reads now; null once deleted, expired or erased: see content_missing';
COMMENT ON COLUMN analytics.messages.edited_at IS 'When it was last edited; null if never';
COMMENT ON COLUMN analytics.messages.deleted_at IS 'When it was deleted; null if it was not';
COMMENT ON COLUMN analytics.messages.content_missing IS
    'Why content is null: deleted, expired (by the retention of the room), erased (with its author), or unreadable '
    '(damaged); null if there is content';

CREATE OR REPLACE VIEW analytics.rooms AS
    SELECT r.room_id, r.name, r.visibility, r.created_at, r.created_by, r.head, r.last_message_id, r.last_message_at,
        coalesce((SELECT sum(a.messages)::bigint FROM read_models.activity a WHERE a.room_id = r.room_id), 0) AS messages,
        (SELECT count(*) FROM read_models.memberships m WHERE m.room_id = r.room_id AND m.left_seq IS NULL) AS members
    FROM read_models.rooms r;
COMMENT ON COLUMN analytics.rooms.messages IS 'Messages ever posted in it, deleted ones included; never null';
COMMENT ON COLUMN analytics.rooms.members IS 'Its members at present; never null';

CREATE VIEW analytics.people AS
    SELECT user_id, name, named_at, first_at, erased_at FROM read_models.profiles;
COMMENT ON VIEW analytics.people IS 'Every person who ever had a name, was in a room or was erased, one row each';
COMMENT ON COLUMN analytics.people.user_id IS 'The person: the sub of the token';
COMMENT ON COLUMN analytics.people.name IS 'The display name at present; null if there is none, and for erased people';
COMMENT ON COLUMN analytics.people.named_at IS 'When that name was recorded; null if there never was one';
COMMENT ON COLUMN analytics.people.first_at IS 'When the person is first on the record, by name or as a member';
COMMENT ON COLUMN analytics.people.erased_at IS 'When the person was erased; null if they were not';

CREATE VIEW analytics.daily_totals AS
    SELECT day, sum(messages)::bigint AS messages, count(DISTINCT user_id) AS writers, count(DISTINCT room_id) AS rooms
    FROM read_models.activity GROUP BY day;
COMMENT ON VIEW analytics.daily_totals IS 'Messages, writers and rooms per day; no row where nothing was written';
COMMENT ON COLUMN analytics.daily_totals.day IS 'The day in UTC';
COMMENT ON COLUMN analytics.daily_totals.messages IS 'Messages written; a whole number, unlike the sum of bigint in SQL';
COMMENT ON COLUMN analytics.daily_totals.writers IS 'People who wrote at least one of them';
COMMENT ON COLUMN analytics.daily_totals.rooms IS 'Rooms in which at least one was written';

GRANT SELECT ON ALL TABLES IN SCHEMA analytics TO onrecord_analyst;
