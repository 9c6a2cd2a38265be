CREATE OR REPLACE FUNCTION public.require_form(kind text, given text)
 RETURNS void
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
BEGIN
    IF (length(given) <= 500 AND given ~ CASE kind
        WHEN 'person' THEN '\A(?!(?:service|os|node):)[\x21-\x7e]{1,255}\Z'
        WHEN 'room' THEN '\A[a-z0-9][a-z0-9._-]{0,63}\Z'
        WHEN 'ground' THEN '\A[^[:space:]\x01-\x1f\x7f][^\x01-\x1f\x7f]*\Z'
        END) IS NOT TRUE THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value', MESSAGE = format('%L is not the form of a %s', given, kind);
    END IF;
END $function$;
