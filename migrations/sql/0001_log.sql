-- The log: stored events, and beside them what appending needs (refs, keys, epoch) and what following needs (tracking).
--
-- stored_events, its index, the composite type and notification_tracking are the tables of the `eventsourcing` library,
-- statement by statement (tests/log/test_library_schema.py compares them); our own columns are added to them.

CREATE TABLE stored_events (
    originator_id uuid NOT NULL,
    originator_version bigint NOT NULL,
    topic text,
    state bytea,
    notification_id bigserial,
    PRIMARY KEY (originator_id, originator_version)
) WITH (
    autovacuum_enabled = true,
    autovacuum_vacuum_threshold = 100000000,
    autovacuum_vacuum_scale_factor = 0.5,
    autovacuum_analyze_threshold = 1000,
    autovacuum_analyze_scale_factor = 0.01
);
CREATE UNIQUE INDEX stored_events_notification_id_idx ON stored_events (notification_id ASC);
CREATE TYPE stored_event_uuid AS (originator_id uuid, originator_version bigint, topic text, state bytea);
CREATE TABLE notification_tracking (
    application_name text,
    notification_id bigint,
    PRIMARY KEY (application_name)
) WITH (
    autovacuum_enabled = true,
    autovacuum_vacuum_threshold = 100000000,
    autovacuum_vacuum_scale_factor = 0.5,
    autovacuum_analyze_threshold = 1000,
    autovacuum_analyze_scale_factor = 0.01
);
-- The library takes a tracking table without this row for one of an older shape, and would rename it.
INSERT INTO notification_tracking VALUES ('__migration__', 1);

ALTER TABLE stored_events
    ALTER COLUMN topic SET NOT NULL,
    ALTER COLUMN state SET NOT NULL,
    ALTER COLUMN notification_id SET NOT NULL,
    ADD COLUMN stream text NOT NULL,
    ADD COLUMN subject text COLLATE "C" NOT NULL,
    ADD COLUMN recorded_at timestamptz NOT NULL,
    ADD COLUMN recorded_by text NOT NULL,
    ADD COLUMN key_id uuid;
COMMENT ON TABLE stored_events IS 'Every event of every stream. Append-only: nothing is ever changed or removed.';
COMMENT ON COLUMN stored_events.notification_id IS 'The position: orders the whole log, rises in commit order, may skip';
COMMENT ON COLUMN stored_events.originator_version IS 'The seq: numbers the stream 1, 2, 3 ... without gaps';
COMMENT ON COLUMN stored_events.subject IS 'In byte order whatever the locale: users are the range from user: to user;';
COMMENT ON COLUMN stored_events.recorded_at IS 'The database clock, read under the append lock, never decreasing';
COMMENT ON COLUMN stored_events.key_id IS 'The key that the personal fields in state are sealed with';
CREATE INDEX stored_events_subject_idx ON stored_events (originator_id, subject, originator_version);
CREATE INDEX stored_events_recorded_at_idx ON stored_events USING brin (recorded_at);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'insufficient_privilege',
        MESSAGE = format('%s on %s: the log is append-only', TG_OP, TG_TABLE_NAME);
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON stored_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
-- In sessions that replicate or load data too, where other triggers are silent.
ALTER TABLE stored_events ENABLE ALWAYS TRIGGER append_only;

-- A user's refs, with what each was answered. Purged after seven days.
CREATE TABLE refs (
    user_id text NOT NULL,
    ref text NOT NULL,
    fingerprint bytea NOT NULL,
    stream text NOT NULL,
    seq bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, ref)
);
CREATE INDEX refs_recorded_at_idx ON refs USING brin (recorded_at);

-- People's keys, wrapped by the installation's key encryption key. Destroying a row erases that person's words.
CREATE TABLE person_keys (
    key_id uuid PRIMARY KEY,
    person text NOT NULL,
    scope text NOT NULL DEFAULT '',
    wrapped bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (person, scope)
);

-- The log's identity: another epoch means that seqs may have been used twice (after a restore).
CREATE TABLE log_epoch (
    epoch uuid NOT NULL,
    since timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX log_epoch_single ON log_epoch ((true));
INSERT INTO log_epoch (epoch) VALUES (gen_random_uuid());

-- Places a batch of commands, in one transaction, one writer at a time, and says for each what became of it:
--
--   appended  a row per event, with its seq, position and time
--   nothing   a command without events, placed (its ref is known from now on); seq is the stream's head
--   known     the ref was seen before: what was answered then
--   conflict  the ref was seen before, with another command
--   key_gone  the key that its words are sealed with is destroyed
--   stale     something about a guarded subject happened after decided_on
--   refused   a command that was sent only to look its ref up, and its refusal stands
--   missing   not a command: a row that the node has not seen, of a stream that it wrote to
--
-- Arrays have one element per command, but for those of events, which `event_ends` cuts into commands. A guard is a list
-- of subjects parted by spaces; `user:*` stands for every user, `*` for the whole stream. `known_heads` is the seq up
-- to which the node has the stream, null where it does not care (or asked in the same batch already).
CREATE FUNCTION chat_append(
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

        FOR j IN event_from .. event_to LOOP
            IF key_ids[j] IS NOT NULL
                AND NOT EXISTS (SELECT FROM person_keys k WHERE k.key_id = key_ids[j]) THEN
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

-- Narrow roles. The login of ONRECORD_DATABASE_URL is made a member of both by `onrecord migrate`.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['onrecord_node', 'onrecord_projector'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        END IF;
        EXECUTE format('GRANT %I TO CURRENT_USER', wanted);
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION chat_append FROM PUBLIC;
GRANT EXECUTE ON FUNCTION chat_append TO onrecord_node;
GRANT SELECT, INSERT ON stored_events TO onrecord_node;
GRANT USAGE ON SEQUENCE stored_events_notification_id_seq TO onrecord_node;
GRANT SELECT, INSERT, DELETE ON refs TO onrecord_node;
GRANT SELECT, INSERT ON person_keys TO onrecord_node;
GRANT SELECT ON log_epoch, notification_tracking TO onrecord_node;
GRANT SELECT ON stored_events, person_keys, log_epoch TO onrecord_projector;
GRANT SELECT, INSERT, UPDATE ON notification_tracking TO onrecord_projector;
