CREATE OR REPLACE FUNCTION public.record_event(stream text, topic text, subject text, recorded_by text, state text)
 RETURNS TABLE("position" bigint, at timestamp with time zone)
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
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
END $function$;
