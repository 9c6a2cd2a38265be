CREATE VIEW public.rooms_v2 AS
 SELECT room_id,
    name,
    visibility,
    created_at,
    created_by,
    head,
    last_message_id,
    last_message_at,
    topic,
    topic_position,
    archived
   FROM read_models.rooms_v2;
