CREATE VIEW analytics.memberships AS
 SELECT room_id,
    user_id,
    role,
    joined_seq,
    joined_at,
    left_seq,
    left_at
   FROM read_models.memberships;
