CREATE VIEW analytics.messages AS
 SELECT room_id,
    id AS message_id,
    user_id,
    content,
    created_at,
    reply_to,
    mentions,
    edited_at,
    deleted_at,
    content_missing
   FROM read_models.messages;
