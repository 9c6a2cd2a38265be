CREATE OR REPLACE FUNCTION public.chat_append(streams text[], stream_ids uuid[], users text[], command_refs text[], fingerprints bytea[], decided_on bigint[], guards text[], recording boolean[], known_heads bigint[], event_ends integer[], topics text[], subjects text[], states bytea[], key_ids uuid[])
 RETURNS TABLE(command integer, outcome text, seq bigint, "position" bigint, at timestamp with time zone, stream text, topic text, subject text, recorded_by text, key_id uuid, wrapped bytea, state bytea)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
#variable_conflict use_column
DECLARE
    missing_rows_most CONSTANT integer := 1000;
    now_at timestamptz;
    today text;
    stream_head bigint;
    event_from integer := 1;
    event_to integer;
    guarded text[];
    known record;
    log_ended record;
    appended bigint;
    erased text[];
    key_people text[];
    key_scopes text[];
BEGIN
    IF cardinality(streams) > 0 AND NOT (format('[1:%s]', cardinality(streams)) = ALL (ARRAY[
            array_dims(streams), array_dims(stream_ids), array_dims(users), array_dims(command_refs),
            array_dims(fingerprints), array_dims(decided_on), array_dims(guards), array_dims(recording),
            array_dims(known_heads), array_dims(event_ends)])) IS TRUE
        OR array_dims(topics) IS DISTINCT FROM array_dims(key_ids) THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'the arrays do not go together';
    END IF;
    PERFORM public.check_appended(streams, stream_ids, topics, subjects, states);
    PERFORM pg_advisory_xact_lock(7236109);
    -- Keys are destroyed under the same lock, so what is so now is so for the whole batch.
    SELECT array_agg(k.person) INTO erased
        FROM public.person_keys k WHERE k.scope = '' AND k.wrapped IS NULL AND k.person = ANY (users);
    SELECT e.position, e.recorded_at INTO STRICT log_ended FROM public.log_end e;
    now_at := greatest(clock_timestamp(), log_ended.recorded_at);
    today := to_char(now_at AT TIME ZONE 'UTC', 'YYYY-MM-DD');
    -- Only where a key of the batch is not simply its author's, for everything or for this room and day.
    IF EXISTS (
        SELECT FROM generate_series(1, cardinality(streams)) i
            CROSS JOIN LATERAL generate_series(coalesce(event_ends[i - 1], 0) + 1, event_ends[i]) n
            LEFT JOIN LATERAL (
                SELECT k.person, k.scope FROM public.person_keys k
                WHERE k.key_id = key_ids[n] AND k.wrapped IS NOT NULL LIMIT 1) used ON true
        WHERE key_ids[n] IS NOT NULL AND (used.person = users[i]
            AND (used.scope = '' OR 'room:' || used.scope = streams[i] || '/' || today)) IS NOT TRUE) THEN
        SELECT array_agg(used.person ORDER BY n), array_agg(used.scope ORDER BY n) INTO key_people, key_scopes
            FROM generate_series(1, cardinality(topics)) n
                LEFT JOIN public.person_keys used ON used.key_id = key_ids[n] AND used.wrapped IS NOT NULL;
    END IF;
    FOR i IN 1 .. cardinality(streams) LOOP
        command := i;
        outcome := NULL; seq := NULL; position := NULL; at := NULL;
        stream := NULL; topic := NULL; subject := NULL; recorded_by := NULL;
        key_id := NULL; wrapped := NULL; state := NULL;
        event_to := event_ends[i];
        SELECT coalesce(max(e.originator_version), 0) INTO stream_head
            FROM public.stored_events e WHERE e.originator_id = stream_ids[i];

        IF stream_head > known_heads[i] THEN
            RETURN QUERY SELECT i, 'missing', e.originator_version, e.notification_id, e.recorded_at,
                    e.stream, e.topic, e.subject, e.recorded_by, e.key_id, k.wrapped, e.state
                FROM public.readable_events e LEFT JOIN public.open_keys k ON k.key_id = e.key_id
                WHERE e.originator_id = stream_ids[i]
                    AND e.originator_version > known_heads[i] AND e.originator_version <= stream_head
                ORDER BY e.originator_version LIMIT missing_rows_most;
        END IF;

        SELECT r.* INTO known FROM public.refs r WHERE r.user_id = users[i] AND r.ref = command_refs[i];
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
        FOR j IN event_from .. CASE WHEN key_people IS NULL THEN event_from - 1 ELSE event_to END LOOP
            CONTINUE WHEN key_ids[j] IS NULL;
            IF key_people[j] IS NULL THEN
                outcome := 'key_gone';
            ELSIF key_people[j] <> users[i] OR (key_scopes[j] <> '' AND (NOT starts_with(streams[i], 'room:')
                OR left(key_scopes[j], -10) <> substr(streams[i], 6) || '/')) THEN
                RAISE EXCEPTION USING
                    ERRCODE = 'invalid_parameter_value',
                    MESSAGE = format('the key %s does not seal what %s says in %s', key_ids[j], users[i], streams[i]);
            ELSIF key_scopes[j] <> '' AND right(key_scopes[j], 10) <> today AND outcome IS NULL THEN
                outcome := 'stale'; at := now_at;
            END IF;
        END LOOP;
        IF outcome IS NULL AND stream_head <> decided_on[i] THEN
            guarded := string_to_array(guards[i], ' ');
            IF stream_head < decided_on[i] OR EXISTS (
                SELECT FROM public.stored_events e
                WHERE e.originator_id = stream_ids[i] AND e.originator_version > decided_on[i]
                    AND (e.subject = ANY (guarded) OR '*' = ANY (guarded)
                        OR ('user:*' = ANY (guarded) AND starts_with(e.subject, 'user:')))) THEN
                outcome := 'stale'; at := now_at;
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
            INSERT INTO public.stored_events (originator_id, originator_version, topic, state,
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
        INSERT INTO public.refs (user_id, ref, fingerprint, stream, seq, recorded_at)
            VALUES (users[i], command_refs[i], substr(fingerprints[i], 1, 16), streams[i], stream_head, now_at);
        event_from := event_to + 1;
    END LOOP;
    IF appended IS NOT NULL THEN
        IF appended <= log_ended.position THEN
            RAISE EXCEPTION 'position % is not above %, the end of the log: the sequence was set back',
                appended, log_ended.position;
        END IF;
        UPDATE public.log_end SET position = appended, recorded_at = now_at;
        PERFORM pg_notify('stored_events', appended::text);
    END IF;
END $function$;
