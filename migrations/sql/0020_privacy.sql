-- Privacy: keys, holds, expiry and erasure are changed by functions that derive each identity from one argument and build
-- the event that they record. No login of a node writes to person_keys, carried_words or reached_back.
--
--   argument                    derived from it
--   a person, a room            the stream, its id and the subject of the event
--   a key                       the person, and what else is under it
--   a ground, who did it        recorded as given
--
-- Lock order: each function that makes, carries or destroys a key, or places a hold, first takes the append lock
-- (7236109), then looks at what is there. So no key is made, and nothing is carried over, for a person who is erased.

-- Takes the append lock. A snapshot that is older than the lock would show keys and people as they were before an
-- erasure, so the caller's transaction has to be READ COMMITTED.
CREATE FUNCTION take_append_lock() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_transaction_state',
            MESSAGE = 'keys, holds and erasure are changed in a transaction that is READ COMMITTED';
    END IF;
    PERFORM pg_advisory_xact_lock(7236109);
END $$;

-- SHA-1 (FIPS 180-4), which PostgreSQL has only in an extension. It names streams and protects nothing.
CREATE FUNCTION sha1(content bytea) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    full_word CONSTANT bigint := 4294967295;
    padded bytea;
    w bigint[];
    x bigint;
    h0 bigint := 1732584193; h1 bigint := 4023233417; h2 bigint := 2562383102; h3 bigint := 271733878; h4 bigint := 3285377520;
    a bigint; b bigint; c bigint; d bigint; e bigint; next_a bigint;
BEGIN
    padded := content || '\x80'::bytea || decode(repeat('00', (119 - length(content) % 64) % 64), 'hex')
        || int8send(8::bigint * length(content));
    FOR block IN 0 .. length(padded) / 64 - 1 LOOP
        w := array_fill(0::bigint, ARRAY[80]);
        FOR t IN 0 .. 15 LOOP
            w[t + 1] := ('x' || encode(substr(padded, block * 64 + t * 4 + 1, 4), 'hex'))::bit(32)::bigint;
        END LOOP;
        FOR t IN 17 .. 80 LOOP
            x := w[t - 3] # w[t - 8] # w[t - 14] # w[t - 16];
            w[t] := ((x << 1) | (x >> 31)) & full_word;
        END LOOP;
        a := h0; b := h1; c := h2; d := h3; e := h4;
        FOR t IN 1 .. 80 LOOP
            next_a := ((((a << 5) | (a >> 27)) & full_word) + e + w[t] + CASE
                WHEN t <= 20 THEN ((b & c) | ((full_word # b) & d)) + 1518500249
                WHEN t <= 40 THEN (b # c # d) + 1859775393
                WHEN t <= 60 THEN ((b & c) | (b & d) | (c & d)) + 2400959708
                ELSE (b # c # d) + 3395469782 END) & full_word;
            e := d; d := c; c := ((b << 30) | (b >> 2)) & full_word; b := a; a := next_a;
        END LOOP;
        h0 := (h0 + a) & full_word; h1 := (h1 + b) & full_word; h2 := (h2 + c) & full_word;
        h3 := (h3 + d) & full_word; h4 := (h4 + e) & full_word;
    END LOOP;
    RETURN substr(int8send(h0), 5) || substr(int8send(h1), 5) || substr(int8send(h2), 5) || substr(int8send(h3), 5)
        || substr(int8send(h4), 5);
END $$;

-- The id of a stream: the UUID (version 5, RFC 9562) of its name, as `service.domain.streams.stream_id`.
CREATE FUNCTION id_of_stream(stream text) RETURNS uuid
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    digest bytea := public.sha1(decode('6f0a2f0e6a575e0b9c430f6e52c0a7d1', 'hex') || convert_to(stream, 'UTF8'));
BEGIN
    digest := set_byte(digest, 6, get_byte(digest, 6) & 15 | 80);
    digest := set_byte(digest, 8, get_byte(digest, 8) & 63 | 128);
    RETURN encode(substr(digest, 1, 16), 'hex')::uuid;
END $$;

-- The rooms that keep what is said for so many days, by the newest rule of each on the record.
CREATE FUNCTION days_in_rule(state bytea) RETURNS integer
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT substring(encode(state, 'escape') FROM '^\{"days":([1-9][0-9]{0,4})\}$')::integer
$$;
CREATE VIEW room_rules AS
    SELECT room, room_id, days FROM (
        SELECT DISTINCT ON (e.originator_id) substr(e.stream, 6) AS room, e.originator_id AS room_id,
            public.days_in_rule(e.state) AS days
        FROM stored_events e WHERE e.topic = 'room.RoomRetentionChanged.v1' AND starts_with(e.stream, 'room:')
        ORDER BY e.originator_id, e.originator_version DESC) rule
    WHERE days IS NOT NULL;

-- Every key with what it opens now: a key of a person who is erased opens nothing, whatever its own row holds.
CREATE VIEW open_keys AS
    SELECT k.key_id, k.person, k.scope, CASE WHEN erased.person IS NULL THEN k.wrapped END AS wrapped,
        k.created_at, k.destroyed_at
    FROM person_keys k
        LEFT JOIN person_keys erased ON erased.person = k.person AND erased.scope = '' AND erased.wrapped IS NULL;

-- Words may be carried over more than once, each time to another key. Those are in effect whose key lives; of several, the
-- ones under a person's key for everything, since it lives until all under it is carried over again.
ALTER TABLE carried_words DROP CONSTRAINT carried_words_pkey, ADD PRIMARY KEY ("position", key_id);
CREATE OR REPLACE VIEW readable_events AS
    SELECT e.originator_id, e.originator_version, e.topic, e.notification_id, e.stream, e.subject,
        e.recorded_at, e.recorded_by,
        CASE WHEN c.key_id IS NULL THEN e.state ELSE public.carried_state(e.state, c.key_id, c.sealed) END AS state,
        coalesce(c.key_id, e.key_id) AS key_id, e.state AS stored
    FROM stored_events e LEFT JOIN LATERAL (
        SELECT w.key_id, w.sealed FROM carried_words w LEFT JOIN person_keys k ON k.key_id = w.key_id
        WHERE w."position" = e.notification_id AND e.key_id IS NOT NULL
            AND NOT EXISTS (SELECT FROM person_keys o WHERE o.key_id = e.key_id AND o.wrapped IS NOT NULL)
        ORDER BY k.wrapped IS NULL, k.scope <> '', w.key_id LIMIT 1) c ON true;
-- An event without sealed words stays as it is.
CREATE OR REPLACE FUNCTION carried_state(state bytea, key_id uuid, sealed jsonb) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT convert_to((stored.fields || coalesce((
        SELECT jsonb_object_agg(field, jsonb_build_object('k', key_id, 'h', stored.fields -> field -> 'h', 'c', c))
        FROM jsonb_each(sealed) AS words (field, c)), '{}'))::text, 'UTF8')
    FROM (SELECT convert_from(state, 'UTF8')::jsonb AS fields) stored
$$;
CREATE OR REPLACE FUNCTION carried_words_live(posted bigint, message bigint, replaced uuid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT coalesce((
        SELECT k.wrapped IS NOT NULL
        FROM public.stored_events p
            JOIN public.stored_events e ON e.originator_id = p.originator_id AND e.subject = 'message:' || message
            JOIN public.carried_words c ON c."position" = e.notification_id
            JOIN public.open_keys k ON k.key_id = c.key_id
        WHERE p.notification_id = posted AND (e.key_id = replaced OR EXISTS (
            SELECT FROM public.carried_words before
            WHERE before."position" = e.notification_id AND before.key_id = replaced))
        ORDER BY e.originator_version DESC, k.wrapped IS NULL LIMIT 1), false)
$$;

-- How far in the log all that is under a person's key for everything is carried over.
CREATE TABLE carried_until (
    key_id uuid PRIMARY KEY,
    "position" bigint NOT NULL
);
-- The last event of before this version, which did not hold the day of a key against the day of the record.
CREATE TABLE key_days_since (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    "position" bigint NOT NULL
);
COMMENT ON TABLE key_days_since IS 'Events after this position are under the key of the day on which they are recorded';
INSERT INTO key_days_since ("position") SELECT e."position" FROM log_end e;
CREATE TRIGGER append_only BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON key_days_since
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE key_days_since ENABLE ALWAYS TRIGGER append_only;
-- What protects a room is its own stream.
UPDATE holds SET stream_id = public.id_of_stream(subject) WHERE starts_with(subject, 'room:');

-- Refuses a batch with something that a node may not say: an id that is not its stream's, an event that only the
-- functions below record, a rule that cannot be read.
CREATE FUNCTION check_appended(streams text[], stream_ids uuid[], topics text[], subjects text[], states bytea[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
DECLARE
    asked record;
BEGIN
    IF array_dims(topics) IS DISTINCT FROM '[1:' || nullif(cardinality(topics), 0) || ']'
        OR array_dims(topics) IS DISTINCT FROM array_dims(subjects)
        OR array_dims(topics) IS DISTINCT FROM array_dims(states) THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'the arrays do not go together';
    END IF;
    IF 'holds' = ANY (streams) OR 'retention' = ANY (streams) OR EXISTS (
        SELECT FROM unnest(topics) AS t (topic)
        WHERE starts_with(t.topic, 'hold.') OR starts_with(t.topic, 'retention.')
            OR starts_with(t.topic, 'person.PersonErased.')) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'insufficient_privilege',
            MESSAGE = 'holds, expiry and erasure are recorded by the functions that carry them out';
    END IF;
    IF EXISTS (
        SELECT FROM generate_series(1, cardinality(topics)) n
        WHERE topics[n] = 'room.RoomRetentionChanged.v1' AND (subjects[n] <> 'settings'
            OR (states[n] <> '{}' AND public.days_in_rule(states[n]) IS NULL))) THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'a rule says {} or {"days":N}';
    END IF;
    -- An id takes 0.2 ms to compute. That is done once for a stream, when it is new, and before the append lock.
    FOR asked IN
        SELECT given.name, given.id
        FROM (SELECT DISTINCT streams[n] AS name, stream_ids[n] AS id FROM generate_series(1, cardinality(streams)) n) given
            LEFT JOIN LATERAL (
                SELECT e.stream FROM public.stored_events e
                WHERE e.originator_id = given.id AND e.originator_version = 1 LIMIT 1) first ON true
        WHERE first.stream IS DISTINCT FROM given.name
    LOOP
        IF public.id_of_stream(asked.name) IS DISTINCT FROM asked.id THEN
            RAISE EXCEPTION USING
                ERRCODE = 'invalid_parameter_value',
                MESSAGE = format('%s is not the id of the stream %s', asked.id, asked.name);
        END IF;
    END LOOP;
END $$;

-- As in 0019_narrow_rights. A key seals what its own person says in its own room on its own day: `stale`, with the log's
-- time in `at`, where the day is another one, so that the node takes the key of that day.
CREATE OR REPLACE FUNCTION chat_append(
    streams text[], stream_ids uuid[], users text[], command_refs text[], fingerprints bytea[],
    decided_on bigint[], guards text[], recording boolean[], known_heads bigint[], event_ends integer[],
    topics text[], subjects text[], states bytea[], key_ids uuid[]
) RETURNS TABLE (
    command integer, outcome text, seq bigint, "position" bigint, at timestamptz,
    stream text, topic text, subject text, recorded_by text, key_id uuid, wrapped bytea, state bytea
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
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
END $$;

-- Places one event of a function below; the caller has the append lock.
CREATE FUNCTION record_event(stream text, topic text, subject text, recorded_by text, state text)
RETURNS TABLE ("position" bigint, at timestamptz)
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    stream_id uuid := public.id_of_stream(record_event.stream);
    log_ended record;
BEGIN
    IF coalesce(recorded_by, '') = '' OR EXISTS (
        SELECT FROM public.person_keys k
        WHERE k.person = record_event.recorded_by AND k.scope = '' AND k.wrapped IS NULL) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value', MESSAGE = format('%s cannot record anything', recorded_by);
    END IF;
    SELECT e.position, e.recorded_at INTO STRICT log_ended FROM public.log_end e;
    at := greatest(clock_timestamp(), log_ended.recorded_at);
    INSERT INTO public.stored_events (originator_id, originator_version, topic, state, stream, subject, recorded_at, recorded_by)
        SELECT stream_id, coalesce(max(e.originator_version), 0) + 1, record_event.topic,
            convert_to(record_event.state, 'UTF8'), record_event.stream, record_event.subject, at, record_event.recorded_by
        FROM public.stored_events e WHERE e.originator_id = stream_id
        RETURNING notification_id INTO position;
    IF position <= log_ended.position THEN
        RAISE EXCEPTION 'position % is not above %, the end of the log: the sequence was set back',
            position, log_ended.position;
    END IF;
    UPDATE public.log_end SET position = record_event.position, recorded_at = record_event.at;
    PERFORM pg_notify('stored_events', position::text);
    RETURN NEXT;
END $$;

-- Refuses what is not a person's id, a room's id or a ground.
CREATE FUNCTION require_form(kind text, given text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF (length(given) <= 500 AND given ~ CASE kind
        WHEN 'person' THEN '\A[A-Za-z0-9][A-Za-z0-9._@|-]{0,127}\Z'
        WHEN 'room' THEN '\A[a-z0-9][a-z0-9._-]{0,63}\Z'
        WHEN 'ground' THEN '\A[^[:space:]\x01-\x1f\x7f][^\x01-\x1f\x7f]*\Z'
        END) IS NOT TRUE THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value', MESSAGE = format('%L is not the form of a %s', given, kind);
    END IF;
END $$;

-- Returns the keys of some people and scopes, and makes those that are missing, with what is given for them. `wrapped`
-- is null where the key is destroyed or the person is erased. A scope is '' (everything), `room/day`, `room/day+` (what
-- was carried over) or `~next` (takes the place of '').
CREATE FUNCTION add_keys(new_ids uuid[], people text[], scopes text[], secrets bytea[])
RETURNS TABLE (person text, scope text, key_id uuid, wrapped bytea)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    IF cardinality(people) > 10000 OR EXISTS (
        SELECT FROM unnest(new_ids, people, scopes, secrets) AS w (id, person, scope, secret)
        WHERE (w.id IS NOT NULL AND w.person ~ '\A[^[:space:][:cntrl:]]+\Z' AND length(w.person) <= 300
            AND length(w.secret) BETWEEN 28 AND 10000
            AND (w.scope IN ('', '~next')
                OR w.scope ~ '\A[a-z0-9][a-z0-9._-]{0,63}/[0-9]{4}-[0-9]{2}-[0-9]{2}\+?\Z')) IS NOT TRUE) THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'keys are given for a person and a scope each';
    END IF;
    IF EXISTS (
        SELECT FROM unnest(people, scopes) AS w (person, scope)
            LEFT JOIN public.person_keys k ON k.person = w.person AND k.scope = w.scope
        WHERE k.key_id IS NULL) THEN
        PERFORM public.take_append_lock();
        INSERT INTO public.person_keys (key_id, person, scope, wrapped)
            SELECT w.id, w.person, w.scope, w.secret
            FROM unnest(new_ids, people, scopes, secrets) AS w (id, person, scope, secret)
            WHERE NOT EXISTS (
                SELECT FROM public.person_keys k WHERE k.person = w.person AND k.scope = '' AND k.wrapped IS NULL)
            ON CONFLICT (person, scope) DO NOTHING;
    END IF;
    RETURN QUERY
        SELECT DISTINCT w.person, w.scope, k.key_id, k.wrapped
        FROM unnest(people, scopes) AS w (person, scope)
            JOIN LATERAL (
                SELECT o.key_id, o.wrapped FROM public.open_keys o
                WHERE o.person = w.person AND (o.scope = w.scope OR (o.scope = '' AND o.wrapped IS NULL))
                ORDER BY o.scope = w.scope DESC LIMIT 1) k ON true;
END $$;

-- Erases a person: `erased` the first time, `known` ever after, with the position and time of PersonErased; `held` with the
-- subject of a hold that is in the way. `keys_gone` is how many keys were destroyed.
DROP FUNCTION erase_person(text, uuid, text, bytea);
CREATE FUNCTION erase_person(person_id text, erased_by text, ground text)
RETURNS TABLE (outcome text, "position" bigint, at timestamptz, keys_gone integer, held text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM public.require_form('person', person_id), public.require_form('ground', ground);
    PERFORM public.take_append_lock();
    SELECT 'known', e.notification_id, e.recorded_at, 0 INTO outcome, position, at, keys_gone
        FROM public.stored_events e
        WHERE e.originator_id = public.id_of_stream('person:' || person_id) AND e.topic = 'person.PersonErased.v1';
    IF FOUND THEN
        RETURN NEXT;
        RETURN;
    END IF;
    held := public.held_against(person_id);
    IF held IS NOT NULL THEN
        outcome := 'held';
        RETURN NEXT;
        RETURN;
    END IF;
    -- First the event: a person may erase themselves.
    SELECT 'erased', r.position, r.at INTO outcome, position, at
        FROM public.record_event('person:' || person_id, 'person.PersonErased.v1', 'user:' || person_id, erased_by,
            format('{"user":%s,"ground":%s}', to_json(person_id), to_json(ground))) r;
    UPDATE public.person_keys SET wrapped = NULL, destroyed_at = clock_timestamp()
        WHERE person = person_id AND wrapped IS NOT NULL;
    GET DIAGNOSTICS keys_gone = ROW_COUNT;
    INSERT INTO public.person_keys (key_id, person, destroyed_at) VALUES (gen_random_uuid(), person_id, clock_timestamp())
        ON CONFLICT (person, scope) DO NOTHING;
    -- Their fingerprints were made of words.
    DELETE FROM public.refs WHERE user_id = person_id AND NOT starts_with(ref, '~');
    RETURN NEXT;
END $$;

-- Places a hold on `room:ID` or `user:ID`, or releases one: `changed` with the position and time of its event, or
-- `nothing` where it is so already.
DROP FUNCTION change_hold(text, uuid, uuid, text, boolean, bytea);
CREATE FUNCTION change_hold(held_subject text, changed_by text, to_hold boolean, ground text)
RETURNS TABLE (outcome text, "position" bigint, at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    kind text := CASE split_part(held_subject, ':', 1) WHEN 'room' THEN 'room' WHEN 'user' THEN 'person' END;
    topic text := CASE WHEN to_hold THEN 'hold.HoldPlaced.v1' WHEN NOT to_hold THEN 'hold.HoldReleased.v1' END;
BEGIN
    PERFORM public.require_form(kind, substr(held_subject, 6)), public.require_form('ground', ground);
    IF topic IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'to_hold is true or false';
    END IF;
    PERFORM public.take_append_lock();
    IF EXISTS (SELECT FROM public.holds h WHERE h.subject = held_subject) = to_hold THEN
        outcome := 'nothing';
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT 'changed', r.position, r.at INTO outcome, position, at
        FROM public.record_event('holds', topic, held_subject, changed_by,
            format('{"held":%s,"ground":%s}', to_json(held_subject), to_json(ground))) r;
    IF to_hold THEN
        INSERT INTO public.holds (subject, stream_id)
            VALUES (held_subject, CASE WHEN kind = 'room' THEN public.id_of_stream(held_subject) END);
    ELSE
        DELETE FROM public.holds WHERE subject = held_subject;
    END IF;
    RETURN NEXT;
END $$;

-- Destroys the keys of what was said in a room up to and including a day: `expired` with the position and time of
-- ContentExpired and how many keys it were; `nothing` where there are none; `early` where the room's rule does not let
-- them go yet; `held` where a legal hold is on the room. Keys of people with a hold are left, and so are those to which
-- words are carried over that are still under another key.
DROP FUNCTION expire_content(text, uuid, date, uuid, text, bytea);
CREATE FUNCTION expire_content(room text, last_day date, expired_by text)
RETURNS TABLE (outcome text, "position" bigint, at timestamptz, keys_gone integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    days integer;
BEGIN
    PERFORM public.require_form('room', room);
    IF last_day IS NULL OR last_day < '2000-01-01' OR last_day > '9999-12-31' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'last_day is a day of this log';
    END IF;
    PERFORM public.take_append_lock();
    keys_gone := 0;
    SELECT r.days INTO days FROM public.room_rules r WHERE r.room_id = public.id_of_stream('room:' || expire_content.room);
    outcome := CASE
        WHEN days IS NULL OR last_day + days >= (clock_timestamp() AT TIME ZONE 'UTC')::date THEN 'early'
        WHEN EXISTS (SELECT FROM public.holds h WHERE h.subject = 'room:' || room) THEN 'held'
    END;
    IF outcome IS NOT NULL THEN
        RETURN NEXT;
        RETURN;
    END IF;
    UPDATE public.person_keys k SET wrapped = NULL, destroyed_at = clock_timestamp()
        WHERE k.scope <> '' AND k.wrapped IS NOT NULL
            AND k.scope COLLATE "C" BETWEEN room || '/' AND room || '/' || to_char(last_day, 'YYYY-MM-DD') || '~'
            AND NOT EXISTS (SELECT FROM public.holds h WHERE h.subject = 'user:' || k.person)
            AND NOT (right(k.scope, 1) = '+' AND EXISTS (
                SELECT FROM public.carried_words c JOIN public.readable_events e ON e.notification_id = c.position
                    JOIN public.person_keys o ON o.key_id = e.key_id
                WHERE c.key_id = k.key_id AND e.key_id <> k.key_id AND o.wrapped IS NOT NULL));
    GET DIAGNOSTICS keys_gone = ROW_COUNT;
    IF keys_gone = 0 THEN
        outcome := 'nothing';
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT 'expired', r.position, r.at INTO outcome, position, at
        FROM public.record_event('retention', 'retention.ContentExpired.v1', 'room:' || room, expired_by,
            format('{"room":%s,"until":"%s","days":%s}', to_json(room), to_char(last_day, 'YYYY-MM-DD'), days)) r;
    RETURN NEXT;
END $$;

-- The sealed fields of a stored event, each with the length of its ciphertext.
CREATE FUNCTION sealed_lengths(state bytea) RETURNS jsonb
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT coalesce(jsonb_object_agg(f.name, length(f.value ->> 'c')), '{}')
    FROM jsonb_each(convert_from(state, 'UTF8')::jsonb) AS f (name, value)
    WHERE CASE WHEN jsonb_typeof(f.value) = 'object' THEN
        f.value - ARRAY['k', 'h', 'c'] = '{}' AND jsonb_typeof(f.value -> 'k') = 'string'
        AND jsonb_typeof(f.value -> 'h') = 'string' AND jsonb_typeof(f.value -> 'c') = 'string' END
$$;

-- Carries words over to other keys: by the event's position, the key and for each sealed field the nonce and ciphertext.
-- Returns how many; those whose key is gone, old or new, or that are not under a key for everything (any more), are passed
-- by. The new key is of the person whose key the words are under, and is their `~next` or, for what was said in a room,
-- that room's and day's. What is in effect does not change.
CREATE FUNCTION carry_words(positions bigint[], new_keys uuid[], words jsonb[]) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
DECLARE
    refused bigint;
    carried integer;
BEGIN
    PERFORM public.take_append_lock();
    SELECT min(coalesce(w."position", 0)) INTO refused
        FROM unnest(positions, new_keys, words) AS w ("position", key_id, sealed)
            LEFT JOIN public.readable_events e ON e.notification_id = w."position"
            LEFT JOIN public.person_keys o ON o.key_id = e.key_id
            LEFT JOIN public.person_keys k ON k.key_id = w.key_id
        WHERE (k.person = o.person AND o.person = e.recorded_by
            AND (k.wrapped IS NULL OR k.scope IN ('', '~next') OR (
                e.topic IN ('room.MessagePosted.v1', 'room.MessageEdited.v1') AND k.scope = substr(e.stream, 6) || '/'
                    || to_char(e.recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') || '+'))
            AND jsonb_typeof(w.sealed) = 'object' AND public.sealed_lengths(e.stored) = (
                SELECT coalesce(jsonb_object_agg(f.name, length(f.value #>> '{}')), '{}')
                FROM jsonb_each(CASE WHEN jsonb_typeof(w.sealed) = 'object' THEN w.sealed END) AS f (name, value)
                WHERE f.value #>> '{}' ~ '\A[A-Za-z0-9+/]+={0,2}\Z')
            AND NOT jsonb_path_exists(w.sealed, '$.* ? (@.type() != "string")')) IS NOT TRUE;
    IF refused IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('the words at position %s cannot be carried over like that', refused);
    END IF;
    INSERT INTO public.carried_words AS c ("position", key_id, sealed)
        SELECT w."position", w.key_id, w.sealed
        FROM unnest(positions, new_keys, words) AS w ("position", key_id, sealed)
            JOIN public.readable_events e ON e.notification_id = w."position"
            JOIN public.open_keys o ON o.key_id = e.key_id
            JOIN public.open_keys k ON k.key_id = w.key_id
        WHERE o.wrapped IS NOT NULL AND o.scope = '' AND k.wrapped IS NOT NULL AND k.scope <> ''
        ON CONFLICT ("position", key_id) DO UPDATE SET sealed = excluded.sealed;
    GET DIAGNOSTICS carried = ROW_COUNT;
    RETURN carried;
END $$;

-- Whether what is under a key for everything is carried over, to a key that lives; or was said in a room on a day of which
-- all that was carried over has expired.
CREATE FUNCTION is_carried(at_position bigint, topic text, stream text, recorded_at timestamptz, author text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
    SELECT EXISTS (
        SELECT FROM public.carried_words c JOIN public.person_keys k ON k.key_id = c.key_id
        WHERE c."position" = at_position AND k.wrapped IS NOT NULL AND k.scope <> '')
    OR topic IN ('room.MessagePosted.v1', 'room.MessageEdited.v1') AND EXISTS (
        SELECT FROM public.person_keys k
        WHERE k.person = author AND k.wrapped IS NULL
            AND k.scope = substr(stream, 6) || '/' || to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') || '+')
$$;

-- Looks up to which position, at most `upto`, all under each of some keys for everything is carried over, remembers and
-- returns it. It goes on from what it found before. Keys that are gone are left out.
CREATE FUNCTION find_carried(keys uuid[], upto bigint) RETURNS TABLE (key_id uuid, "position" bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    -- Positions become visible in their order, so nothing comes below the end of the log later.
    known_end CONSTANT bigint := least(find_carried.upto, (SELECT e.position FROM public.log_end e));
BEGIN
    RETURN QUERY
        WITH asked AS (
            SELECT k.key_id, coalesce(u.position, 0) AS before
            FROM public.person_keys k LEFT JOIN public.carried_until u USING (key_id)
            WHERE k.key_id = ANY (find_carried.keys) AND k.scope = '' AND k.wrapped IS NOT NULL),
        missing AS (
            SELECT e.key_id, min(e.notification_id) AS first
            FROM public.readable_events e
            WHERE e.notification_id > (SELECT min(a.before) FROM asked a) AND e.notification_id <= known_end
                AND e.key_id = ANY (find_carried.keys)
                AND NOT public.is_carried(e.notification_id, e.topic, e.stream, e.recorded_at, e.recorded_by)
            GROUP BY e.key_id)
        INSERT INTO public.carried_until AS u (key_id, position)
            SELECT a.key_id, greatest(a.before, coalesce(m.first - 1, known_end))
            FROM asked a LEFT JOIN missing m USING (key_id) ORDER BY a.key_id
            ON CONFLICT (key_id) DO UPDATE SET position = greatest(u.position, excluded.position)
            RETURNING u.key_id, u.position;
END $$;

-- Destroys a person's key for everything, once all under it is carried over, and puts the one of the scope `~next` in its
-- place: `replaced`; `more` where something is not carried over yet, or not found to be (`find_carried`); `held` where a
-- legal hold protects that person's words; `gone` where there is no such key any more.
DROP FUNCTION replace_key(uuid, bigint, uuid, text, bytea);
CREATE FUNCTION replace_key(old_key uuid, replaced_by text) RETURNS TABLE (outcome text, "position" bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    most CONSTANT integer := 20000;
    whose text;
    found_until bigint;
BEGIN
    PERFORM public.take_append_lock();
    SELECT k.person, coalesce(u.position, 0) INTO whose, found_until
        FROM public.open_keys k JOIN public.open_keys next USING (person)
            LEFT JOIN public.carried_until u ON u.key_id = k.key_id
        WHERE k.key_id = old_key AND k.scope = '' AND k.wrapped IS NOT NULL
            AND next.scope = '~next' AND next.wrapped IS NOT NULL;
    outcome := CASE
        WHEN whose IS NULL THEN 'gone'
        WHEN public.held_against(whose) IS NOT NULL THEN 'held'
        WHEN (SELECT e.position FROM public.log_end e) - found_until > most THEN 'more'
        WHEN EXISTS (
            SELECT FROM public.readable_events e
            WHERE e.notification_id > found_until AND e.key_id = old_key
                AND NOT public.is_carried(e.notification_id, e.topic, e.stream, e.recorded_at, e.recorded_by)) THEN 'more'
    END;
    IF outcome IS NOT NULL THEN
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT 'replaced', r.position INTO outcome, position
        FROM public.record_event('retention', 'retention.KeyReplaced.v1', 'user:' || whose, replaced_by,
            format('{"user":%s,"rooms":[%s]}', to_json(whose), (
                SELECT string_agg(to_json(rule.room)::text, ',' ORDER BY rule.room COLLATE "C")
                FROM public.room_rules rule))) r;
    UPDATE public.person_keys SET wrapped = NULL, destroyed_at = clock_timestamp(), scope = '~' || old_key
        WHERE key_id = old_key;
    UPDATE public.person_keys SET scope = '' WHERE person = whose AND scope = '~next';
    DELETE FROM public.carried_until WHERE key_id = old_key;
    RETURN NEXT;
END $$;

-- Says that a room's rule reaches all up to a number of the room, at most to before the first words that are under a key
-- for everything; returns the number.
CREATE FUNCTION reach_room(room text, upto bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
DECLARE
    id CONSTANT uuid := public.id_of_stream('room:' || room);
    before CONSTANT bigint := coalesce((SELECT r.seq FROM public.reached_back r WHERE r.room_id = id), 0);
    head CONSTANT bigint := (SELECT max(e.originator_version) FROM public.stored_events e WHERE e.originator_id = id);
    unreached bigint;
    reached bigint;
BEGIN
    PERFORM public.require_form('room', room);
    IF head IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('there is no room %s', room);
    END IF;
    SELECT min(e.originator_version) INTO unreached
        FROM public.readable_events e JOIN public.person_keys k ON k.key_id = e.key_id
        WHERE e.originator_id = id AND e.originator_version > before AND e.originator_version <= least(upto, head)
            AND e.topic IN ('room.MessagePosted.v1', 'room.MessageEdited.v1') AND k.scope = '' AND k.wrapped IS NOT NULL;
    reached := greatest(before, coalesce(unreached - 1, least(upto, head)));
    INSERT INTO public.reached_back AS r (room_id, seq) VALUES (id, reached)
        ON CONFLICT (room_id) DO UPDATE SET seq = greatest(r.seq, excluded.seq);
    RETURN reached;
END $$;

-- What an erasure left behind beside a pass that was making keys.
UPDATE person_keys k SET wrapped = NULL, destroyed_at = clock_timestamp()
    WHERE k.wrapped IS NOT NULL AND EXISTS (
        SELECT FROM person_keys erased WHERE erased.person = k.person AND erased.scope = '' AND erased.wrapped IS NULL);

REVOKE INSERT ON person_keys, carried_words FROM onrecord_node;
REVOKE INSERT, UPDATE ON reached_back FROM onrecord_node;
GRANT SELECT ON open_keys, readable_events TO onrecord_node, onrecord_projector, onrecord_definer;
GRANT SELECT ON room_rules, key_days_since TO onrecord_node, onrecord_definer;
GRANT SELECT, INSERT, UPDATE ON carried_words, reached_back TO onrecord_definer;
GRANT SELECT, INSERT, UPDATE, DELETE ON carried_until TO onrecord_definer;

REVOKE ALL ON FUNCTION take_append_lock, sha1, id_of_stream, days_in_rule, check_appended, record_event, require_form, add_keys,
    erase_person, change_hold, expire_content, sealed_lengths, carry_words, is_carried, find_carried, replace_key, reach_room
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION take_append_lock, sha1, id_of_stream, days_in_rule, check_appended, record_event, require_form,
    sealed_lengths, is_carried, carried_state TO onrecord_definer;
-- The functions of a view run with the rights of its reader.
GRANT EXECUTE ON FUNCTION days_in_rule TO onrecord_node;
GRANT EXECUTE ON FUNCTION add_keys, erase_person, change_hold, expire_content, carry_words, find_carried, replace_key,
    reach_room TO onrecord_node;
GRANT CREATE ON SCHEMA public TO onrecord_definer;
DO $$
DECLARE
    defining regprocedure;
BEGIN
    FOR defining IN
        SELECT p.oid::regprocedure FROM pg_catalog.pg_proc p
        WHERE p.pronamespace = 'public'::regnamespace AND p.proname IN ('add_keys', 'erase_person', 'change_hold',
            'expire_content', 'carry_words', 'find_carried', 'replace_key', 'reach_room')
    LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO onrecord_definer', defining);
    END LOOP;
END $$;
REVOKE CREATE ON SCHEMA public FROM onrecord_definer;

SET LOCAL ROLE onrecord_projector;
CREATE OR REPLACE VIEW read_models.messages AS
    SELECT m.id, m.room_id, m.user_id,
        CASE WHEN m.key_id IS NULL OR k.wrapped IS NOT NULL THEN m.content
            WHEN starts_with(k.scope, '~') AND (
                SELECT l.wrapped IS NOT NULL
                FROM public.stored_events p
                    JOIN public.stored_events e ON e.originator_id = p.originator_id AND e.subject = 'message:' || m.id
                    JOIN public.carried_words c ON c."position" = e.notification_id
                    JOIN public.open_keys l ON l.key_id = c.key_id
                WHERE p.notification_id = m."position" AND (e.key_id = m.key_id OR EXISTS (
                    SELECT FROM public.carried_words before
                    WHERE before."position" = e.notification_id AND before.key_id = m.key_id))
                ORDER BY e.originator_version DESC, l.wrapped IS NULL LIMIT 1) THEN m.content END AS content,
        m.created_at, m.reply_to, m.mentions, m."position", m.edited_at, m.deleted_at, m.reactions, m.pinned
    FROM read_models.messages_v2 m LEFT JOIN public.open_keys k ON k.key_id = m.key_id;
CREATE OR REPLACE VIEW read_models.rooms AS
    SELECT r.room_id, r.name, r.visibility, r.created_at, r.created_by, r.head, r.last_message_id, r.last_message_at,
        CASE WHEN EXISTS (SELECT FROM public.readable_events e JOIN public.open_keys k ON k.key_id = e.key_id
            WHERE e.notification_id = r.topic_position AND k.wrapped IS NOT NULL) THEN r.topic END AS topic,
        r.archived
    FROM read_models.rooms_v2 r;
RESET ROLE;
