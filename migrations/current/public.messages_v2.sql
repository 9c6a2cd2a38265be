CREATE VIEW public.messages_v2 AS
 SELECT room_id,
    id,
    user_id,
    content,
    created_at,
    reply_to,
    mentions,
    "position",
    key_id,
    changed_seq,
    edited_at,
    deleted_at,
    reactions,
    pinned
   FROM read_models.messages_v2;
