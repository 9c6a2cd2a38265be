CREATE VIEW analytics.people AS
 SELECT user_id,
    name,
    named_at,
    first_at,
    erased_at
   FROM read_models.profiles;
