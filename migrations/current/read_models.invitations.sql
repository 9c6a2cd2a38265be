CREATE VIEW read_models.invitations AS
 SELECT room_id,
    user_id,
    invited_at,
    invited_by
   FROM read_models.memberships_v2
  WHERE invited_at IS NOT NULL;
