CREATE OR REPLACE FUNCTION public.held_against(person_id text)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
    SELECT h.subject FROM holds h
    WHERE h.subject = 'user:' || person_id OR EXISTS (
        SELECT FROM stored_events e
        WHERE e.originator_id = h.stream_id AND e.subject = 'user:' || person_id AND e.topic = 'room.MemberJoined.v1')
    ORDER BY starts_with(h.subject, 'user:') DESC, h.subject LIMIT 1
$function$;
