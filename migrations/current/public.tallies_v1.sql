CREATE VIEW public.tallies_v1 AS
 SELECT room_id,
    user_id,
    block,
    said,
    mentioned
   FROM read_models.tallies_v1;
