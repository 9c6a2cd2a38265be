CREATE VIEW public.memberships_v2 AS
 SELECT room_id,
    user_id,
    role,
    joined_seq,
    joined_at,
    left_seq,
    left_at,
    left_how,
    invited_at,
    invited_by,
    banned,
    banned_until,
    muted,
    muted_until
   FROM read_models.memberships_v2;
