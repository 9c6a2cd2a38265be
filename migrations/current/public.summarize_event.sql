CREATE OR REPLACE FUNCTION public.summarize_event(e stored_events)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
DECLARE
    number text := CASE WHEN e.subject = 'settings' THEN public.clear_field(e.state, 'message')
        WHEN starts_with(e.subject, 'message:') THEN substr(e.subject, 9) END;
BEGIN
    IF number IS NULL OR number !~ '^[0-9]{1,18}$' THEN
        RETURN;  -- a damaged row is about no message
    END IF;
    CASE e.topic
        WHEN 'room.MessageEdited.v1' THEN
            INSERT INTO public.message_summaries AS s (originator_id, message, edits, last_edit)
                VALUES (e.originator_id, number::bigint, 1, e.originator_version)
                ON CONFLICT (originator_id, message) DO UPDATE
                SET edits = s.edits + 1, last_edit = excluded.last_edit;
        WHEN 'room.MessageDeleted.v1' THEN
            INSERT INTO public.message_summaries AS s (originator_id, message, deleted)
                VALUES (e.originator_id, number::bigint, e.originator_version)
                ON CONFLICT (originator_id, message) DO UPDATE
                SET deleted = coalesce(s.deleted, excluded.deleted), emoji = '{}';
        WHEN 'room.MessagePinned.v1' THEN
            INSERT INTO public.message_users AS u (originator_id, message, user_id, pins)
                VALUES (e.originator_id, number::bigint, e.recorded_by, 1)
                ON CONFLICT (originator_id, message, user_id) DO UPDATE SET pins = u.pins + 1;
        WHEN 'room.ReactionAdded.v1', 'room.ReactionRemoved.v1' THEN
            PERFORM public.summarize_reaction(e.originator_id, number::bigint, e.recorded_by,
                public.clear_field(e.state, 'emoji'), e.topic = 'room.ReactionAdded.v1');
    END CASE;
END $function$;
