CREATE OR REPLACE FUNCTION public.carry_words(positions bigint[], new_keys uuid[], words jsonb[])
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
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
END $function$;
