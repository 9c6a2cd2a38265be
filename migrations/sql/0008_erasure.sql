-- Erasing a person: the key is destroyed and that goes on the record, in one transaction and by one function, which is
-- the only way for a node to do either. What the log stores does not change (docs/decisions/0008-erasure.md).

-- A destroyed key keeps its row, empty: no other can be made in its place, and whoever reads finds nothing to open.
-- Where it is the one of scope '', the person is erased, and nothing is recorded by them any more.
ALTER TABLE person_keys
    ALTER COLUMN wrapped DROP NOT NULL,
    ADD COLUMN destroyed_at timestamptz,
    ADD CONSTRAINT person_keys_destroyed CHECK ((wrapped IS NULL) = (destroyed_at IS NOT NULL));
-- What was in a row is to leave the table's file soon, however few rows change.
ALTER TABLE person_keys SET (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0);
CREATE UNIQUE INDEX person_keys_erased_idx ON person_keys (person) WHERE scope = '' AND wrapped IS NULL;

-- As in 0001_log, where what it answers is told. A key counts as destroyed when its row is empty, and nobody is
-- recorded as doing anything after they were erased.
CREATE OR REPLACE FUNCTION chat_append(
    streams text[], stream_ids uuid[], users text[], command_refs text[], fingerprints bytea[],
    decided_on bigint[], guards text[], recording boolean[], known_heads bigint[], event_ends integer[],
    topics text[], subjects text[], states bytea[], key_ids uuid[]
) RETURNS TABLE (
    command integer, outcome text, seq bigint, "position" bigint, at timestamptz,
    stream text, topic text, subject text, recorded_by text, key_id uuid, wrapped bytea, state bytea
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    missing_rows_most CONSTANT integer := 1000;
    now_at timestamptz;
    stream_head bigint;
    event_from integer := 1;
    event_to integer;
    guarded text[];
    known record;
    appended bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(7236109);
    SELECT greatest(clock_timestamp(), max(last.recorded_at)) INTO now_at
        FROM (SELECT e.recorded_at FROM stored_events e ORDER BY e.notification_id DESC LIMIT 1) last;
    FOR i IN 1 .. cardinality(streams) LOOP
        command := i;
        outcome := NULL; seq := NULL; position := NULL; at := NULL;
        stream := NULL; topic := NULL; subject := NULL; recorded_by := NULL;
        key_id := NULL; wrapped := NULL; state := NULL;
        event_to := event_ends[i];
        SELECT coalesce(max(e.originator_version), 0) INTO stream_head
            FROM stored_events e WHERE e.originator_id = stream_ids[i];

        IF stream_head > known_heads[i] THEN
            RETURN QUERY SELECT i, 'missing', e.originator_version, e.notification_id, e.recorded_at,
                    e.stream, e.topic, e.subject, e.recorded_by, e.key_id, k.wrapped, e.state
                FROM stored_events e LEFT JOIN person_keys k ON k.key_id = e.key_id
                WHERE e.originator_id = stream_ids[i]
                    AND e.originator_version > known_heads[i] AND e.originator_version <= stream_head
                ORDER BY e.originator_version LIMIT missing_rows_most;
        END IF;

        SELECT r.* INTO known FROM refs r WHERE r.user_id = users[i] AND r.ref = command_refs[i];
        IF FOUND THEN
            outcome := CASE WHEN known.fingerprint = fingerprints[i] THEN 'known' ELSE 'conflict' END;
            stream := known.stream; seq := known.seq; at := known.recorded_at;
            RETURN NEXT;
            event_from := event_to + 1;
            CONTINUE;
        END IF;

        -- Sessions end after an erasure too, and that goes on the record.
        IF NOT starts_with(streams[i], 'session:') AND EXISTS (
            SELECT FROM person_keys k WHERE k.person = users[i] AND k.scope = '' AND k.wrapped IS NULL) THEN
            outcome := 'key_gone';
        END IF;
        FOR j IN event_from .. event_to LOOP
            IF key_ids[j] IS NOT NULL AND NOT EXISTS (
                SELECT FROM person_keys k WHERE k.key_id = key_ids[j] AND k.wrapped IS NOT NULL) THEN
                outcome := 'key_gone';
            END IF;
        END LOOP;
        IF outcome IS NULL AND stream_head <> decided_on[i] THEN
            guarded := string_to_array(guards[i], ' ');
            IF stream_head < decided_on[i] OR EXISTS (
                SELECT FROM stored_events e
                WHERE e.originator_id = stream_ids[i] AND e.originator_version > decided_on[i]
                    AND (e.subject = ANY (guarded) OR '*' = ANY (guarded)
                        OR ('user:*' = ANY (guarded) AND starts_with(e.subject, 'user:')))) THEN
                outcome := 'stale';
            END IF;
        END IF;
        IF outcome IS NULL AND NOT recording[i] THEN
            outcome := 'refused';
        END IF;
        IF outcome IS NOT NULL THEN
            RETURN NEXT;
            event_from := event_to + 1;
            CONTINUE;
        END IF;

        stream := streams[i];
        at := now_at;
        FOR j IN event_from .. event_to LOOP
            stream_head := stream_head + 1;
            subject := CASE WHEN subjects[j] = 'message:' THEN 'message:' || stream_head ELSE subjects[j] END;
            INSERT INTO stored_events (originator_id, originator_version, topic, state,
                    stream, subject, recorded_at, recorded_by, key_id)
                VALUES (stream_ids[i], stream_head, topics[j], states[j],
                    streams[i], subject, now_at, users[i], key_ids[j])
                RETURNING notification_id INTO appended;
            outcome := 'appended'; seq := stream_head; position := appended;
            RETURN NEXT;
        END LOOP;
        IF event_to < event_from THEN
            outcome := 'nothing'; seq := stream_head;
            RETURN NEXT;
        END IF;
        INSERT INTO refs (user_id, ref, fingerprint, stream, seq, recorded_at)
            VALUES (users[i], command_refs[i], fingerprints[i], streams[i], stream_head, now_at);
        event_from := event_to + 1;
    END LOOP;
    IF appended IS NOT NULL THEN
        PERFORM pg_notify('stored_events', appended::text);
    END IF;
END $$;

-- Erases a person: `erased` the first time, `known` ever after, with the position and time of PersonErased. `keys_gone`
-- is how many keys were destroyed. `stream_id` is that of the person's stream, `event` the stored event.
CREATE FUNCTION erase_person(person_id text, stream_id uuid, erased_by text, event bytea)
RETURNS TABLE (outcome text, "position" bigint, at timestamptz, keys_gone integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    stream text := 'person:' || person_id;
BEGIN
    PERFORM pg_advisory_xact_lock(7236109);
    SELECT 'known', e.notification_id, e.recorded_at, 0 INTO outcome, position, at, keys_gone
        FROM stored_events e WHERE e.originator_id = stream_id AND e.topic = 'person.PersonErased.v1';
    IF FOUND THEN
        RETURN NEXT;
        RETURN;
    END IF;
    -- First the event: whoever erases themselves still may.
    SELECT CASE a.outcome WHEN 'appended' THEN 'erased' ELSE a.outcome END, a.position, a.at
        INTO outcome, position, at
        FROM chat_append(
            ARRAY[stream], ARRAY[stream_id], ARRAY[erased_by], ARRAY['~erased:' || gen_random_uuid()], ARRAY[''::bytea],
            ARRAY[(SELECT coalesce(max(e.originator_version), 0) FROM stored_events e WHERE e.originator_id = stream_id)],
            ARRAY[''], ARRAY[true], ARRAY[NULL::bigint], ARRAY[1],
            ARRAY['person.PersonErased.v1'], ARRAY['user:' || person_id], ARRAY[event], ARRAY[NULL::uuid]) a;
    IF outcome <> 'erased' THEN
        RAISE EXCEPTION 'PersonErased could not be appended: %', outcome;
    END IF;
    UPDATE person_keys SET wrapped = NULL, destroyed_at = clock_timestamp()
        WHERE person = person_id AND wrapped IS NOT NULL;
    GET DIAGNOSTICS keys_gone = ROW_COUNT;
    -- Also where there was none; one that another node makes at this moment is waited for, and destroyed.
    INSERT INTO person_keys (key_id, person, destroyed_at) VALUES (gen_random_uuid(), person_id, clock_timestamp())
        ON CONFLICT (person, scope) DO UPDATE SET wrapped = NULL, destroyed_at = excluded.destroyed_at
        WHERE person_keys.wrapped IS NOT NULL;
    -- Their fingerprints were made of words.
    DELETE FROM refs WHERE user_id = person_id AND NOT starts_with(ref, '~');
    RETURN NEXT;
END $$;
REVOKE ALL ON FUNCTION erase_person FROM PUBLIC;
GRANT EXECUTE ON FUNCTION erase_person TO onrecord_node;

SET LOCAL ROLE onrecord_projector;
-- ANALYZE keeps samples of a column's values, which would outlive the rows.
ALTER TABLE messages_v2 ALTER COLUMN content SET STATISTICS 0;
ALTER TABLE rooms_v2 ALTER COLUMN topic SET STATISTICS 0;
CREATE OR REPLACE VIEW messages AS
    SELECT m.id, m.room_id, m.user_id,
        CASE WHEN m.key_id IS NULL OR k.wrapped IS NOT NULL THEN m.content END AS content,
        m.created_at, m.reply_to, m.mentions, m."position", m.edited_at, m.deleted_at, m.reactions, m.pinned
    FROM messages_v2 m LEFT JOIN person_keys k ON k.key_id = m.key_id;
CREATE OR REPLACE VIEW rooms AS
    SELECT r.room_id, r.name, r.visibility, r.created_at, r.created_by, r.head, r.last_message_id, r.last_message_at,
        CASE WHEN EXISTS (SELECT FROM stored_events e JOIN person_keys k ON k.key_id = e.key_id
            WHERE e.notification_id = r.topic_position AND k.wrapped IS NOT NULL) THEN r.topic END AS topic,
        r.archived
    FROM rooms_v2 r;
RESET ROLE;
