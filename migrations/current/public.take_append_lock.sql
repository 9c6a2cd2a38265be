CREATE OR REPLACE FUNCTION public.take_append_lock()
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_transaction_state',
            MESSAGE = 'keys, holds and erasure are changed in a transaction that is READ COMMITTED';
    END IF;
    PERFORM pg_advisory_xact_lock(7236109);
END $function$;
