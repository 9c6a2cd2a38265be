CREATE VIEW public.bans AS
 SELECT room_id,
    user_id,
    banned_until
   FROM read_models.bans;
