CREATE OR REPLACE FUNCTION public.days_in_rule(state bytea)
 RETURNS integer
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE STRICT
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
    SELECT substring(encode(state, 'escape') FROM '^\{"days":([1-9][0-9]{0,4})\}$')::integer
$function$;
