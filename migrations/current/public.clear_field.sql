CREATE OR REPLACE FUNCTION public.clear_field(state bytea, field text)
 RETURNS text
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    RETURN convert_from(state, 'UTF8')::jsonb ->> field;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN NULL;
END $function$;
