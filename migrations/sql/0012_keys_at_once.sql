-- Which authors are erased and which keys are destroyed is looked up once for a batch, not for each command and event.

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
    erased text[];
    dead_keys uuid[];
BEGIN
    PERFORM pg_advisory_xact_lock(7236109);
    -- Keys are destroyed under the same lock, so what is so now is so for the whole batch.
    SELECT array_agg(k.person) INTO erased
        FROM person_keys k WHERE k.scope = '' AND k.wrapped IS NULL AND k.person = ANY (users);
    SELECT array_agg(used.id) INTO dead_keys
        FROM unnest(key_ids) AS used (id) LEFT JOIN person_keys k ON k.key_id = used.id AND k.wrapped IS NOT NULL
        WHERE used.id IS NOT NULL AND k.key_id IS NULL;
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
            outcome := CASE WHEN known.fingerprint = fingerprints[i] OR (
                length(known.fingerprint) = 16 AND position(known.fingerprint IN fingerprints[i]) > 0)
                THEN 'known' ELSE 'conflict' END;
            stream := known.stream; seq := known.seq; at := known.recorded_at;
            RETURN NEXT;
            event_from := event_to + 1;
            CONTINUE;
        END IF;

        -- Sessions end after an erasure too, and that goes on the record.
        IF users[i] = ANY (erased) AND NOT starts_with(streams[i], 'session:') THEN
            outcome := 'key_gone';
        END IF;
        IF dead_keys IS NOT NULL THEN
            FOR j IN event_from .. event_to LOOP
                IF key_ids[j] = ANY (dead_keys) THEN
                    outcome := 'key_gone';
                END IF;
            END LOOP;
        END IF;
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
            VALUES (users[i], command_refs[i], substr(fingerprints[i], 1, 16), streams[i], stream_head, now_at);
        event_from := event_to + 1;
    END LOOP;
    IF appended IS NOT NULL THEN
        PERFORM pg_notify('stored_events', appended::text);
    END IF;
END $$;
