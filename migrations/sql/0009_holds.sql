-- Legal holds: while one is on a person or a room, nothing of theirs is made unreadable. Placing and releasing is on the
-- record, in the stream `holds`; this table is what the record says is in force, changed with it in one transaction.

CREATE TABLE holds (
    subject text PRIMARY KEY CHECK (subject ~ '^(room|user):'),
    stream_id uuid CHECK ((stream_id IS NOT NULL) = starts_with(subject, 'room:'))
);
COMMENT ON COLUMN holds.stream_id IS 'The stream of the room that is held';

-- Places a hold or releases one: `changed` with the position and time of its event, or `nothing` where it is so already.
-- `holds_id` is the stream of holds, `room_id` that of the room, null for a person; `event` the stored event.
CREATE FUNCTION change_hold(
    held_subject text, room_id uuid, holds_id uuid, changed_by text, to_hold boolean, event bytea
) RETURNS TABLE (outcome text, "position" bigint, at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    topic text := CASE WHEN to_hold THEN 'hold.HoldPlaced.v1' ELSE 'hold.HoldReleased.v1' END;
BEGIN
    PERFORM pg_advisory_xact_lock(7236109);
    IF EXISTS (SELECT FROM holds h WHERE h.subject = held_subject) = to_hold THEN
        outcome := 'nothing';
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT CASE a.outcome WHEN 'appended' THEN 'changed' ELSE a.outcome END, a.position, a.at
        INTO outcome, position, at
        FROM chat_append(
            ARRAY['holds'], ARRAY[holds_id], ARRAY[changed_by], ARRAY['~hold:' || gen_random_uuid()], ARRAY[''::bytea],
            ARRAY[(SELECT coalesce(max(e.originator_version), 0) FROM stored_events e WHERE e.originator_id = holds_id)],
            ARRAY[''], ARRAY[true], ARRAY[NULL::bigint], ARRAY[1],
            ARRAY[topic], ARRAY[held_subject], ARRAY[event], ARRAY[NULL::uuid]) a;
    IF outcome <> 'changed' THEN
        RAISE EXCEPTION '% could not be appended: %', topic, outcome;
    END IF;
    IF to_hold THEN
        INSERT INTO holds (subject, stream_id) VALUES (held_subject, room_id);
    ELSE
        DELETE FROM holds WHERE subject = held_subject;
    END IF;
    RETURN NEXT;
END $$;

-- The subject of a hold that protects a person's words: on themselves, or on a room that they were ever in.
CREATE FUNCTION held_against(person_id text) RETURNS text LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT h.subject FROM holds h
    WHERE h.subject = 'user:' || person_id OR EXISTS (
        SELECT FROM stored_events e
        WHERE e.originator_id = h.stream_id AND e.subject = 'user:' || person_id AND e.topic = 'room.MemberJoined.v1')
    ORDER BY starts_with(h.subject, 'user:') DESC, h.subject LIMIT 1
$$;

DROP FUNCTION erase_person;
-- As before, and `held` with the subject of a hold that is in the way. `stream_id` is that of the person's stream, `event` the stored event.
CREATE FUNCTION erase_person(person_id text, stream_id uuid, erased_by text, event bytea)
RETURNS TABLE (outcome text, "position" bigint, at timestamptz, keys_gone integer, held text)
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
    held := held_against(person_id);
    IF held IS NOT NULL THEN
        outcome := 'held';
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

REVOKE ALL ON FUNCTION change_hold, held_against FROM PUBLIC;
GRANT EXECUTE ON FUNCTION change_hold TO onrecord_node;
GRANT SELECT ON holds TO onrecord_node;
