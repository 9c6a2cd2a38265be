-- Retention reaches back: what was said in a room before it had a rule is carried over, word by word, to keys that can
-- go day by day, and the key that it was under is destroyed. No stored event changes (docs/decisions/0010-retention.md).

-- Words of stored events that are under another key now: by the event's position, for each personal field the nonce and
-- ciphertext (base64). The commitment stays the stored event's.
CREATE TABLE carried_words (
    "position" bigint PRIMARY KEY,
    key_id uuid NOT NULL,
    sealed jsonb NOT NULL
);
-- How far in a room nothing is left under a person's key for everything.
CREATE TABLE reached_back (
    room_id uuid PRIMARY KEY,
    seq bigint NOT NULL
);
CREATE INDEX stored_events_rules_idx ON stored_events (originator_id, originator_version)
    WHERE topic = 'room.RoomRetentionChanged.v1';

-- The stored bytes of an event with its words as they were carried over.
CREATE FUNCTION carried_state(state bytea, key_id uuid, sealed jsonb) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT convert_to((stored.fields || (
        SELECT jsonb_object_agg(field, jsonb_build_object('k', key_id, 'h', stored.fields -> field -> 'h', 'c', c))
        FROM jsonb_each(sealed) AS words (field, c)))::text, 'UTF8')
    FROM (SELECT convert_from(state, 'UTF8')::jsonb AS fields) stored
$$;

-- The log as whoever has the keys reads it; `stored` are the bytes that the proof is of.
CREATE VIEW readable_events AS
    SELECT e.originator_id, e.originator_version, e.topic, e.notification_id, e.stream, e.subject,
        e.recorded_at, e.recorded_by,
        CASE WHEN c."position" IS NULL THEN e.state ELSE carried_state(e.state, c.key_id, c.sealed) END AS state,
        coalesce(c.key_id, e.key_id) AS key_id, e.state AS stored
    FROM stored_events e LEFT JOIN carried_words c ON c."position" = e.notification_id;

-- Whether a message's last words under a key that was replaced are under one that lives; `posted` is its position.
CREATE FUNCTION carried_words_live(posted bigint, message bigint, replaced uuid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT coalesce((
        SELECT k.wrapped IS NOT NULL
        FROM stored_events p
            JOIN stored_events e ON e.originator_id = p.originator_id
                AND e.subject = 'message:' || message AND e.key_id = replaced
            JOIN carried_words c ON c."position" = e.notification_id
            JOIN person_keys k ON k.key_id = c.key_id
        WHERE p.notification_id = posted
        ORDER BY e.originator_version DESC LIMIT 1), false)
$$;

-- Destroys a person's key for everything, once all that was sealed with it is carried over, and puts the one of the scope
-- `~next` in its place: `replaced`; `more` where something came after the position `upto` that is not carried over yet;
-- `held` where a legal hold protects that person's words, whoever says that they were carried over; `gone` where there is
-- no such key any more. `event` is the stored KeyReplaced.
CREATE FUNCTION replace_key(
    old_key uuid, upto bigint, retention_id uuid, replaced_by text, event bytea
) RETURNS TABLE (outcome text, "position" bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    whose text;
BEGIN
    PERFORM pg_advisory_xact_lock(7236109);
    SELECT k.person INTO whose FROM person_keys k JOIN person_keys next USING (person)
        WHERE k.key_id = old_key AND k.scope = '' AND k.wrapped IS NOT NULL
            AND next.scope = '~next' AND next.wrapped IS NOT NULL;
    outcome := CASE
        WHEN whose IS NULL THEN 'gone'
        WHEN held_against(whose) IS NOT NULL THEN 'held'
        WHEN EXISTS (
            SELECT FROM stored_events e WHERE e.notification_id > upto AND e.key_id = old_key
                AND NOT EXISTS (SELECT FROM carried_words c WHERE c.position = e.notification_id)) THEN 'more'
    END;
    IF outcome IS NOT NULL THEN
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT CASE a.outcome WHEN 'appended' THEN 'replaced' ELSE a.outcome END, a.position INTO outcome, position
        FROM chat_append(
            ARRAY['retention'], ARRAY[retention_id], ARRAY[replaced_by], ARRAY['~replaced:' || gen_random_uuid()],
            ARRAY[''::bytea], ARRAY[(
                SELECT coalesce(max(e.originator_version), 0) FROM stored_events e WHERE e.originator_id = retention_id)],
            ARRAY[''], ARRAY[true], ARRAY[NULL::bigint], ARRAY[1],
            ARRAY['retention.KeyReplaced.v1'], ARRAY['user:' || whose], ARRAY[event], ARRAY[NULL::uuid]) a;
    IF outcome <> 'replaced' THEN
        RAISE EXCEPTION 'KeyReplaced could not be appended: %', outcome;
    END IF;
    UPDATE person_keys SET wrapped = NULL, destroyed_at = clock_timestamp(), scope = '~' || old_key
        WHERE key_id = old_key;
    UPDATE person_keys SET scope = '' WHERE person = whose AND scope = '~next';
    RETURN NEXT;
END $$;

-- Two functions go on as they were but for one place each: appending tells a node what it lacks as it can be read now,
-- and what expires with a day is also what was carried over for it (scope `room/day+`).
DO $$
DECLARE
    changed record;
    before text;
BEGIN
    FOR changed IN SELECT * FROM (VALUES
        ('chat_append', 'FROM stored_events e LEFT JOIN person_keys k ON', 'FROM readable_events e LEFT JOIN person_keys k ON'),
        ('expire_content', 'to_char(last_day, ''YYYY-MM-DD'')', 'to_char(last_day, ''YYYY-MM-DD'') || ''~''')
    ) AS change (name, was, will_be) LOOP
        before := pg_get_functiondef(changed.name::regproc);
        IF length(before) - length(replace(before, changed.was, '')) <> length(changed.was) THEN
            RAISE EXCEPTION '% is not what this migration changes', changed.name;
        END IF;
        EXECUTE replace(before, changed.was, changed.will_be);
    END LOOP;
END $$;

REVOKE ALL ON FUNCTION replace_key FROM PUBLIC;
GRANT EXECUTE ON FUNCTION replace_key, held_against TO onrecord_node;
GRANT SELECT, INSERT ON carried_words TO onrecord_node;
GRANT SELECT, INSERT, UPDATE ON reached_back TO onrecord_node;
GRANT SELECT ON readable_events TO onrecord_node, onrecord_projector;

SET LOCAL ROLE onrecord_projector;
CREATE OR REPLACE VIEW messages AS
    SELECT m.id, m.room_id, m.user_id,
        CASE WHEN m.key_id IS NULL OR k.wrapped IS NOT NULL THEN m.content
            WHEN starts_with(k.scope, '~') AND carried_words_live(m."position", m.id, m.key_id) THEN m.content END AS content,
        m.created_at, m.reply_to, m.mentions, m."position", m.edited_at, m.deleted_at, m.reactions, m.pinned
    FROM messages_v2 m LEFT JOIN person_keys k ON k.key_id = m.key_id;
CREATE OR REPLACE VIEW rooms AS
    SELECT r.room_id, r.name, r.visibility, r.created_at, r.created_by, r.head, r.last_message_id, r.last_message_at,
        CASE WHEN EXISTS (SELECT FROM readable_events e JOIN person_keys k ON k.key_id = e.key_id
            WHERE e.notification_id = r.topic_position AND k.wrapped IS NOT NULL) THEN r.topic END AS topic,
        r.archived
    FROM rooms_v2 r;
RESET ROLE;
