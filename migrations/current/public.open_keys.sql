CREATE VIEW public.open_keys AS
 SELECT k.key_id,
    k.person,
    k.scope,
        CASE
            WHEN erased.person IS NULL THEN k.wrapped
            ELSE NULL::bytea
        END AS wrapped,
    k.created_at,
    k.destroyed_at
   FROM person_keys k
     LEFT JOIN person_keys erased ON erased.person = k.person AND erased.scope = ''::text AND erased.wrapped IS NULL;
