CREATE VIEW public.messages AS
 SELECT id,
    room_id,
    user_id,
    content,
    created_at,
    reply_to,
    mentions,
    "position",
    edited_at,
    deleted_at,
    reactions,
    pinned
   FROM read_models.messages;
