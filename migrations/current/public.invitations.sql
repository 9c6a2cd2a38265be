CREATE VIEW public.invitations AS
 SELECT room_id,
    user_id,
    invited_at,
    invited_by
   FROM read_models.invitations;
