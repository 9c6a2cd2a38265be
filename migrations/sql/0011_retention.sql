-- Retention: the keys of what was said in a room on a day are destroyed when its time is over, on the record, by one
-- function, which goes by the room's own rule on the record and by the database's clock, and not by what a node says.

CREATE INDEX person_keys_scope_idx ON person_keys (scope) WHERE scope <> '' AND wrapped IS NOT NULL;
CREATE INDEX person_keys_destroyed_idx ON person_keys (destroyed_at) WHERE destroyed_at IS NOT NULL;

-- Destroys the keys of what was said in a room up to and including a day: `expired` with the position and time of
-- ContentExpired and how many keys it were; `nothing` where there are none; `early` where the room's rule does not let
-- them go yet; `held` where a legal hold is on the room. Keys of people on whom one is are passed over.
CREATE FUNCTION expire_content(
    room text, room_id uuid, last_day date, retention_id uuid, expired_by text, event bytea
) RETURNS TABLE (outcome text, "position" bigint, at timestamptz, keys_gone integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    days integer;
BEGIN
    PERFORM pg_advisory_xact_lock(7236109);
    keys_gone := 0;
    SELECT (convert_from(e.state, 'UTF8')::jsonb ->> 'days')::integer INTO days
        FROM stored_events e
        WHERE e.originator_id = room_id AND e.subject = 'settings' AND e.topic = 'room.RoomRetentionChanged.v1'
        ORDER BY e.originator_version DESC LIMIT 1;
    outcome := CASE
        WHEN days IS NULL OR last_day + days >= (clock_timestamp() AT TIME ZONE 'UTC')::date THEN 'early'
        WHEN EXISTS (SELECT FROM holds h WHERE h.subject = 'room:' || room) THEN 'held'
    END;
    IF outcome IS NOT NULL THEN
        RETURN NEXT;
        RETURN;
    END IF;
    UPDATE person_keys k SET wrapped = NULL, destroyed_at = clock_timestamp()
        WHERE k.scope <> '' AND k.wrapped IS NOT NULL
            AND k.scope COLLATE "C" BETWEEN room || '/' AND room || '/' || to_char(last_day, 'YYYY-MM-DD')
            AND NOT EXISTS (SELECT FROM holds h WHERE h.subject = 'user:' || k.person);
    GET DIAGNOSTICS keys_gone = ROW_COUNT;
    IF keys_gone = 0 THEN
        outcome := 'nothing';
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT CASE a.outcome WHEN 'appended' THEN 'expired' ELSE a.outcome END, a.position, a.at
        INTO outcome, position, at
        FROM chat_append(
            ARRAY['retention'], ARRAY[retention_id], ARRAY[expired_by], ARRAY['~expired:' || gen_random_uuid()],
            ARRAY[''::bytea], ARRAY[(
                SELECT coalesce(max(e.originator_version), 0) FROM stored_events e WHERE e.originator_id = retention_id)],
            ARRAY[''], ARRAY[true], ARRAY[NULL::bigint], ARRAY[1],
            ARRAY['retention.ContentExpired.v1'], ARRAY['room:' || room], ARRAY[event], ARRAY[NULL::uuid]) a;
    IF outcome <> 'expired' THEN
        RAISE EXCEPTION 'ContentExpired could not be appended: %', outcome;
    END IF;
    RETURN NEXT;
END $$;
REVOKE ALL ON FUNCTION expire_content FROM PUBLIC;
GRANT EXECUTE ON FUNCTION expire_content TO onrecord_node;
