CREATE OR REPLACE FUNCTION public.reach_room(room text, upto bigint)
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
DECLARE
    id CONSTANT uuid := public.id_of_stream('room:' || room);
    before CONSTANT bigint := coalesce((SELECT r.seq FROM public.reached_back r WHERE r.room_id = id), 0);
    head CONSTANT bigint := (SELECT max(e.originator_version) FROM public.stored_events e WHERE e.originator_id = id);
    unreached bigint;
    reached bigint;
BEGIN
    PERFORM public.require_form('room', room);
    IF head IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('there is no room %s', room);
    END IF;
    SELECT min(e.originator_version) INTO unreached
        FROM public.readable_events e JOIN public.person_keys k ON k.key_id = e.key_id
        WHERE e.originator_id = id AND e.originator_version > before AND e.originator_version <= least(upto, head)
            AND e.topic IN ('room.MessagePosted.v1', 'room.MessageEdited.v1') AND k.scope = '' AND k.wrapped IS NOT NULL;
    reached := greatest(before, coalesce(unreached - 1, least(upto, head)));
    INSERT INTO public.reached_back AS r (room_id, seq) VALUES (id, reached)
        ON CONFLICT (room_id) DO UPDATE SET seq = greatest(r.seq, excluded.seq);
    RETURN reached;
END $function$;
