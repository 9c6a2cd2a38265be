CREATE OR REPLACE FUNCTION public.forget_refs(most integer)
 RETURNS bigint
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
    WITH forgotten AS (
        DELETE FROM public.refs WHERE (user_id, ref) IN (
            SELECT r.user_id, r.ref FROM public.refs r
            WHERE r.recorded_at < clock_timestamp() - make_interval(days => 7) LIMIT most)
        RETURNING 1)
    SELECT count(*) FROM forgotten
$function$;
