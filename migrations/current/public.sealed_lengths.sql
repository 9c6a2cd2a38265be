CREATE OR REPLACE FUNCTION public.sealed_lengths(state bytea)
 RETURNS jsonb
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE STRICT
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
    SELECT coalesce(jsonb_object_agg(f.name, length(f.value ->> 'c')), '{}')
    FROM jsonb_each(convert_from(state, 'UTF8')::jsonb) AS f (name, value)
    WHERE CASE WHEN jsonb_typeof(f.value) = 'object' THEN
        f.value - ARRAY['k', 'h', 'c'] = '{}' AND jsonb_typeof(f.value -> 'k') = 'string'
        AND jsonb_typeof(f.value -> 'h') = 'string' AND jsonb_typeof(f.value -> 'c') = 'string' END
$function$;
