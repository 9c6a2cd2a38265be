CREATE VIEW public.memberships AS
 SELECT room_id,
    user_id,
    role,
    joined_seq,
    joined_at,
    left_seq,
    left_at,
    left_how,
    muted,
    muted_until
   FROM read_models.memberships;
