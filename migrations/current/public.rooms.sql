CREATE VIEW public.rooms AS
 SELECT room_id,
    name,
    visibility,
    created_at,
    created_by,
    head,
    last_message_id,
    last_message_at,
    topic,
    archived
   FROM read_models.rooms;
