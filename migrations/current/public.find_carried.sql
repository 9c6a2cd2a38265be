CREATE OR REPLACE FUNCTION public.find_carried(keys uuid[], upto bigint)
 RETURNS TABLE(key_id uuid, "position" bigint)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
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
END $function$;
