CREATE OR REPLACE FUNCTION public.erase_person(person_id text, erased_by text, ground text)
 RETURNS TABLE(outcome text, "position" bigint, at timestamp with time zone, keys_gone integer, held text)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
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
END $function$;
