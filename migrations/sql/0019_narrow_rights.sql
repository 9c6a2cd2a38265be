-- Rights: what a login of a node, or of the projector, can do to the record is what some function does for it.
--
--   schema       holds                              who may create in it
--   public       the log and its functions          the owner
--   read_models  the tables and views of the read   the owner, onrecord_projector
--                models
--   analytics    the views for analysts             the owner
--
--   role                may
--   onrecord_node       read the log; append through chat_append
--   onrecord_projector  read the log; build the read models
--   onrecord_sealer     read the log; add seals
--   onrecord_definer    what the SECURITY DEFINER functions do, which it owns; no login is a member, only the owner
--
-- A SECURITY DEFINER function resolves names in pg_catalog and public alone. So no function that another role creates
-- runs with the definer's rights (docs/decisions/0021-rights.md).

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['onrecord_definer', 'onrecord_sealer'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        END IF;
        EXECUTE format('GRANT %I TO CURRENT_USER', wanted);
    END LOOP;
END $$;

-- Schemas. `service.log.schema.migrate` has looked before this that nothing in `public` belongs to a stranger.
REVOKE CREATE ON SCHEMA public FROM PUBLIC, onrecord_node, onrecord_projector;
CREATE SCHEMA read_models;
COMMENT ON SCHEMA read_models IS 'The read models: tables that can be built again from the log, and the views over them';
GRANT USAGE ON SCHEMA read_models TO onrecord_node;
GRANT USAGE, CREATE ON SCHEMA read_models TO onrecord_projector;

-- Every relation of the projector moves, whatever version of a read model it is. Its rows, indexes, comments and grants
-- move with it. A view of the same name stays in `public`: programs find the read models under the names that they had,
-- and so do nodes and a projector of the version before, while they are replaced one after the other.
DO $$
DECLARE
    moved record;
BEGIN
    FOR moved IN
        SELECT c.relname AS name, c.relkind AS kind FROM pg_catalog.pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v')
            AND pg_catalog.pg_get_userbyid(c.relowner) = 'onrecord_projector'
        ORDER BY c.relkind, c.relname
    LOOP
        EXECUTE format('ALTER %s public.%I SET SCHEMA read_models', CASE moved.kind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END,
            moved.name);
        EXECUTE format('CREATE VIEW public.%1$I AS SELECT * FROM read_models.%1$I', moved.name);
        EXECUTE format('COMMENT ON VIEW public.%1$I IS %2$L', moved.name, 'read_models.' || moved.name
            || ', under the name that it had before migration 0019');
        EXECUTE format('GRANT SELECT ON public.%I TO onrecord_node', moved.name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON public.%I TO onrecord_projector', moved.name);
    END LOOP;
END $$;

-- The end of the log: what chat_append numbers and dates by. One row, changed under the append lock with each batch.
CREATE TABLE log_end (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    "position" bigint NOT NULL,
    recorded_at timestamptz NOT NULL
) WITH (fillfactor = 10);
COMMENT ON TABLE log_end IS 'The position and time of the last event. chat_append goes by it, and not by the newest row';
-- A row past the sequence was not appended by chat_append, so it does not say where the log ends.
INSERT INTO log_end ("position", recorded_at)
SELECT coalesce(max(last.notification_id), 0), coalesce(max(last.recorded_at), 'epoch')
FROM (
    SELECT e.notification_id, e.recorded_at FROM stored_events e
    WHERE e.notification_id <= (SELECT s.last_value FROM stored_events_notification_id_seq s)
    ORDER BY e.notification_id DESC LIMIT 1) last;

-- As in 0010_rotation and later, with the rights of onrecord_definer. Positions and times come from `log_end`. A caller
-- whose transaction began before another append ended (REPEATABLE READ) fails with 40001 at `log_end`, so no guard is
-- judged by an old snapshot.
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
    stream_head bigint;
    event_from integer := 1;
    event_to integer;
    guarded text[];
    known record;
    log_ended record;
    appended bigint;
    erased text[];
    dead_keys uuid[];
BEGIN
    PERFORM pg_advisory_xact_lock(7236109);
    -- Keys are destroyed under the same lock, so what is so now is so for the whole batch.
    SELECT array_agg(k.person) INTO erased
        FROM public.person_keys k WHERE k.scope = '' AND k.wrapped IS NULL AND k.person = ANY (users);
    SELECT array_agg(used.id) INTO dead_keys
        FROM unnest(key_ids) AS used (id) LEFT JOIN public.person_keys k ON k.key_id = used.id AND k.wrapped IS NOT NULL
        WHERE used.id IS NOT NULL AND k.key_id IS NULL;
    SELECT e.position, e.recorded_at INTO STRICT log_ended FROM public.log_end e;
    now_at := greatest(clock_timestamp(), log_ended.recorded_at);
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
                FROM public.readable_events e LEFT JOIN public.person_keys k ON k.key_id = e.key_id
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
                SELECT FROM public.stored_events e
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

-- Forgets refs after seven days, at most `most` of them; returns how many. A node may not forget younger ones, since a
-- retry of theirs would have a second effect.
CREATE FUNCTION forget_refs(most integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    WITH forgotten AS (
        DELETE FROM public.refs WHERE (user_id, ref) IN (
            SELECT r.user_id, r.ref FROM public.refs r
            WHERE r.recorded_at < clock_timestamp() - make_interval(days => 7) LIMIT most)
        RETURNING 1)
    SELECT count(*) FROM forgotten
$$;

-- The rights of the functions, and of nobody else.
GRANT SELECT ON readable_events, carried_words, holds TO onrecord_definer;
GRANT SELECT, INSERT ON stored_events TO onrecord_definer;
GRANT USAGE ON SEQUENCE stored_events_notification_id_seq TO onrecord_definer;
GRANT SELECT, UPDATE ON log_end TO onrecord_definer;
GRANT SELECT, INSERT, DELETE ON refs TO onrecord_definer;
GRANT SELECT, INSERT, UPDATE ON person_keys TO onrecord_definer;
GRANT INSERT, DELETE ON holds TO onrecord_definer;

REVOKE INSERT ON stored_events FROM onrecord_node;
REVOKE ALL ON SEQUENCE stored_events_notification_id_seq FROM onrecord_node;
-- Who checks the record holds its positions against the sequence. SELECT shows the last number and takes none.
GRANT SELECT ON SEQUENCE stored_events_notification_id_seq TO onrecord_node, onrecord_projector;
REVOKE ALL ON refs FROM onrecord_node;
GRANT SELECT ON log_end TO onrecord_node, onrecord_projector;

-- Sealing has a role of its own; nodes and the projector read the seals.
REVOKE ALL ON seal_keys, seals, seal_nodes FROM onrecord_projector;
GRANT SELECT, INSERT ON seal_keys, seals, seal_nodes TO onrecord_sealer;
GRANT SELECT ON stored_events, log_epoch TO onrecord_sealer;
GRANT SELECT ON seal_keys, seals, seal_nodes TO onrecord_node, onrecord_projector;

-- Who may call what, and as whom it runs.
REVOKE ALL ON FUNCTION chat_append, forget_refs, erase_person, change_hold, expire_content, replace_key, held_against,
    carried_state, carried_words_live, refuse_change FROM PUBLIC;
GRANT EXECUTE ON FUNCTION forget_refs TO onrecord_node;
GRANT EXECUTE ON FUNCTION carried_state, held_against, carried_words_live TO onrecord_definer;
GRANT CREATE ON SCHEMA public TO onrecord_definer;
DO $$
DECLARE
    defining regprocedure;
BEGIN
    FOR defining IN
        SELECT p.oid::regprocedure FROM pg_catalog.pg_proc p
        WHERE p.pronamespace = 'public'::regnamespace AND p.proname IN ('chat_append', 'forget_refs', 'erase_person',
            'change_hold', 'expire_content', 'replace_key', 'held_against', 'carried_words_live')
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, public, pg_temp', defining);
        EXECUTE format('ALTER FUNCTION %s OWNER TO onrecord_definer', defining);
    END LOOP;
END $$;
REVOKE CREATE ON SCHEMA public FROM onrecord_definer;
