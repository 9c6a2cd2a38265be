-- A damaged state with carried words is read as it is stored, and not as an error of the whole query: the reader says
-- that it cannot be decoded, and reads on (docs/decisions/0023-unreadable-events.md). A block that catches errors cannot
-- run in a parallel worker.
CREATE OR REPLACE FUNCTION carried_state(state bytea, key_id uuid, sealed jsonb) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (
        SELECT convert_to((stored.fields || coalesce((
            SELECT jsonb_object_agg(field, jsonb_build_object('k', key_id, 'h', stored.fields -> field -> 'h', 'c', c))
            FROM jsonb_each(sealed) AS words (field, c)), '{}'))::text, 'UTF8')
        FROM (SELECT convert_from(state, 'UTF8')::jsonb AS fields) stored);
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN state;
END $$;
