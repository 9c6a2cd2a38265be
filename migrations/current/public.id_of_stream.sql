CREATE OR REPLACE FUNCTION public.id_of_stream(stream text)
 RETURNS uuid
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE STRICT
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
DECLARE
    digest bytea := public.sha1(decode('6f0a2f0e6a575e0b9c430f6e52c0a7d1', 'hex') || convert_to(stream, 'UTF8'));
BEGIN
    digest := set_byte(digest, 6, get_byte(digest, 6) & 15 | 80);
    digest := set_byte(digest, 8, get_byte(digest, 8) & 63 | 128);
    RETURN encode(substr(digest, 1, 16), 'hex')::uuid;
END $function$;
