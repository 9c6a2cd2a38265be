CREATE OR REPLACE FUNCTION public.replace_key(old_key uuid, replaced_by text)
 RETURNS TABLE(outcome text, "position" bigint)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
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
END $function$;
