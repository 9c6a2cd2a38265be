CREATE VIEW read_models.profiles AS
 SELECT user_id,
        CASE
            WHEN NOT (EXISTS ( SELECT
               FROM open_keys k
              WHERE k.person = p.user_id AND k.scope = ''::text AND k.wrapped IS NULL)) THEN name
            ELSE NULL::text
        END AS name,
    named_at,
    first_at,
    erased_at
   FROM read_models.profiles_v1 p;
