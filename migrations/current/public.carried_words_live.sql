CREATE OR REPLACE FUNCTION public.carried_words_live(posted bigint, message bigint, replaced uuid)
 RETURNS boolean
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
    SELECT coalesce((
        SELECT k.wrapped IS NOT NULL
        FROM public.stored_events p
            JOIN public.stored_events e ON e.originator_id = p.originator_id AND e.subject = 'message:' || message
            JOIN public.carried_words c ON c."position" = e.notification_id
            JOIN public.open_keys k ON k.key_id = c.key_id
        WHERE p.notification_id = posted AND (e.key_id = replaced OR EXISTS (
            SELECT FROM public.carried_words before
            WHERE before."position" = e.notification_id AND before.key_id = replaced))
        ORDER BY e.originator_version DESC, k.wrapped IS NULL LIMIT 1), false)
$function$;
