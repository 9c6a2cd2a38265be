CREATE OR REPLACE FUNCTION public.carried_state(state bytea, key_id uuid, sealed jsonb)
 RETURNS bytea
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    RETURN (
        SELECT convert_to((stored.fields || coalesce((
            SELECT jsonb_object_agg(field, jsonb_build_object('k', key_id, 'h', stored.fields -> field -> 'h', 'c', c))
            FROM jsonb_each(sealed) AS words (field, c)), '{}'))::text, 'UTF8')
        FROM (SELECT convert_from(state, 'UTF8')::jsonb AS fields) stored);
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN state;
END $function$;
