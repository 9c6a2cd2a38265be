CREATE OR REPLACE FUNCTION public.expire_content(room text, last_day date, expired_by text)
 RETURNS TABLE(outcome text, "position" bigint, at timestamp with time zone, keys_gone integer)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
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
END $function$;
