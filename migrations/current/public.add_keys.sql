CREATE OR REPLACE FUNCTION public.add_keys(new_ids uuid[], people text[], scopes text[], secrets bytea[])
 RETURNS TABLE(person text, scope text, key_id uuid, wrapped bytea)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
#variable_conflict use_column
BEGIN
    IF cardinality(people) > 10000 OR EXISTS (
        SELECT FROM unnest(new_ids, people, scopes, secrets) AS w (id, person, scope, secret)
        WHERE (w.id IS NOT NULL AND w.person ~ '\A[^[:space:][:cntrl:]]+\Z' AND length(w.person) <= 300
            AND length(w.secret) BETWEEN 28 AND 10000
            AND (w.scope IN ('', '~next')
                OR w.scope ~ '\A[a-z0-9][a-z0-9._-]{0,63}/[0-9]{4}-[0-9]{2}-[0-9]{2}\+?\Z')) IS NOT TRUE) THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'keys are given for a person and a scope each';
    END IF;
    IF EXISTS (
        SELECT FROM unnest(people, scopes) AS w (person, scope)
            LEFT JOIN public.person_keys k ON k.person = w.person AND k.scope = w.scope
        WHERE k.key_id IS NULL) THEN
        PERFORM public.take_append_lock();
        INSERT INTO public.person_keys (key_id, person, scope, wrapped)
            SELECT w.id, w.person, w.scope, w.secret
            FROM unnest(new_ids, people, scopes, secrets) AS w (id, person, scope, secret)
            WHERE NOT EXISTS (
                SELECT FROM public.person_keys k WHERE k.person = w.person AND k.scope = '' AND k.wrapped IS NULL)
            ON CONFLICT (person, scope) DO NOTHING;
    END IF;
    RETURN QUERY
        SELECT DISTINCT w.person, w.scope, k.key_id, k.wrapped
        FROM unnest(people, scopes) AS w (person, scope)
            JOIN LATERAL (
                SELECT o.key_id, o.wrapped FROM public.open_keys o
                WHERE o.person = w.person AND (o.scope = w.scope OR (o.scope = '' AND o.wrapped IS NULL))
                ORDER BY o.scope = w.scope DESC LIMIT 1) k ON true;
END $function$;
