CREATE VIEW read_models.bans AS
 SELECT room_id,
    user_id,
    banned_until
   FROM read_models.memberships_v2
  WHERE banned;
