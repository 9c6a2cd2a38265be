CREATE OR REPLACE FUNCTION public.change_hold(held_subject text, changed_by text, to_hold boolean, ground text)
 RETURNS TABLE(outcome text, "position" bigint, at timestamp with time zone)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
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
END $function$;
