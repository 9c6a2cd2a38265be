CREATE OR REPLACE FUNCTION public.summarize_message()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
BEGIN
    PERFORM public.summarize_event(NEW);
    RETURN NULL;
END $function$;
