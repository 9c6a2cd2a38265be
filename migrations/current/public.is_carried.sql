CREATE OR REPLACE FUNCTION public.is_carried(at_position bigint, topic text, stream text, recorded_at timestamp with time zone, author text)
 RETURNS boolean
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
    SELECT EXISTS (
        SELECT FROM public.carried_words c JOIN public.person_keys k ON k.key_id = c.key_id
        WHERE c."position" = at_position AND k.wrapped IS NOT NULL AND k.scope <> '')
    OR topic IN ('room.MessagePosted.v1', 'room.MessageEdited.v1') AND EXISTS (
        SELECT FROM public.person_keys k
        WHERE k.person = author AND k.wrapped IS NULL
            AND k.scope = substr(stream, 6) || '/' || to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') || '+')
$function$;
